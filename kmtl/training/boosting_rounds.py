"""The rounds of boosting, a task at a time, on arrays: what a member is trained on, and what it counts."""

from typing import Any, NamedTuple

import numpy as np

from kmtl.tasks import Task
from kmtl.tasks.combinations import exclusive_classes
from kmtl.training.scored_outputs import present_rows

_ROUNDING = 1e-12


class Reweighted(NamedTuple):
    """What SAMME makes of a member's errors.

    Attributes:
        error: Weighted share of the rows that the member got wrong.
        alpha: The weight of the member's vote.
        weights: Of the rows, for the next member; their sum stays.
        is_last: Whether boosting ends: the member is no better than chance, or made no error.
    """

    error: float
    alpha: float
    weights: Any
    is_last: bool


def samme(weights: Any, wrong: Any, classes: int) -> Reweighted:
    """One round of SAMME.

        err = sum_i w_i 1[wrong_i] / sum_i w_i
        alpha = ln((1 - err) / err) + ln(C - 1)
        w_i <- w_i exp(alpha 1[wrong_i])

    so that under the new weights the member's error is 1 - 1/C, that of chance. Without an error half a row counts as
    wrong, which keeps alpha finite. A member that is no better than chance gets alpha 0.

    Args:
        weights: Of the rows, `(rows,)`; 0 where the label is missing.
        wrong: Booleans `(rows,)`.
        classes: C, 2 or more.

    Source: Zhu, Zou, Rosset and Hastie, "Multi-class AdaBoost", Statistics and Its Interface, 2009.

    >>> found = samme(np.ones(4), np.array([True, False, False, False]), classes=2)
    >>> round(found.alpha, 4), found.weights.round(4).tolist()
    (1.0986, [2.0, 0.6667, 0.6667, 0.6667])
    """
    total = weights.sum()
    error = float(weights[wrong].sum() / total)
    if error >= 1 - 1 / classes - _ROUNDING:
        return Reweighted(error, 0.0, weights, True)
    counted = max(error, 0.5 / np.count_nonzero(weights))
    alpha = float(np.log((1 - counted) / counted) + np.log(classes - 1))
    grown = weights * np.exp(alpha * wrong)
    return Reweighted(error, alpha, grown * total / grown.sum(), error == 0)


class Round:
    """Where the boosting of one task stands.

    Args:
        task: The task.
        labels: Of all rows, in its dtype.
        weights: Sample weights that the user gave, `(rows,)`, or None.

    Attributes:
        members: Numbers of the members whose outputs count for this task.
        note: Why it ended before the last member; empty if it did not.
    """

    def __init__(self, task: Task, labels: Any, weights: Any) -> None:
        self.task = task
        self.labels = np.asarray(labels)
        given = np.ones(len(self.labels)) if weights is None else weights
        self.weights = np.where(present_rows(task, self.labels), given, 0.0)
        self.members: list[int] = []
        self.note = ""

    def target(self) -> Any:
        """The labels that the next member is trained on."""
        raise NotImplementedError

    def add(self, member: int, outputs: Any) -> None:
        """Takes a member's outputs for all rows into account."""
        raise NotImplementedError


class Votes(Round):
    """SAMME for a task whose label is one of exclusive classes.

    Attributes:
        alphas: The weight of each member's vote.
    """

    def __init__(self, task: Task, labels: Any, weights: Any) -> None:
        super().__init__(task, labels, weights)
        self.alphas: list[float] = []

    def target(self) -> Any:
        """The labels themselves; the weights tell what is hard."""
        return self.labels

    def add(self, member: int, outputs: Any) -> None:
        """Weighs the member, and the rows for the next one."""
        decided = np.argmax(np.asarray(self.task.class_probabilities(outputs)), axis=-1)
        wrong = decided.reshape(-1) != self.labels.reshape(-1)
        found = samme(self.weights, wrong, exclusive_classes(self.task))
        if found.alpha or not self.members:
            self.members.append(member)
            self.alphas.append(found.alpha or 1.0)
        if found.is_last:
            why = "made no error" if found.error == 0 else "was no better than chance"
            self.note = f"member {member + 1} {why}: weighted error {found.error:.3f}"
        self.weights = found.weights


class Residuals(Round):
    """Least-squares boosting of a task of values: each member is trained on what the sum of those before it leaves.

        F_0 = mean y,    F_m(x) = F_{m-1}(x) + shrinkage * f_m(x),    f_m fitted to y - F_{m-1}(x)

    Source: Friedman, "Greedy Function Approximation: A Gradient Boosting Machine", Annals of Statistics, 2001.

    Args:
        task: The task.
        labels: Of all rows, NaN where missing.
        weights: Sample weights that the user gave, `(rows,)`, or None.
        mean: Of each element of the label.
        shrinkage: In (0, 1].

    Attributes:
        fitted: F_m for all rows, `(rows, elements)`.
    """

    def __init__(self, task: Task, labels: Any, weights: Any, mean: Any, shrinkage: float) -> None:
        super().__init__(task, labels, weights)
        self.shrinkage = shrinkage
        self.fitted = np.tile(np.asarray(mean, "float64"), (len(self.labels), 1))

    def target(self) -> Any:
        """The residuals, in the shape of the labels."""
        return (self.labels - self.fitted.reshape(self.labels.shape)).astype("float32")

    def add(self, member: int, outputs: Any) -> None:
        """Adds the member to the sum; ends where nothing but rounding is left."""
        self.members.append(member)
        self.fitted += self.shrinkage * np.asarray(outputs, "float64").reshape(self.fitted.shape)
        left = np.nanstd(self.target().reshape(self.fitted.shape), axis=0)
        spread = np.nanstd(self.labels.reshape(self.fitted.shape), axis=0)
        if (left <= 1e-6 * spread).any():
            self.note = f"member {member + 1} left nothing to fit"
