"""`python -m benchmark.shipped`: see `benchmark.kept.shipped`."""

import sys

from benchmark.kept import shipped
from benchmark.kept.shipped import Args, main
from dexfw_envs.console.command import run_command

if __name__ == "__main__":
    sys.exit(run_command(Args, main, shipped.__doc__))
