"""Residuals: how far what a task of values says lies from its labels."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from kmtl import _figures
from kmtl._figures import PALETTE, Picture
from kmtl.tasks import Task

# More elements and points are not to be told from each other.
_MOST_ELEMENTS, _MOST_POINTS, _BINS = 4, 3000, 30


class Residuals(NamedTuple):
    """Labels and predicted values of a task, or of one element of its label, none missing.

    Attributes:
        name: Of the task, or of the element as `position[0]`.
        labels: `(n,)`, in the label's unit.
        values: `(n,)`, the same.
        unit: Of both.
    """

    name: str
    labels: Any
    values: Any
    unit: str

    @property
    def mae(self) -> float:
        """Mean absolute error; NaN without labels."""
        return _mean(np.abs(self.values - self.labels))

    @property
    def bias(self) -> float:
        """Mean of value less label; NaN without labels."""
        return _mean(self.values - self.labels)

    @property
    def r2(self) -> float:
        """`1 - sum (y - v)^2 / sum (y - mean y)^2`; NaN where all labels are alike.

        >>> Residuals("age", np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.0, 2.0]), "").r2
        0.0
        """
        total = float(np.sum((self.labels - _mean(self.labels)) ** 2))
        return 1 - float(np.sum((self.labels - self.values) ** 2)) / total if total else float("nan")

    def text(self) -> str:
        """What there is to say of them.

        >>> Residuals("age", np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.0, 2.0]), "years").text()
        'age: off by 0.667 years on average over 3 labels, bias 0 years; R2 0.'
        """
        if not len(self.labels):
            return f"{self.name}: no labels."
        unit = f" {self.unit}" if self.unit else ""
        told = f"{self.name}: off by {self.mae:.3g}{unit} on average over {len(self.labels):,} labels"
        return f"{told}, bias {self.bias:.3g}{unit}; R2 {self.r2:.3g}."


def _mean(values: Any) -> float:
    """A mean; NaN of nothing."""
    return float(np.mean(values)) if np.size(values) else float("nan")


def residuals(task: Task, labels: Any, outputs: Any) -> list[Residuals]:
    """Sets labels and values of a task side by side, element by element; none of a task of classes.

    Args:
        task: The task.
        labels: `(n, *label_shape)`; what is missing counts nowhere.
        outputs: `(n, *output_shape)`.
    """
    pair = task.compared_values(labels, outputs)
    if pair is None:
        return []
    truth, given = pair
    there = np.isfinite(truth) & np.isfinite(given)
    names = [task.name] if truth.shape[1] == 1 else [f"{task.name}[{place}]" for place in range(truth.shape[1])]
    return [
        Residuals(name, truth[there[:, place], place], given[there[:, place], place], task.unit)
        for place, name in enumerate(names)
    ]


def residual_picture(task: Task, found: Sequence[Residuals]) -> Picture:
    """Draws predicted values over labels, and beside them how the residuals lie."""
    shown = found[:_MOST_ELEMENTS]
    figure, axes = _figures.panels(2 * len(shown), columns=2, width=3.8, height=3.2)
    for one, over, spread in zip(shown, axes[::2], axes[1::2], strict=True):
        _draw(over, spread, one)
    left = [f"{len(found) - len(shown)} more elements are not drawn."] if len(found) > len(shown) else []
    return Picture(f"Residuals of {task.name}", figure, " ".join([*(one.text() for one in shown), *left]))


def _draw(over: Any, spread: Any, one: Residuals) -> None:
    """Points beside the line on which both are equal, and a histogram."""
    unit = f" [{one.unit}]" if one.unit else ""
    step = max(1, len(one.labels) // _MOST_POINTS)
    over.scatter(one.labels[::step], one.values[::step], s=8, alpha=0.6, color=PALETTE[0], linewidths=0)
    if len(one.labels):
        ends = [float(one.labels.min()), float(one.labels.max())]
        over.plot(ends, ends, color=PALETTE[-1], linewidth=1, linestyle="--")
        spread.hist(one.values - one.labels, bins=_BINS, color=PALETTE[0])
        spread.axvline(0, color=PALETTE[-1], linewidth=1, linestyle="--")
    over.set_title(f"{one.name}: R2 {one.r2:.3g}", fontsize=10)
    over.set_xlabel(f"label{unit}")
    over.set_ylabel(f"predicted{unit}")
    spread.set_title(f"{one.name}: mean |error| {one.mae:.3g}", fontsize=10)
    spread.set_xlabel(f"predicted less label{unit}")
    spread.set_ylabel("labels")
