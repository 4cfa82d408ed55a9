"""Uncertainty that means what it says, as functions of a task, its labels and its outputs."""

import math
from typing import Any

import numpy as np

from kmtl._checks import Refusals, words
from kmtl.evidence.trust.calibration_result import SpreadCalibration
from kmtl.tasks.shapes import known_shape


def tells_intervals(task: Any) -> bool:
    """Whether a task's outputs tell how uncertain they are."""
    return bool(task.intervals(np.zeros((1, *known_shape(task.output_shape)))))


def check_spread(refusals: Refusals, task: Any, labels: Any, outputs: Any) -> None:
    """Records a task whose uncertainty no factor makes right: too few labels, or all of them exactly where it says."""
    factor = task.spread_factor(labels, outputs)
    if not 0 < factor < math.inf:
        rule = f"must label task {task.name!r} often enough to tell how far labels and outputs lie apart"
        got = words(f"a factor of {factor:.3g} from {int(np.sum(task.present(np.asarray(labels))))} labels")
        refusals.add("data", rule, got, "Give more labels that it was not trained on, or leave it out of `tasks`.")


def spread_calibration(task: Any, labels: Any, outputs: Any) -> SpreadCalibration:
    """What one task's labels say of its uncertainty; the model is not touched.

    Args:
        task: A task that tells intervals.
        labels: `(n, *label_shape)`, some of them there.
        outputs: `(n, *output_shape)`.
    """
    factor = task.spread_factor(labels, outputs)
    truth = np.asarray(labels, "float64").reshape(len(labels), -1)
    there = np.asarray(task.present(truth))
    both = [task.intervals(values) for values in (outputs, task.with_spread(outputs, factor))]
    inside = [
        {share: float(((low <= truth) & (truth <= high))[there].mean()) for share, (low, high) in found.items()}
        for found in both
    ]
    first = next(iter(both[0]))
    width = [float((found[first][1] - found[first][0])[there].mean()) for found in both]
    return SpreadCalibration(
        task.name,
        int(there.sum()),
        factor,
        tuple((share, before, inside[1][share]) for share, before in inside[0].items()),
        (width[0], width[1]),
        task.unit,
    )
