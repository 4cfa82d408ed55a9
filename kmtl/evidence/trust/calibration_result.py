"""What a calibration found, task by task, and how it is shown."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from kmtl import _figures
from kmtl._table import Result, Table

_SIDES = (("before", "#d9822b", "--"), ("after", "#1f5fa8", "-"))


@dataclasses.dataclass(frozen=True)
class TaskCalibration:
    """What was found for one task; `before` and `after` the change of the model.

    Attributes:
        task: Name of the task.
        labels: Number of labels it stands on; elements of labels, places of maps.
        temperature: What its logits were divided by: above 1 the head had been too sure, below 1 not sure enough.
        log_loss: Mean negative log-likelihood, before and after, in nats.
        calibration_error: Expected calibration error, before and after.
        threshold: Where it now says yes, one number or one a label; None of a task of classes.
        reliability: `(share right, mean confidence, share of rows)` of the bins that are not empty, before and after.
    """

    task: str
    labels: int
    temperature: float
    log_loss: tuple[float, float]
    calibration_error: tuple[float, float]
    threshold: float | tuple[float, ...] | None
    reliability: tuple[tuple[Any, Any, Any], tuple[Any, Any, Any]]


@dataclasses.dataclass(frozen=True)
class SpreadCalibration:
    """What was found for one task that tells how uncertain it is; `before` and `after` the change of the model.

    Attributes:
        task: Name of the task.
        labels: Number of labels it stands on; elements of labels.
        factor: What its uncertainty was multiplied by: above 1 the head had been too sure, below 1 not sure enough.
        intervals: `(share promised, share of labels inside before, and after)` of each interval that it tells; the
            first stands for all in the table.
        width: Mean width of the first, before and after, in the label's unit.
        unit: The label's.
    """

    task: str
    labels: int
    factor: float
    intervals: tuple[tuple[float, float, float], ...]
    width: tuple[float, float]
    unit: str

    def row(self) -> dict[str, Any]:
        """What a table shows."""
        promised, before, after = self.intervals[0]
        return {
            "task": self.task,
            "labels": self.labels,
            "factor": self.factor,
            "promised": promised,
            "covered before": before,
            "covered after": after,
            "width before": self.width[0],
            "width after": self.width[1],
            "unit": self.unit,
        }


@dataclasses.dataclass(frozen=True, repr=False)
class Calibration(Result):
    """What `calibrate` did: print it, `plot()` it, or take its `table()`.

    Attributes:
        rows: One entry a task of classes that was calibrated.
        skipped: `{task: reason}` of the tasks of classes that were not.
        spreads: One entry a task that tells how uncertain its values are.
    """

    rows: tuple[TaskCalibration, ...]
    skipped: Mapping[str, str]
    spreads: tuple[SpreadCalibration, ...] = ()

    def parts(self) -> list[str | Table]:
        """The tasks under a line of what is shown, and what was left alone."""
        shown = [
            {
                "task": row.task,
                "labels": row.labels,
                "temperature": row.temperature,
                "log loss before": row.log_loss[0],
                "log loss after": row.log_loss[1],
                "ECE before": row.calibration_error[0],
                "ECE after": row.calibration_error[1],
                "threshold": _short(row.threshold),
            }
            for row in self.rows
        ]
        found: list[str | Table] = []
        if self.rows:
            formats = {"temperature": ".3f", "ECE before": ".4f", "ECE after": ".4f"}
            found += ["Probabilities on the data that they were calibrated on:", Table(shown, formats)]
        if self.spreads:
            names = ("factor", "promised", "covered before", "covered after")
            rows = Table([row.row() for row in self.spreads], dict.fromkeys(names, ".3f"))
            found += ["Intervals on the data that they were calibrated on:", rows]
        left = [f"left as it was: {name}: {reason}" for name, reason in self.skipped.items()]
        return [*found, *left]

    def conclusions(self) -> list[str]:
        """What was too sure, and what was not sure enough."""
        told = [
            f"{row.task} had been {_sure(row.temperature)}: calibration error {row.calibration_error[0]:.3f}, now "
            f"{row.calibration_error[1]:.3f} on the data that it was calibrated on."
            for row in self.rows
        ]
        for spread in self.spreads:
            promised, before, after = spread.intervals[0]
            told.append(
                f"Of intervals of {promised:.0%}, {spread.task} had held {before:.1%} and now holds {after:.1%}."
            )
        return told

    def pictures(self) -> list[_figures.Picture]:
        """The reliability diagrams."""
        if not self.rows and not self.spreads:
            return []
        return [_figures.Picture("Reliability before and after", self.plot(), " ".join(self.conclusions()))]

    def plot(self, path: Any = None) -> Any:
        """Draws a reliability diagram a task: how often the model was right, by how sure it was.

        On the diagonal a confidence of 0.9 is right nine times out of ten; below it the model is too sure. The area of
        a point is its share of the labels. Of intervals: how many labels they hold, by how many they are to hold.

        Args:
            path: Where the picture goes; None writes none.

        Returns:
            The path, or without one the figure.
        """
        count = len(self.rows) + len(self.spreads)
        figure, axes = _figures.panels(max(count, 1), columns=3, width=3.6, height=3.4)
        for axis in axes[:count]:
            axis.plot([0, 1], [0, 1], color="grey", linewidth=1)
        for axis, row in zip(axes, self.rows, strict=False):
            for (label, colour, dash), (share, mean, weight) in zip(_SIDES, row.reliability, strict=True):
                axis.plot(mean, share, color=colour, linestyle=dash, label=label)
                axis.scatter(mean, share, s=200 * weight, color=colour, alpha=0.5)
            before, after = row.calibration_error
            axis.set_title(f"{row.task}: ECE {before:.3f} → {after:.3f}", fontsize=10)
            axis.set_xlabel("confidence")
            axis.set_ylabel("share right")
        for axis, spread in zip(axes[len(self.rows) :], self.spreads, strict=False):
            promised, *covered = zip(*sorted(spread.intervals), strict=True)
            for (label, colour, dash), share in zip(_SIDES, covered, strict=True):
                axis.plot(promised, share, color=colour, linestyle=dash, label=label, marker="o")
            axis.set_title(f"{spread.task}: uncertainty times {spread.factor:.3g}", fontsize=10)
            axis.set_xlabel("share promised")
            axis.set_ylabel("share of labels inside")
        axes[0].legend()
        return _figures.save(figure, path)


def _sure(factor: float) -> str:
    """What a temperature says of a head."""
    return "too sure of itself" if factor > 1 else "not sure enough" if factor < 1 else "as sure as it is right"


def _short(threshold: Any) -> str | None:
    """A threshold, or the span of several, as a table shows it."""
    if not isinstance(threshold, tuple):
        return None if threshold is None else f"{threshold:.3f}"
    return f"{min(threshold):.3f}..{max(threshold):.3f}"
