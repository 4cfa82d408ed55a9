"""Several labels of exclusive classes as one: the combinations of their classes, some of the labels unknown."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from kmtl._keras_private import logits_behind
from kmtl.tasks.base import Task

_SMALLEST = 1e-7


def exclusive_classes(task: Task) -> int:
    """How many classes an example's one label is of, exactly one of which is true; 0 for any other task.

    >>> from kmtl.tasks.classification import BinaryClassification, MultiLabel
    >>> exclusive_classes(BinaryClassification("smiling")), exclusive_classes(MultiLabel("findings", 14))
    (2, 0)
    """
    return task.classes if task.weighs_classes and not task.label_shape else 0


def encode(labels: Sequence[Any], sizes: Sequence[int]) -> Any:
    """Numbers what is known of several labels: digits `label + 1` to the bases `classes + 1`, the last one first.

    Args:
        labels: Arrays or tensors of whole numbers, -1 where missing, `(rows,)` each.
        sizes: Number of classes of each.

    Returns:
        `(rows,)`, int32; -1 where none of them is there.

    >>> encode([np.array([1, -1, -1]), np.array([0, 2, -1])], [2, 3]).numpy().tolist()
    [9, 3, -1]
    """
    code: Any = 0
    for values, size in zip(labels, sizes, strict=True):
        code = code * (size + 1) + ops.cast(values, "int32") + 1
    return code - ops.cast(code == 0, "int32")


def decode(codes: Any, sizes: Sequence[int]) -> list[Any]:
    """The labels that `encode` made numbers of, -1 where missing.

    >>> [labels.numpy().tolist() for labels in decode(np.array([9, 3, -1]), [2, 3])]
    [[1, -1, -1], [0, 2, -1]]
    """
    rest, found = ops.maximum(ops.cast(codes, "int32"), 0), []
    for size in reversed(sizes):
        found.append(rest % (size + 1) - 1)
        rest = rest // (size + 1)
    return found[::-1]


def combination_classes(sizes: Sequence[int]) -> Any:
    """The class of each label in each combination, `(labels, combinations)`; the last label's class moves first.

    >>> combination_classes([2, 3]).tolist()
    [[0, 0, 0, 1, 1, 1], [0, 1, 2, 0, 1, 2]]
    """
    return np.indices(tuple(sizes)).reshape(len(sizes), -1)


def agreeing(codes: Any, sizes: Sequence[int]) -> Any:
    """Which combinations agree with the labels that are known, booleans `(rows, combinations)`.

    Args:
        codes: As `encode` gives them, whole numbers of any dtype, `(rows,)`.
        sizes: Number of classes of each label.
    """
    agree: Any = True
    for labels, classes in zip(decode(codes, sizes), combination_classes(sizes).astype("int32"), strict=True):
        agree = agree & ((labels[:, None] < 0) | (labels[:, None] == classes[None]))
    return agree


def marginal(probabilities: Any, sizes: Sequence[int], place: int) -> Any:
    """The distribution of one label: `p(y_1) = sum over y_2 of p(y_1, y_2)`.

    Args:
        probabilities: Of the combinations, `(rows, combinations)`.
        sizes: Number of classes of each label.
        place: Which label.

    Returns:
        `(rows, classes of that label)`.
    """
    apart = ops.reshape(probabilities, (-1, *sizes))
    return ops.sum(apart, axis=tuple(axis + 1 for axis in range(len(sizes)) if axis != place))


@keras.saving.register_keras_serializable(package="kmtl")
class Marginal(keras.layers.Layer):
    """The output of one task out of the probabilities of all combinations of several tasks' classes.

    Shapes: `(batch, combinations)` in, `(batch, units)` out.

    Args:
        sizes: Number of classes of each task.
        place: Which task, from 0.
        units: Width of its output: a probability a class, or 1, that of yes.
        **kwargs: Keras layer options.

    >>> layer = Marginal([2, 2], place=1, units=1)
    >>> round(float(layer(ops.array([[0.1, 0.2, 0.3, 0.4]]))[0, 0]), 6)
    0.6
    """

    def __init__(self, sizes: Sequence[int], place: int, units: int, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.sizes, self.place, self.units = [int(size) for size in sizes], place, units

    def call(self, inputs: Any) -> Any:
        """Sums over the classes of the other tasks."""
        found = marginal(inputs, self.sizes, self.place)
        return found[:, self.sizes[self.place] - self.units :]

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """One number a class, or that of yes."""
        return (input_shape[0], self.units)

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        return {**super().get_config(), "sizes": self.sizes, "place": self.place, "units": self.units}


@keras.saving.register_keras_serializable(package="kmtl")
class KnownLabelsLikelihood(keras.losses.Loss):
    """The negative logarithm of the probability of the labels that are known.

        loss = -log sum over the combinations c that agree with the known labels of p_c

    With all labels known it is the cross-entropy of their combination; with one, the cross-entropy of its marginal.

    Args:
        sizes: Number of classes of each label.
        **kwargs: As for `keras.losses.Loss`.

    >>> loss = KnownLabelsLikelihood([2, 2])
    >>> given = ops.array([[0.1, 0.2, 0.3, 0.4]])
    >>> only_first_is_1 = encode([np.array([1]), np.array([-1])], [2, 2])
    >>> round(float(ops.exp(-loss.call(only_first_is_1, given))[0]), 5)
    0.7
    """

    def __init__(self, sizes: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.sizes = [int(size) for size in sizes]

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """One loss an example, `(batch,)`."""
        agree = agreeing(y_true, self.sizes)
        logits = logits_behind(y_pred)
        if logits is None:
            known = ops.sum(ops.where(agree, y_pred, 0.0), axis=-1)
            return -ops.log(ops.maximum(known, _SMALLEST))
        logits = ops.cast(logits, "float32")
        # Of a row at least one combination agrees, so that no logarithm is of 0.
        lowest = ops.stop_gradient(ops.min(logits, axis=-1, keepdims=True)) - 1e4
        return ops.logsumexp(logits, axis=-1) - ops.logsumexp(ops.where(agree, logits, lowest), axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        return {**super().get_config(), "sizes": self.sizes}


@keras.saving.register_keras_serializable(package="kmtl")
class Combination(Task):
    """Several labels of exclusive classes as one, some of which may be unknown; the output is a probability each.

    The label is what `encode` makes of them. It is what `kmtl.training.LabelFusion` trains.

    Args:
        name: Key of the task in outputs, labels, weights and logs.
        sizes: Number of classes of each label.
        **options: `hidden`, `dropout`, `l1`, `l2`: see `Task`.

    >>> Combination("digit_and_color", [10, 3]).units
    30
    """

    kind = "combination"
    meaning = "a probability for each combination of classes"
    label_dtype = "int32"
    activation = "softmax"

    def __init__(self, name: str, sizes: Sequence[int], **options: Any) -> None:
        super().__init__(name, **options)
        self.sizes = [int(size) for size in sizes]
        self.classes = math.prod(size + 1 for size in self.sizes)

    @property
    def units(self) -> int:
        """Width of the output: one probability a combination."""
        return math.prod(self.sizes)

    @property
    def default_loss(self) -> Any:
        """The likelihood of the labels that are known."""
        return KnownLabelsLikelihood(self.sizes)

    @property
    def loss_shape(self) -> tuple[int | None, ...]:
        """The loss takes the number of what is known, `(batch,)`."""
        return ()

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        return {**super().get_config(), "sizes": self.sizes}
