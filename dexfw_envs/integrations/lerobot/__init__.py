"""The tasks for LeRobot's programs, and LeRobot's policies for the evaluator here.

LeRobot 0.4.4 (Python 3.11) and 0.6 (Python 3.12) load this package as a plugin:

    lerobot-eval --env.discover_packages_path=dexfw_envs.integrations.lerobot \
        --env.type=dexfw --env.task=Grasp --policy.path=FOLDER

`LeRobotPolicy` is the other way round: a policy trained there, measured by `evaluate`. Importing
this package imports LeRobot.
"""

from dexfw_envs.integrations.lerobot.config import DexFWEnv
from dexfw_envs.integrations.lerobot.env import LeRobotEnv, register_all
from dexfw_envs.integrations.lerobot.policy import LeRobotPolicy

__all__ = ["DexFWEnv", "LeRobotEnv", "LeRobotPolicy"]

register_all()
