"""Measuring policies: the one evaluator, its records, films and intervals."""

from dexfw_envs.evaluation.evaluator import evaluate, evaluate_filmed
from dexfw_envs.evaluation.records import read_records, write_records
from dexfw_envs.evaluation.summary import per_object, summary, wilson

__all__ = [
    "evaluate",
    "evaluate_filmed",
    "per_object",
    "read_records",
    "summary",
    "wilson",
    "write_records",
]
