"""What a label is: its dtype and shape, what says that it is missing, how it is checked and brought into form."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from keras import ops

from kmtl._checks import Refusals, is_weight, is_whole, words
from kmtl.tasks import strata
from kmtl.tasks.shapes import at_places, known_shape, same_shape
from kmtl.tasks.statistics import ClassCounts, LabelStatistics, Moments

# Leading axes of a label that count places, by the features that a head takes.
_PLACES = {"vector": 0, "sequence": 1, "map": 2}


class Label:
    """The label's side of a task; every kind of task has one, and says below only what differs.

    A label is a number, a vector, or one of those a place: a pixel of a map, a token of a sequence.
    """

    name: str
    # A word for the kind, for files and reports.
    kind: ClassVar[str] = ""
    label_dtype: ClassVar[str] = "float32"
    # Which of the trunk's features the head takes: "vector", "map" or "sequence".
    features: ClassVar[str] = "vector"
    # Number of classes that an element of a label may be; 0 where it is a number.
    classes: int = 0
    label_names: tuple[str, ...] | None = None
    class_weight: dict[int, float] | str | None = None
    # What to do about labels of unlike lengths, which are no array.
    way_out_of_lists: ClassVar[str] = "pad labels of unlike lengths"

    @property
    def label_shape(self) -> tuple[int | None, ...]:
        """Shape of one label; `()` is a scalar, None a side that varies."""
        return ()

    @property
    def loss_shape(self) -> tuple[int | None, ...]:
        """Shape of one label as the loss takes it; a scalar that is compared with an output `(batch, 1)` is `(1,)`."""
        return self.label_shape or (1,)

    @property
    def dense_axes(self) -> int:
        """How many leading axes of a label count places, each of which has a label of its own.

        2 for pixels, 1 for tokens, 0 where an example has one label.
        """
        places = _PLACES[self.features]
        return places if len(self.label_shape) >= places else 0

    @property
    def missing(self) -> int | float:
        """The value that says: this example has no label."""
        return -1 if self.label_dtype == "int32" else float("nan")

    def present(self, labels: Any) -> Any:
        """Tells which elements of the labels are there: True, or False where missing.

        Args:
            labels: Any array or tensor.

        Returns:
            Booleans of the same shape and sort.
        """
        # NaN differs from itself; of Keras's symbolic tensors only `!=` is elementwise.
        return labels != self.missing if self.label_dtype == "int32" else ~(labels != labels)

    def possible(self, labels: Any) -> Any:
        """Tells which elements of the labels are missing or can be: a class of the task, a finite number.

        Args:
            labels: Any array or tensor.

        Returns:
            Booleans of the same shape and sort.
        """
        if self.label_dtype != "int32":
            return abs(labels) != float("inf")
        return (labels >= self.missing) & (labels < self.classes) if self.classes else labels >= self.missing

    # Checks and casts of arrays.

    def unmasked(self, labels: Any) -> Any:
        """Returns labels as they are, those behind a mask of `np.ma` as missing."""
        if not np.ma.isMaskedArray(labels):
            return labels
        if labels.dtype.kind not in "iufb":
            return np.asarray(labels)
        wide = np.result_type(labels.dtype, "int8" if self.label_dtype == "int32" else "float32")
        return np.ma.filled(labels.astype(wide), self.missing)

    def check_labels(self, refusals: Refusals, argument: str, dtype: Any, shape: Sequence[int | None]) -> None:
        """Records labels of a wrong dtype or shape.

        Args:
            refusals: Where to record.
            argument: What the user calls the labels of all tasks.
            dtype: NumPy dtype of the labels.
            shape: Their shape with the batch axis; an unknown size is None.
        """
        kind = np.dtype(dtype).kind
        label = f"{argument}[{self.name!r}]"
        if self.weighs_classes and not self.fits(tuple(shape)) and shape[1:] == (*self.label_shape, self.classes):
            fix = f"Pass numpy.argmax(labels, axis=-1), and {self.missing} where missing."
            got = words(f"shape {tuple(shape)}, which looks one-hot")
            refusals.add(label, "must hold the number of a class", got, fix)
            return
        if self.label_dtype == "int32" and kind == "f":
            what = "classification" if self.classes else "task of whole numbers"
            fix = f"Cast to int, {self.missing} where missing; kmtl.data.from_frame does both."
            refusals.add(label, f"must be integers: it is a {what}", words(str(np.dtype(dtype))), fix)
        elif kind not in "iufb":
            fix = "Encode names as numbers first."
            if kind == "O":
                fix = f"Encode names as numbers first, None as {self.missing}; {self.way_out_of_lists}."
            refusals.add(label, "must be numbers", words(str(np.dtype(dtype))), fix)
        if not self.fits(tuple(shape)):
            wanted = ", ".join(["batch", *("any" if size is None else str(size) for size in self.label_shape)])
            refusals.add(label, f"must have shape ({wanted}{'' if self.label_shape else ','})", tuple(shape))

    def check_digits(self, refusals: Refusals, argument: str, labels: Any) -> None:
        """Records numbers whose digits the cast to float32 would lose, as those of timestamps.

        Args:
            refusals: Where to record.
            argument: What the user calls these labels.
            labels: Array of the task's shape, before the cast.
        """
        if self.label_dtype == "float32" and labels.dtype.kind in "iuf" and labels.dtype.itemsize > 4:
            statistics = self.statistics()
            statistics.update(labels)
            statistics.refuse_lost_digits(refusals, argument)

    def fits(self, shape: Sequence[int | None]) -> bool:
        """Whether labels of a shape, batch axis included, are this task's; a scalar may come as `(batch, 1)`."""
        accepted = [tuple(self.label_shape)] if self.label_shape else [(), (1,)]
        return len(shape) >= 1 and any(same_shape(shape[1:], wanted) for wanted in accepted)

    def cast_labels(self, labels: Any) -> Any:
        """Returns an array in the task's dtype; a class beyond its range must not wrap around into a valid one."""
        if self.label_dtype == "int32" and labels.dtype.kind in "iu":
            limits = np.iinfo("int32")
            if labels.dtype == np.uint64:
                labels = np.minimum(labels, limits.max)
            labels = np.clip(labels.astype("int64"), limits.min, limits.max)
        return labels.astype(self.label_dtype)

    def absent_labels(self, batch: int) -> Any:
        """Returns labels that are all missing, `(batch, ...)`; a side that varies is 1."""
        return np.full((batch, *known_shape(self.label_shape)), self.missing, dtype=self.label_dtype)

    # The same of tensors.

    def cast_label_tensor(self, labels: Any) -> Any:
        """Returns a tensor in the task's dtype and, where its rank is unknown, with the task's shape."""
        if labels.shape.rank is None:
            labels = ops.reshape(labels, (-1, *self.label_shape))
        whole = self.label_dtype == "int32" and labels.dtype.is_integer
        return ops.saturate_cast(labels, self.label_dtype) if whole else ops.cast(labels, self.label_dtype)

    def absent_label_tensor(self, batch: Any) -> Any:
        """Returns labels that are all missing, `(batch, ...)`, where `batch` may be a tensor."""
        return ops.full((batch, *known_shape(self.label_shape)), self.missing, dtype=self.label_dtype)

    def shaped(self, labels: Any, predictions: Any = None) -> Any:
        """Gives labels the shape in which the loss compares them with the output, `(batch, *loss_shape)`.

        Args:
            labels: `(batch, ...)`.
            predictions: Outputs, whose places give a side that varies its size where all labels are absent.
        """
        if None not in self.loss_shape:
            return ops.reshape(labels, (-1, *self.loss_shape))
        return at_places(self, labels, predictions)

    def shaped_weights(self, weights: Any) -> Any:
        """Gives sample weights, an array or a tensor, the axes that multiply a loss a label.

        `(batch,)`; of a dense task one axis a place more, of size 1 where all places of an example weigh alike.
        """
        axes = self.dense_axes
        if axes and len(weights.shape) == 1 + axes:
            return weights
        reshape = np.reshape if isinstance(weights, np.ndarray) else ops.reshape
        return reshape(weights, (-1, *[1] * axes))

    def takes_weights(self, shape: Sequence[int | None]) -> bool:
        """Whether sample weights of a shape, batch axis included, are one an example or one a place."""
        places = tuple(self.label_shape[: self.dense_axes])
        return len(shape) >= 1 and any(same_shape(shape[1:], wanted) for wanted in [(), (1,), places])

    # What is learned from labels.

    def statistics(self) -> LabelStatistics:
        """Makes what gathers the labels of a pass over the data; it also tells what is refused in them."""
        return ClassCounts(self) if self.label_dtype == "int32" else Moments(self)

    def strata(self, labels: Any, bins: int) -> Any:
        """Tells which rows are alike, for a split that keeps them in proportion.

        Args:
            labels: Array `(rows, ...)` in the task's dtype and shape.
            bins: Bins between quantiles of what has many values.

        Returns:
            Booleans `(rows, strata)`, "missing" as a stratum of its own: see `kmtl.tasks.strata`.
        """
        whole = self.label_dtype == "int32"
        return strata.strata(labels, self.present(labels), bins, whole=whole, dense_axes=self.dense_axes)

    @property
    def weighs_classes(self) -> bool:
        """Whether a label is one class, so that classes may weigh."""
        return self.classes > 0 and len(self.label_shape) == self.dense_axes

    def class_weight_table(self, refusals: Refusals, argument: str, given: Any, statistics: Any) -> Any:
        """Resolves class weights to one weight a class, or records what is wrong with them.

        Args:
            refusals: Where to record.
            argument: What the user calls the weights.
            given: `{class: weight}` or `"balanced"`.
            statistics: Of the training labels, or None.

        Returns:
            `(classes,)`, or None.
        """
        if not self.weighs_classes:
            refusals.add(
                argument, "must belong to a classification", words(type(self).__name__), "Use `sample_weight`."
            )
            return None
        if isinstance(given, str) and given == "balanced":
            if statistics is None:
                fix = "Pass a dict of weights; or let `fit` count, with `check=True`."
                got = words("data that is not looked at")
                refusals.add(argument, "needs the label counts to be 'balanced'", got, fix)
                return None
            return self.balanced_weights(statistics.counts)
        if not isinstance(given, Mapping):
            refusals.add(argument, "must be a dict {class: weight} or 'balanced'", given)
            return None
        return self._weights_of_classes(refusals, argument, given)

    def _weights_of_classes(self, refusals: Refusals, argument: str, given: Mapping[Any, Any]) -> Any:
        """One weight a class, 1 where none is given."""
        table = np.ones(self.classes, dtype="float32")
        for place, weight in given.items():
            if not is_whole(place) or not 0 <= place < self.classes or not is_weight(weight):
                rule = f"must map classes 0..{self.classes - 1} to weights of at least 0 that are finite in float32"
                refusals.add(argument, rule, words(f"{place!r}: {weight!r}"))
            else:
                table[int(place)] = weight
        return table

    def balanced_weights(self, counts: Any) -> Any:
        """`n / (c * n_c)` over the c classes that occur, so that the mean weight of a label is 1.

        Args:
            counts: Labels of each class, `(classes,)`.
        """
        occurring = max(int((counts > 0).sum()), 1)
        return np.where(counts > 0, counts.sum() / (occurring * np.maximum(counts, 1)), 1.0).astype("float32")

    # What a table of data holds.

    def label_columns(self, columns: Sequence[Any]) -> list[Any]:
        """Names the columns of a frame that hold the label, where nobody says: the one of the task's name."""
        del columns
        return [self.name]

    @property
    def label_codes(self) -> dict[str, int] | None:
        """Number of each label name that a table may hold in its place; None where a label is never text."""
        if not self.weighs_classes or self.dense_axes:
            return None
        return {name: place for place, name in enumerate(self.label_names or ())}

    @property
    def renumbered(self) -> dict[str, int]:
        """Label names that are numbers, of other classes than their own: in a table `3` might mean either."""
        return {name: place for name, place in (self.label_codes or {}).items() if _number(name) not in (None, place)}


def _number(text: str) -> float | None:
    """The number that a text spells; None if none."""
    try:
        return float(text)
    except ValueError:
        return None
