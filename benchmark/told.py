"""`python -m benchmark.told RUN`: see `benchmark.studies.object_identity`."""

import sys

from benchmark.studies import object_identity
from dexfw_envs.console.command import run_command

if __name__ == "__main__":
    sys.exit(run_command(object_identity.Args, object_identity.main, object_identity.__doc__))
