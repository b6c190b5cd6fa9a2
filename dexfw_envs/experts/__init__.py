"""Scripted experts, one per task."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from dexfw_envs.envs.protocol import RobotEnv
from dexfw_envs.experts.grasp import COVER, GraspExpert, Style
from dexfw_envs.experts.handover import HandoverExpert
from dexfw_envs.experts.lift import LiftExpert
from dexfw_envs.experts.pour import PourExpert

EXPERTS = {"Grasp": GraspExpert, "Pour": PourExpert, "Lift": LiftExpert, "Handover": HandoverExpert}
# A person's fingers stop at the object they hold, and palms press no harder than they must; a seed
# that closes fully would wrap anything, and one that presses hard would clamp anything.
SEED_STYLES = {
    "Grasp": Style(margin=0.05),
    "Pour": Style(margin=0.05),
    "Lift": Style(press=0.015),
    "Handover": Style(margin=0.10),
}
# Who teaches a policy from few episodes grips firmly, so that fingers which are not quite in place
# still hold, and does not shove things about.
TEACHER_STYLES = {name: replace(style, margin=0.25) for name, style in SEED_STYLES.items()}
TEACHER_STYLES["Grasp"] = replace(TEACHER_STYLES["Grasp"], approach=COVER)


def make_expert(env: RobotEnv, **options: Any) -> Any:
    """Build the expert of an environment's task; `ValueError` names the tasks that have one."""
    if env.task.name not in EXPERTS:
        raise ValueError(f"no expert for {env.task.name!r}; there is one for {tuple(EXPERTS)}")
    return EXPERTS[env.task.name](env, **options)
