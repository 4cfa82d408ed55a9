"""What a pass over a task's labels finds: how many there are, what is wrong with them, classes or moments."""

import math
from typing import Any

import numpy as np

from kmtl._checks import Refusals, words


def bad_weights(weights: Any, labelled: Any) -> int:
    """Counts the sample weights that are negative or not finite; a weight without a label reaches nothing.

    Args:
        weights: One an example, or one a label of it.
        labelled: For each example, or each label of it, whether it is there; None where nobody knows.

    >>> bad_weights(np.array([1.0, -1.0, np.nan]), np.array([True, True, False]))
    1
    """
    values = np.asarray(weights)
    bad: Any = ~((values >= 0) & (values < np.inf))
    if labelled is None or not bad.any():
        return int(bad.sum())
    there = np.asarray(labelled)
    if there.size == bad.size:
        return int((bad.reshape(-1) & there.reshape(-1)).sum())
    # One weight for all labels of an example; of another number of examples, the lengths are refused elsewhere.
    flat = np.asarray(bad.reshape(len(bad), -1).any(axis=1))
    return int((flat & there.reshape(len(there), -1).any(axis=1)).sum() if len(flat) == len(there) else flat.sum())


# A standard deviation must hold so many steps of float32, or rounding moves a label by more than a twentieth of it.
_STEPS = 10


class LabelStatistics:
    """What one task's labels hold, gathered batch by batch.

    Args:
        task: Whose labels they are.

    Attributes:
        examples: Examples seen.
        labelled: Examples that carry the label (of several elements or places: any of them).
        bad_weights: Sample weights of labelled examples that are negative or not finite.
    """

    def __init__(self, task: Any) -> None:
        self.task = task
        self.examples = 0
        self.labelled = 0
        self.bad_weights = 0

    def update(self, labels: Any, weights: Any = None) -> None:
        """Adds a batch.

        Args:
            labels: `(batch, ...)`, NumPy.
            weights: Sample weights, `(batch,)` or of the labels' shape; None where all weigh 1.
        """
        values = np.asarray(labels)
        values = values.astype(np.int64 if self.task.label_dtype == "int32" else np.float64)
        width = math.prod(size or 1 for size in self.task.label_shape[self.task.dense_axes :])
        # A row an example, a place, an element of the label.
        values = values.reshape((len(values), -1, width) if values.size else (len(values), 0, width))
        present = np.asarray(self.task.present(values))
        self.examples += len(values)
        self.labelled += int(present.any(axis=(1, 2)).sum())
        if weights is not None:
            self.bad_weights += bad_weights(weights, present.any(axis=2))
        self.add(values.reshape(-1, width), present.reshape(-1, width))

    def add(self, values: Any, present: Any) -> None:
        """Adds values `(labels, elements)`, of which those count that are present."""

    def refuse(
        self, refusals: Refusals, argument: str, *, needed: bool = False, learns: bool = False, way_out: str = ""
    ) -> None:
        """Records what is wrong with the labels and their weights.

        Args:
            refusals: Where to record.
            argument: What the user calls the labels.
            needed: Whether a task without any label is refused.
            learns: Whether a layer of the task's head is to learn from the statistics.
            way_out: What else may be done about a task without any label.
        """
        if needed and not self.labelled:
            got = words(f"none in {self.examples} examples")
            fix = f"Leave the task out, or pass its labels. {way_out}".rstrip()
            refusals.add(argument, "must have a label somewhere", got, fix)
        self.refuse_values(refusals, argument)
        if self.bad_weights:
            got = words(f"{self.bad_weights} of {self.examples} that are not")
            refusals.add(f"sample_weight[{self.task.name!r}]", "must be finite and at least 0", got)
        if learns and self.labelled:
            self.refuse_unlearnable(refusals, argument)

    def refuse_unlearnable(self, refusals: Refusals, argument: str) -> None:
        """Records labels that a layer can learn nothing from."""

    def refuse_values(self, refusals: Refusals, argument: str) -> None:
        """Records what is wrong with the values of the labels."""

    def refuse_lost_digits(self, refusals: Refusals, argument: str) -> None:
        """Records labels whose digits float32 loses."""

    def rule_of_values(self) -> tuple[str, str]:
        """What a label may be, and what is often the reason where it is not, as a refusal says it."""
        return "must be finite or NaN", ""


