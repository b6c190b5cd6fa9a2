"""`python -m benchmark.told RUN`: see `benchmark.studies.object_identity`."""

import sys

from benchmark.studies import object_identity
from benchmark.studies.object_identity import Args, main
from dexfw_envs.console.command import run_command

if __name__ == "__main__":
    sys.exit(run_command(Args, main, object_identity.__doc__))
