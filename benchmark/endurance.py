"""`python -m benchmark.endurance`: see `benchmark.studies.endurance`."""

import sys

from benchmark.studies import endurance
from benchmark.studies.endurance import Args, main
from dexfw_envs.console.command import run_command

if __name__ == "__main__":
    sys.exit(run_command(Args, main, endurance.__doc__))