class ClassCounts(LabelStatistics):
    """How often each class, or each whole number, occurs.

    Attributes:
        counts: Labels of each class, `(classes,)`; empty for a task of whole numbers that are no classes.
        lowest: The lowest label.
        highest: The highest label.
    """

    def __init__(self, task: Any) -> None:
        super().__init__(task)
        self.counts = np.zeros(task.classes, dtype=np.int64)
        self.lowest: float = np.inf
        self.highest: float = -np.inf

    def add(self, values: Any, present: Any) -> None:
        """Counts the classes that exist; the others show in `lowest` and `highest`."""
        found = values[present]
        if found.size:
            self.lowest = min(self.lowest, found.min())
            self.highest = max(self.highest, found.max())
            good = found[(found >= 0) & (found < len(self.counts))]
            self.counts += np.bincount(good.astype(np.int64), minlength=len(self.counts))

    def refuse_values(self, refusals: Refusals, argument: str) -> None:
        """Records classes that the task does not have."""
        last = len(self.counts) - 1 if len(self.counts) else math.inf
        if self.lowest < 0 or self.highest > last:
            rule, fix = self.rule_of_values()
            refusals.add(argument, rule, words(f"{self.lowest}..{self.highest}"), fix)

    def rule_of_values(self) -> tuple[str, str]:
        """What a label may be, and what is often the reason where it is not."""
        rule = f"must lie in 0..{len(self.counts) - 1}" if len(self.counts) else "must be at least 0"
        fix = "Classes are counted from 0." if len(self.counts) else ""
        return f"{rule}, or be {self.task.missing} where missing", fix


class Moments(LabelStatistics):
    """Mean and spread of each element of a float label.

    Attributes:
        elements: How often each element is there, `(elements,)`.
        mean: Mean of each.
        infinite: Values that are not finite.
    """

    def __init__(self, task: Any) -> None:
        super().__init__(task)
        width = math.prod(size or 1 for size in task.label_shape[task.dense_axes :])
        self.elements, self.mean, self.squares = np.zeros(width), np.zeros(width), np.zeros(width)
        self.infinite = 0

    @property
    def scale(self) -> Any:
        """Standard deviation of each element."""
        return np.sqrt(self.squares / np.maximum(self.elements, 1))

    def add(self, values: Any, present: Any) -> None:
        """Merges the batch's moments into the running ones (Chan, Golub and LeVeque 1983)."""
        finite = present & np.isfinite(values)
        self.infinite += int((present & ~finite).sum())
        count = finite.sum(axis=0)
        mean = np.where(finite, values, 0.0).sum(axis=0) / np.maximum(count, 1)
        squares = (np.where(finite, values - mean, 0.0) ** 2).sum(axis=0)
        total = self.elements + count
        shift = mean - self.mean
        self.squares += squares + shift**2 * self.elements * count / np.maximum(total, 1)
        self.mean += shift * count / np.maximum(total, 1)
        self.elements = total

    def refuse_values(self, refusals: Refusals, argument: str) -> None:
        """Records infinite labels."""
        if self.infinite:
            rule, fix = self.rule_of_values()
            refusals.add(argument, rule, words(f"{self.infinite} infinite values"), fix)
        self.refuse_lost_digits(refusals, argument)

    @property
    def varies(self) -> Any:
        """Whether each element is more than a constant that is blurred by rounding in float64."""
        return self.scale > 1e-12 * (1 + np.abs(self.mean))

    @property
    def resolution(self) -> Any:
        """How far apart two neighbouring numbers in float32 are, at the mean of each element."""
        with np.errstate(over="ignore"):
            return np.spacing(np.abs(self.mean).astype("float32")).astype("float64")

    def refuse_lost_digits(self, refusals: Refusals, argument: str) -> None:
        """Records labels that vary by so little for their size that float32, in which models compute, blurs them."""
        blurred = self.varies & (self.scale < _STEPS * self.resolution)
        if blurred.any():
            place = int(np.argmax(blurred))
            mean, scale, step = (float(one[place]) for one in (self.mean, self.scale, self.resolution))
            got = words(
                f"a standard deviation of {scale:.4g} around {mean:.10g}, where float32 has steps of {step:.4g}"
            )
            rule = "must keep their digits in float32"
            refusals.add(argument, rule, got, "Subtract an offset from the labels first, and add it to predictions.")

    def refuse_unlearnable(self, refusals: Refusals, argument: str) -> None:
        """Records a label that is constant, or has an element that is: its scale would be 0."""
        if not self.varies.all():
            got = words(f"a standard deviation of {self.scale.tolist()}")
            rule, fix = "must vary: a constant cannot be standardised", "Drop the task, or give it `standardize=False`."
            # The labels may differ by less than what float32 tells apart.
            coarse = self.resolution[~self.varies].max(initial=0.0)
            if coarse > 1e-3:
                rule = f"must vary in float32, which has steps of {coarse:.4g} there"
                fix = f"Subtract an offset from the labels first; if they are all the same: {fix[0].lower()}{fix[1:]}"
            refusals.add(argument, rule, got, fix)
