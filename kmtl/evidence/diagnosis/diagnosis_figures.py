"""The figures that a diagnosis stands on, each over several initialisations."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np

from kmtl.evidence.intervals import interval, with_interval

# Of a task that learned nothing yet, what is learned counts as this share of the level of guessing.
_LEAST_LEARNED = 0.1
# What is larger than this, in units, counts as this: one wild initialisation does not widen the interval.
_ENOUGH = 0.3


class Curves(NamedTuple):
    """Losses of one task at weight 1, over S initialisations and E epochs.

    Attributes:
        training: As `fit` logs them, `(S, E)`: means over the epoch.
        validation: At the end of each epoch, `(S, E)`.
        fitted: Of the training data, after the last step, `(S,)`.
        metrics: Mean metrics of the training data after the last step.
    """

    training: Any
    validation: Any
    fitted: Any
    metrics: Mapping[str, float] = {}


class TaskFigures(NamedTuple):
    """What the trainings showed of one task, over S initialisations and P looks at the gradients.

    Attributes:
        name: Of the task.
        guessing: Loss of the best constant output on the training data; of a kind that tells none, that at the start.
        guessing_validation: The same on the validation data.
        joint: Curves of the joint training.
        alone: Of the training alone.
        weight: Mean weight in the joint training, static times balancer's, `(S,)`.
        static: The static loss weight.
        norm: Length of the gradient of the shared weights at weight 1, at the end, `(S,)`.
        share: Of the sum of the gradients' lengths under their weights, `(S, P)`.
        unreached: Whether no gradient reached the shared weights, `(S,)`.
        constant: Whether the output was the same for all examples at the end, `(S,)`.
    """

    name: str
    guessing: float
    guessing_validation: float
    joint: Curves
    alone: Curves
    weight: Any
    static: float
    norm: Any
    share: Any
    unreached: Any
    constant: Any


class PairFigures(NamedTuple):
    """Mean cosines of two tasks' gradients of the shared weights, over rows labelled for both.

    Attributes:
        task: The one.
        other: The other.
        starts: Of models that no step was taken with, one an initialisation.
        cosines: In the joint trainings, after their first epoch and later, `(S, P)`.
    """

    task: str
    other: str
    starts: Any
    cosines: Any


class Range(NamedTuple):
    """Where a figure lies over the initialisations: their extremes and the 95 % interval of their mean together.

    What is above a threshold as a whole is so in every initialisation, and not by chance. Of one initialisation, or
    with one that is NaN, it reaches from minus to plus infinity: nothing follows from it.

    >>> Range.over([0.5, 0.6, 0.7]).low > 0.3, Range.over([0.5]).low
    (True, -inf)
    """

    mean: float
    half: float
    low: float
    high: float

    @classmethod
    def over(cls, values: Any, enough: float = float("inf")) -> Self:
        """Of one value an initialisation.

        Args:
            values: The values.
            enough: Values beyond plus and minus this count as this for `low` and `high`.
        """
        found = np.asarray(values, "float64")
        mean, half = float(np.mean(found)) if found.size else float("nan"), interval(found.tolist())
        if np.isnan(half) or np.isnan(mean):
            return cls(mean, float("nan"), float("-inf"), float("inf"))
        kept = np.clip(found, -enough, enough)
        middle, reach = kept.mean(), interval(kept.tolist())
        return cls(mean, half, float(min(middle - reach, kept.min())), float(max(middle + reach, kept.max())))

    def __str__(self) -> str:
        return with_interval(self.mean, self.half, ".3g")


class Measures(NamedTuple):
    """What follows from the figures of one task; losses in units of what was learned at best, or as they are.

    Attributes:
        unit: Level of guessing less the lower of the two mean training losses; at least a tenth of that level.
        gap: Training loss in joint training less that alone, in units.
        harm: Lowest validation loss in joint training less that alone, in units.
        fall: What the training loss falls by when the joint training's length doubles, in units; by a line through its
            later half over the logarithm of time, so that the next doubling brings about as much or less.
        open_gap: Half the gap less `fall`: above 0, a training twice as long would leave most of the gap.
        validation_fall: As `fall`, of the validation loss.
        learned: Share by which the lowest validation loss, joint or alone, is below guessing.
        prospect: The same after a training twice as long, if the joint one's goes on as it did.
        spread: How much further the loss is below guessing on the training data than on the validation data, in units.
        rise: What the validation loss rose by from its lowest, in units.
        share: Of the pull on the shared weights, in units of an equal share.
    """

    unit: float
    gap: Range
    harm: Range
    fall: Range
    open_gap: Range
    validation_fall: Range
    learned: Range
    prospect: Range
    spread: Range
    rise: Range
    share: Range

    @classmethod
    def of(cls, task: TaskFigures, number: int) -> Self:
        """Of one among a number of tasks."""
        joint, level = task.joint, task.guessing_validation
        unit, gap, harm, fall = losses_beside(task)
        later, end = doubling_fall(joint.validation), joint.validation[:, -1]
        lowest = np.minimum(joint.validation.min(axis=1), task.alone.validation.min(axis=1))
        learned, more = (1 - lowest / level, later / level) if level > 1e-6 else (np.nan * end, np.nan * end)
        return cls(
            unit,
            Range.over(gap, _ENOUGH),
            Range.over(harm, _ENOUGH),
            Range.over(fall, _ENOUGH),
            Range.over(gap / 2 - fall, _ENOUGH),
            Range.over(later / unit, _ENOUGH),
            Range.over(learned, _ENOUGH),
            Range.over(learned + more, _ENOUGH),
            Range.over((end - level - joint.fitted + task.guessing) / unit),
            Range.over((end - joint.validation.min(axis=1)) / unit),
            Range.over(number * np.mean(task.share, axis=1)),
        )


class Together(NamedTuple):
    """Means over the tasks: which of them loses may differ between initialisations, while all together do.

    Attributes:
        gap: As of `Measures`.
        harm: As of `Measures`.
        open_gap: As of `Measures`.
    """

    gap: Range
    harm: Range
    open_gap: Range

    @classmethod
    def of(cls, tasks: Sequence[TaskFigures]) -> Self:
        """Of all tasks of a joint training."""
        found = [losses_beside(task)[1:] for task in tasks]
        gap, harm, fall = np.mean(found, axis=0)
        return cls(*(Range.over(values, _ENOUGH) for values in (gap, harm, gap / 2 - fall)))


def losses_beside(task: TaskFigures) -> tuple[float, Any, Any, Any]:
    """The unit; and in units, one an initialisation, gap, harm and fall; see `Measures`."""
    joint, alone = task.joint, task.alone
    best = min(float(np.mean(joint.fitted)), float(np.mean(alone.fitted)))
    unit = max(task.guessing - best, _LEAST_LEARNED * abs(task.guessing), 1e-12)
    harm = joint.validation.min(axis=1) - alone.validation.min(axis=1)
    return unit, (joint.fitted - alone.fitted) / unit, harm / unit, doubling_fall(joint.training) / unit


def doubling_fall(curves: Any) -> Any:
    """What each curve falls by when its length doubles: the slope of its later half over the logarithm of time.

    Of a power law `t^-a` the next doubling brings `2^-a` of it, of a curve that has settled nothing.

    Args:
        curves: Losses by epoch, `(S, E)`.

    >>> bool(abs(doubling_fall(3 - np.log2(np.arange(8) + 0.5)[None])[0] - 1) < 1e-9)
    True
    """
    epochs = curves.shape[1]
    later = slice(epochs // 2, None) if epochs > 2 else slice(None)
    times = np.log2(np.arange(epochs) + 0.5)[later]
    centred = times - times.mean()
    return -(curves[:, later] @ centred) / (centred @ centred)
