"""What a race amounts to, in words and rows."""

import math
from collections.abc import Mapping
from typing import Any

from kmtl.evidence.recommendation.paired_scores import Change
from kmtl.evidence.recommendation.race_plan import Plan
from kmtl.evidence.recommendation.serving_choice import ALONE, Choice, holds_up

# Of a normal distribution, for 95 % intervals over rows.
NORMAL = 1.96


def reason(plan: Plan, chosen: Choice, weights: int, total: int) -> str:
    """What to ship and why, in words.

    Args:
        plan: What was tried.
        chosen: Which model serves each task.
        weights: Of the model.
        total: Of all single models.
    """
    joint = [name for name in dict.fromkeys(chosen.serves.values()) if name != ALONE]
    apart = [task for task, name in chosen.serves.items() if name == ALONE]
    size = f"{weights:,} weights, {weights / total:.0%} of what the tasks have alone"
    if not joint:
        return (
            f"Ship the tasks alone, behind one face ({size}): no joint model that the budget paid for saves weights "
            "without making a task worse."
        )
    if not apart and len(joint) == 1:
        held = (
            "no task is worse than alone on the rows for choosing"
            if plan.alone
            else "the probes gave no reason against it"
        )
        return f"Ship one joint model, {joint[0]!r} ({size}): {held}."
    groups = {name: [task for task, by in chosen.serves.items() if by == name] for name in joint}
    told = "; ".join(f"{name!r} for {', '.join(names)}" for name, names in groups.items())
    own = f"; {', '.join(apart)} from a model of their own, which no joint one held up against" if apart else ""
    return f"Ship a few models behind one face ({size}): {told}{own}."


def caveats(plan: Plan, chosen: Choice, found: Mapping[str, Change], *, is_split: bool) -> list[str]:
    """What could not be shown.

    Args:
        plan: What was tried.
        chosen: Which model serves each task.
        found: Changes on the rows of the report.
        is_split: Whether these rows are a part of the validation data.
    """
    said = []
    joint = {name for name in chosen.serves.values() if name != ALONE}
    once = [name for name in joint if len(plan.trained[name]) == 1]
    if once:
        said.append(
            f"One seed of {', '.join(map(repr, sorted(once)))} and one of the tasks alone: the errors are over rows, "
            "and another seed may turn what is near."
        )
    coarse = [name for name, change in found.items() if not NORMAL * change.error <= 5.0]
    if coarse:
        said.append(f"Too few rows to tell a change of 5 % from none: {', '.join(coarse)}.")
    worse = [name for name, change in found.items() if change.percent > NORMAL * change.error]
    if worse:
        said.append(f"On the rows of the report worse than alone, beyond the interval: {', '.join(worse)}.")
    if is_split:
        said.append("The report is of a third of the validation data; give `test` for more rows.")
    return said


def tried_rows(plan: Plan) -> list[dict[str, Any]]:
    """A row a training.

    Args:
        plan: What was tried.
    """
    rows = []
    entries = [entry for found in plan.trained.values() for entry in found]
    for entry in [*([plan.alone] if plan.alone else []), *plan.singles.values(), *entries]:
        rows.append(
            {
                "candidate": entry.name,
                "seed": entry.seed,
                "weights": entry.weights,
                "cost": entry.cost,
                "changes": dict(entry.changes),
                "is_held": entry in entries,
                "holds": {task: holds_up(change, plan.margin) for task, change in entry.changes.items()},
            }
        )
    return rows


def validation_curves(plan: Plan) -> dict[str, dict[str, list[float]]]:
    """Validation losses by epoch, `{task: {name: values}}`.

    Args:
        plan: What was tried.
    """
    entries = {name: found[0] for name, found in plan.trained.items()}
    if plan.alone is not None:
        entries = {ALONE: plan.alone, **entries}
    return {
        task: {
            name: [float(value) for value in entry.history.get(f"val_{task}_loss", ()) if math.isfinite(value)]
            for name, entry in entries.items()
        }
        for task in plan.weights
    }
