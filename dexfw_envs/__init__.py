"""DexFW: dexterous manipulation tasks for Gymnasium, on one interface for every kind of world."""

from dexfw_envs.registry import TASKS, register_all, register_task
from dexfw_envs.scenario import Scenario
from dexfw_envs.world import WorldState

__all__ = ["TASKS", "Scenario", "WorldState", "register_task"]
__version__ = "0.1.0"

register_all()
