"""What is asked of the stored results: the query behind every entry of the tables and plots."""

from __future__ import annotations

from dataclasses import dataclass

from benchmark.protocol import FLYWHEEL, PIE


@dataclass(frozen=True)
class Query:
    """One figure: what is measured, of which policy or data.

    Attributes:
        quantity: Name of the quantity; success has the name of its split.
        method: Script, as in the records.
        variant: Variant, as in the records.
        iteration: Turn.
        policy: Policy, or how data were made ("rollouts", "edited").
        task: Task, or "mean" for the mean over all tasks.
        object: Object, "" for all; or a stage of the task.
        minuend: For a difference, variant that is subtracted from; "" for the method itself.
    """

    quantity: str
    method: str
    variant: str
    iteration: int
    policy: str
    task: str
    object: str = ""
    minuend: str = ""


def reference(query: Query, last: int) -> Query:
    """The figure that others are subtracted from: of the method itself, or of DexPIE."""
    if query.method == PIE:
        return Query("T_OEP", PIE, query.minuend or PIE, 1, "base", query.task)
    return Query("T_OEP", FLYWHEEL, "", last, "combined", query.task)
