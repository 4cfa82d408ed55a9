"""How much the tasks cost each other where the best that each can do alone is known."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kmtl._checks import Refusals, is_number, is_weight, known_keys, refusal, words
from kmtl._table import Result, Table
from kmtl.evidence.comparisons.comparison import Comparison
from kmtl.evidence.comparisons.paired_comparison import PairedComparison
from kmtl.evidence.intervals import interval
from kmtl.training.trainer import Run

_OWNER = "conflict_gap"


class ConflictGap(Result):
    """What `conflict_gap` found.

    Args:
        joint: `{task: one loss a seed}` of the joint model.
        separate: The same of each task alone.
        weights: `{task: weight}` of the sum.

    Attributes:
        by_task: `{task: weighted gap}`, means over the seeds, each at least 0 at true optima.
        total: Their sum.
        interval: Half the 95 % Student interval of the total over the seeds; NaN for one seed.
    """

    def __init__(
        self,
        joint: Mapping[str, Sequence[float]],
        separate: Mapping[str, Sequence[float]],
        weights: Mapping[str, float],
    ) -> None:
        self.joint, self.separate, self.weights = dict(joint), dict(separate), dict(weights)
        gaps = {name: weights[name] * (np.asarray(joint[name]) - np.asarray(separate[name])) for name in joint}
        self.by_task = {name: float(np.mean(gap)) for name, gap in gaps.items()}
        totals = np.sum(list(gaps.values()), axis=0)
        self.total = float(np.mean(totals))
        self.interval = interval(totals.tolist())

    @property
    def is_below_zero(self) -> bool:
        """Whether the total is below 0 by more than its interval, which it cannot be at true optima."""
        return self.total < -(0.0 if np.isnan(self.interval) else self.interval)

    def conclusions(self) -> list[str]:
        """Whether the tasks cost each other loss, where the interval says so."""
        half = 0.0 if np.isnan(self.interval) else self.interval
        if np.isnan(self.interval) or abs(self.total) <= half:
            return []
        most = max(self.by_task, key=lambda name: self.by_task[name])
        if self.is_below_zero:
            return [f"Joint training reached {-self.total:.4g} less loss than the tasks alone, which are no optima."]
        return [f"The tasks cost each other {self.total:.4g} ± {half:.4g} of loss, most of it {most}."]

    def parts(self) -> list[str | Table]:
        """A row a task, and the total."""
        rows = [
            {
                "task": name,
                "weight": self.weights[name],
                "joint": float(np.mean(self.joint[name])),
                "separate": float(np.mean(self.separate[name])),
                "gap": gap,
            }
            for name, gap in self.by_task.items()
        ]
        half = "" if np.isnan(self.interval) else f" ± {self.interval:.4g}"
        lines = ["", f"gap {self.total:.4g}{half} (weighted; 0: one minimiser for all tasks; above: they conflict)"]
        if self.is_below_zero:
            text = "Below 0: the single-task losses are no optima, so train those models longer or better;"
            lines += [f"{text} or joint training is the easier way to them."]
        return [Table(rows), *lines]


def conflict_gap(joint: Any, separate: Any = None, *, weights: Mapping[str, float] | None = None) -> ConflictGap:
    """Measures conflict as the loss that the tasks cost each other: `min sum - sum min`.

        gap = min_theta sum_k w_k L_k(theta) - sum_k w_k min_theta L_k(theta) >= 0

    It is 0 if and only if one `theta` minimises every loss of a weight above 0. The two sides are not the same in
    general: for `(t - 1)^2` and `(t + 1)^2` they are 2 and 0. No task's part is below 0 unless its single-task loss is
    no minimum: a negative figure says that the single runs were not at their optimum.

    The losses are those that the training minimises, on its data. On others, as those of a test, a gap says which
    way generalises better, which `compare` tells by metric, and nothing of conflict.

    Args:
        joint: `{task: loss}` of the model that minimises the weighted sum, a number or one a seed; or a `Comparison`,
            of whose first row and baseline the training losses of the last epoch are taken, or one of its rows,
            `comparison["joint"]`. These are means over the epoch, under dropout.
        separate: The same of each task alone; none beside a `Comparison`.
        weights: `{task: w}`; a task left out weighs 1. None: the loss weights of a
            `Comparison`'s joint model, else ones. A balancer minimises another sum than this one.

    Returns:
        A `ConflictGap`: `total`, `by_task`, `interval`; prints as a table.

    Raises:
        ValueError: If tasks or numbers of seeds differ, or a loss is not finite.

    >>> conflict_gap({"left": 1.0, "right": 1.0}, {"left": 0.0, "right": 0.0}).total
    2.0
    """
    if isinstance(joint, Comparison):
        joint = joint[joint.sides[0][0]]
    if isinstance(joint, PairedComparison):
        if separate is not None:
            fix = "Leave it out: the comparison holds both."
            raise ValueError(refusal(_OWNER, "separate", "must be None beside a comparison", words("losses"), fix))
        weights = _weights_of(joint) if weights is None else weights
        joint, separate = _losses_of(joint)
    with Refusals(_OWNER) as refusals:
        given = {"joint": joint, "separate": separate}
        found = {argument: _listed(refusals, argument, losses) for argument, losses in given.items()}
        refusals.check()
        _check_alike(refusals, found["joint"], found["separate"])
        known_keys(refusals, "weights", weights or {}, found["joint"])
        for name, weight in (weights or {}).items():
            if not is_weight(weight):
                refusals.add(f"weights[{name!r}]", "must be a finite number of at least 0", weight)
    by_task = {name: float((weights or {}).get(name, 1.0)) for name in found["joint"]}
    return ConflictGap(found["joint"], found["separate"], by_task)


def _listed(refusals: Refusals, argument: str, losses: Any) -> dict[str, list[float]]:
    """The losses of each task, one a seed."""
    if not isinstance(losses, Mapping) or not losses:
        rule = "must be {task: loss}" + (" or a Comparison" if argument == "joint" else "")
        refusals.add(argument, rule, losses if isinstance(losses, Mapping) else words(type(losses).__name__))
        return {}
    listed = {name: [loss] if is_number(loss) else _items(loss) for name, loss in losses.items()}
    for name, values in listed.items():
        if not values or not all(map(is_number, values)):
            refusals.add(f"{argument}[{name!r}]", "must be a finite loss, or one a seed", losses[name])
    return listed


def _items(losses: Any) -> list[Any]:
    """What a sequence or array holds; what is neither stands for itself."""
    return list(losses) if isinstance(losses, Sequence | np.ndarray) and not isinstance(losses, str) else [losses]


def _check_alike(refusals: Refusals, joint: dict[str, list[float]], separate: dict[str, list[float]]) -> None:
    """Records tasks that one side lacks, and seeds that have no partner."""
    if set(joint) != set(separate):
        refusals.add("separate", f"must hold the tasks of `joint`, {sorted(joint)}", sorted(separate))
        return
    numbers = {name: (len(joint[name]), len(separate[name])) for name in joint}
    if len({number for pair in numbers.values() for number in pair}) > 1:
        refusals.add("separate", "must hold as many losses of every task as `joint`, one a seed", numbers)


def _losses_of(comparison: PairedComparison) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
    """The training losses of the last epoch of a comparison's runs, joint and separate."""
    joint, alone = (
        {task.name: [_last(run, task.name) for run in runs] for task in comparison.tasks}
        for runs in (comparison.runs, comparison.base)
    )
    return joint, alone


def _last(run: Run, task: str) -> float:
    """A task's training loss in the last epoch; NaN where the logs lack it."""
    return float((run.logged(f"{task}_loss") or [float("nan")])[-1])


def _weights_of(comparison: PairedComparison) -> dict[str, float]:
    """The loss weights of a comparison's joint model, of the tasks; none if it holds no model."""
    weights = getattr(comparison.model, "loss_weights", {})
    return {task.name: float(weights[task.name]) for task in comparison.tasks if task.name in weights}
