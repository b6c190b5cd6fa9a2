"""`python -m benchmark.endurance`: see `benchmark.studies.endurance`."""

import sys

from benchmark.studies import endurance
from dexfw_envs.console.command import run_command

if __name__ == "__main__":
    sys.exit(run_command(endurance.Args, endurance.main, endurance.__doc__))
