"""Reliability: how often a task is right by how sure it is, and how many labels lie where it says."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from kmtl import _figures
from kmtl._figures import PALETTE, Picture
from kmtl.evidence.labelled_outputs import gives_probabilities, of_classes
from kmtl.evidence.trust import calibration_fits as fits
from kmtl.evidence.trust.spread_calibration import tells_intervals
from kmtl.tasks import Task

# A mean confidence that lies further off than so many standard errors is told.
_ERRORS = 3.0


class Reliability(NamedTuple):
    """How sure a task is, beside how often that is right.

    Attributes:
        name: Of the task.
        said: Mean confidence of each bin, or share of labels that each interval is to hold.
        found: Share that is right, or inside.
        weight: Share of the labels, of each.
        labels: Number of labels.
        is_interval: Whether it is of intervals.
    """

    name: str
    said: Any
    found: Any
    weight: Any
    labels: int
    is_interval: bool

    @property
    def gap(self) -> float:
        """Mean confidence less the share that is right; of intervals the first's promised share less the true one."""
        return float(np.sum(self.weight * (self.said - self.found)))

    @property
    def error(self) -> float:
        """Of classes the expected calibration error; of intervals how far the first share is off."""
        return float(np.sum(self.weight * np.abs(self.said - self.found)))

    def text(self) -> str:
        """What there is to see."""
        if self.is_interval:
            pairs = [
                f"{one:.0%} promised, {other:.1%} inside" for one, other in zip(self.said, self.found, strict=True)
            ]
            return f"{self.name}: {'; '.join(pairs)}, of {self.labels:,} labels."
        said, right = float(np.sum(self.weight * self.said)), float(np.sum(self.weight * self.found))
        told = f"mean confidence {said:.3f}, share right {right:.3f}"
        return f"{self.name}: {told}, calibration error {self.error:.3f}, of {self.labels:,} labels."

    def conclusion(self) -> str:
        """What follows where it is surer or less sure than right, by more than chance; else nothing."""
        right = float(np.sum(self.weight * self.found))
        chance = _ERRORS * np.sqrt(max(right * (1 - right), 1 / self.labels) / self.labels)
        if abs(self.gap) <= chance:
            return ""
        way = "surer than it is right" if self.gap > 0 else "less sure than it is right"
        what = "its intervals hold" if self.is_interval else "it is right"
        said = right + self.gap
        return f"{self.name} is {way}: it says {said:.1%} and {what} {right:.1%}; kmtl.evidence.calibrate mends that."


def reliability(task: Task, labels: Any, outputs: Any) -> Reliability | None:
    """Measures it; None of a task that tells neither probabilities nor intervals, or has no labels.

    Args:
        task: The task.
        labels: `(n, *label_shape)`; what is missing counts nowhere.
        outputs: `(n, *output_shape)`.
    """
    if gives_probabilities(task):
        truth, probabilities, _ = of_classes(task, labels, outputs)
        if not len(truth):
            return None
        share, mean, weight = fits.reliability(truth, probabilities)
        return Reliability(task.name, mean, share, weight, len(truth), False)
    pair = task.compared_values(labels, outputs) if tells_intervals(task) else None
    if pair is None or not np.isfinite(pair[0]).any():
        return None
    there = np.isfinite(pair[0])
    found = task.intervals(outputs)
    inside = [float(((low <= pair[0]) & (pair[0] <= high))[there].mean()) for low, high in found.values()]
    first = np.eye(len(found))[0]
    return Reliability(task.name, np.array([*found]), np.array(inside), first, int(there.sum()), True)


def reliability_picture(found: Sequence[Reliability]) -> Picture:
    """Draws what each task says beside what is; on the diagonal both are equal, below it the task is too sure."""
    figure, axes = _figures.panels(len(found), columns=3, width=3.4, height=3.2)
    for axis, one in zip(axes, found, strict=False):
        axis.plot([0, 1], [0, 1], color="#555555", linewidth=1, linestyle="--")
        order = np.argsort(one.said)
        said, inside = np.asarray(one.said)[order], np.asarray(one.found)[order]
        sizes = 40.0 if one.is_interval else 12 + 220 * np.asarray(one.weight)[order]
        axis.plot(said, inside, color=PALETTE[0], linewidth=1)
        axis.scatter(said, inside, s=sizes, color=PALETTE[0], alpha=0.6)
        axis.set_title(one.name, fontsize=10)
        axis.set_xlabel("share promised" if one.is_interval else "confidence")
        axis.set_ylabel("share of labels inside" if one.is_interval else "share right")
    text = " ".join(one.text() for one in found)
    return Picture("Reliability", figure, f"{text} Points below the dashed diagonal: too sure.")
