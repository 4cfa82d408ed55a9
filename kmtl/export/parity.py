"""How closely an artifact's outputs agree with the Keras model's, a task a row."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from kmtl._table import Result, Table
from kmtl.export import decoding, fresh_process
from kmtl.tasks import Task


@dataclasses.dataclass(frozen=True)
class TaskParity:
    """The agreement of one task's outputs, over the joint signature and the task's own.

    Attributes:
        task: Name of the task.
        difference: Largest absolute difference, in the output's own unit; NaN if either side alone is NaN.
        largest: Largest absolute value among the finite Keras outputs.
        relative: `difference` over the spread (largest less smallest value) of the Keras outputs.
        decisions: Share of samples (of a task with a label a place: of places), 0..1, on which both decide the same;
            None for an output that decides nothing.
        milliseconds: Median time of one call of the task's own signature; None if it was not timed.
        keras_milliseconds: The same of the Keras model cut to this task.
    """

    task: str
    difference: float
    largest: float
    relative: float
    decisions: float | None
    milliseconds: float | None = None
    keras_milliseconds: float | None = None

    @property
    def scaled(self) -> float:
        """Returns `difference / max(1, largest)`, since rounding grows with a value: 1e-5 of 180 degrees is 0.0018."""
        return self.difference / max(1.0, self.largest)


@dataclasses.dataclass(frozen=True, repr=False)
class Parity(Result):
    """What `check` found: print it, or take its `table()`.

    Times are medians of a few calls on all samples at once, from NumPy arrays to NumPy arrays, after a call to warm
    up. The artifact and Keras are timed one after the other, on the CPU, in two processes, each with its runtime's own
    number of threads: they tell orders, not percents. Where a GPU holds the weights, Keras's times include their way to
    the CPU.

    Attributes:
        artifact: Path of what was run.
        form: "SavedModel", "LiteRT" or "ONNX".
        size: Bytes on disk, all files together.
        samples: Number of samples compared, the batch size of what is timed.
        rows: One entry a task, in the model's order.
        milliseconds: Median time of one call of the artifact for all of its tasks together.
        keras_milliseconds: The same of the Keras model cut to these tasks.
    """

    artifact: str
    form: str
    size: int
    samples: int
    rows: tuple[TaskParity, ...]
    milliseconds: float
    keras_milliseconds: float

    @property
    def worst(self) -> float:
        """Returns the largest `scaled` difference of any task, what a tolerance is held against; NaN comes first."""
        return max((row.scaled for row in self.rows), key=lambda value: (math.isnan(value), value))

    def parts(self) -> list[str | Table]:
        """The rows between a line on the artifact and one on the times."""
        rows = [
            {name.replace("milliseconds", "ms"): value for name, value in dataclasses.asdict(row).items()}
            for row in self.rows
        ]
        joint = f"all tasks in {self.milliseconds:.3g} ms, by Keras in {self.keras_milliseconds:.3g} ms"
        head = f"{self.artifact}: {self.form} of {self.size:,} bytes; {self.samples} samples; {joint}"
        times = f"ms: a call on all samples, median of {fresh_process.FEWEST} to {fresh_process.MOST} after a first one"
        three = dict.fromkeys(("difference", "largest", "relative", "decisions", "ms", "keras_ms"), ".3g")
        return [head, Table(rows, three), f"{times}; two processes, so indicative"]


def row(
    name: str,
    task: Task | None,
    expected: Any,
    found: Mapping[str, Any],
    milliseconds: float | None = None,
    keras_milliseconds: float | None = None,
) -> TaskParity:
    """Compares one task's outputs.

    Args:
        name: Name of the task.
        task: The task, which says what is decided; None if unknown.
        expected: Outputs of the Keras model, `(samples, ...)`.
        found: Outputs of the artifact of that shape, by signature.
        milliseconds: Time of one call of the task's own signature.
        keras_milliseconds: Time of one call of the Keras model cut to the task.

    Returns:
        The largest difference and the smallest agreement over the signatures.
    """
    places = 0 if task is None else task.dense_axes
    decided = decoding.decisions(task, np.asarray(expected))
    others = [np.asarray(values) for values in found.values()]
    agreement = None
    if decided is not None:
        agreement = min(_agreement(decided, decoding.decisions(task, other), places) for other in others)
    expected = np.asarray(expected, "float64")
    difference = float(np.max([_difference(expected, other.astype("float64")) for other in others]))
    finite = expected[np.isfinite(expected)]
    largest = float(np.max(np.abs(finite), initial=0.0))
    return TaskParity(
        name, difference, largest, _over_spread(difference, finite), agreement, milliseconds, keras_milliseconds
    )


def _difference(expected: Any, found: Any) -> float:
    """Returns the largest absolute difference; equal values, NaN and infinities included, differ by 0."""
    same = (expected == found) | (np.isnan(expected) & np.isnan(found))
    with np.errstate(invalid="ignore"):
        return float(np.max(np.where(same, 0.0, np.abs(expected - found))))


def _over_spread(difference: float, values: Any) -> float:
    """Returns the difference relative to the spread of the values; a constant output has none."""
    spread = float(np.ptp(values)) if values.size else 0.0
    if spread > 0:
        return difference / spread
    return 0.0 if difference == 0 else math.inf


def _agreement(expected: Any, found: Any, places: int) -> float:
    """Returns the share of samples, or of the places on the axes behind them, with equal decisions."""
    same = np.asarray(expected == found)
    return float(np.mean(same.reshape(*same.shape[: 1 + places], -1).all(axis=-1)))
