"""The revision of worlds, success tests and splits: results of two revisions are not compared.

The ids of the tasks stay `-v0` until a first release. Until then this number is raised whenever a
change makes episodes, policies or results differ from those before. Episodes, checkpoints, kept
policies and records carry it; what carries none is of the first.

    1   arm links touch nothing but the other arm
    2   links and wrists are solid, the two-armed robot's hands sit on a bracket, Handover judges
        the passing
"""

from __future__ import annotations

FIRST = 1
REVISION = 2
