"""Tasks with integer labels: one of many classes, yes or no, several at once."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import keras
from keras import ops

from kmtl._checks import is_number, is_whole, refusal, require, whole
from kmtl.tasks.base import Task


def _checked_names(task: Task, names: Sequence[str] | None, count: int) -> tuple[str, ...] | None:
    """Returns the label names, or refuses a wrong number of them or one twice."""
    if names is None:
        return None
    listed = (names,) if isinstance(names, str) else tuple(map(str, names))
    rule = f"must hold {count} different names, one a label"
    require(len(listed) == count and len(set(listed)) == count, task.owner, "label_names", rule, listed)
    return listed


def _checked_class_weight(task: Task, weights: Any, classes: int) -> dict[int, float] | str | None:
    """Returns the class weights keyed by int, or refuses unknown classes and negative weights."""
    if weights is None or (isinstance(weights, str) and weights == "balanced"):
        return weights
    if not isinstance(weights, Mapping):
        rule = "must be a dict of class to weight or 'balanced'"
        raise ValueError(refusal(task.owner, "class_weight", rule, weights))
    # JSON turns int keys into strings; a reloaded model gives them back so.
    table = {int(key) if isinstance(key, str) and key.isdecimal() else key: value for key, value in weights.items()}
    good = all(is_whole(key) and 0 <= key < classes for key in table)
    good = good and all(is_number(value) and value >= 0 for value in table.values())
    rule = f"must map classes 0..{classes - 1} to finite weights of at least 0"
    require(good, task.owner, "class_weight", rule, dict(weights))
    return {int(key): float(value) for key, value in table.items()}


@keras.saving.register_keras_serializable(package="kmtl")
class Classification(Task):
    """One class out of several; the output is a probability a class.

    The label is an integer in `0 .. classes - 1`, or -1 where missing. Loss:
    sparse categorical cross-entropy; metric: accuracy.

    Args:
        name: Key of the task in outputs, labels, weights and logs.
        classes: Number of classes, at least 2.
        label_names: A name for each class, for reports and exported files.
        class_weight: Weight of each class's examples in training: a dict (a class left out
            weighs 1) or `"balanced"`, which is `n / (classes * n_c)` from the counts in the training labels.
        **options: `loss`, `metrics`, `hidden`, `dropout`, `l1`, `l2`: see `Task`.

    >>> task = Classification("digit", classes=10)
    >>> task.units, task.missing, task.metric_names(), task.direction("accuracy")
    (10, -1, ['accuracy'], 'max')
    """

    kind: ClassVar[str] = "classification"
    label_dtype: ClassVar[str] = "int32"
    activation: ClassVar[str | None] = "softmax"
    default_metrics: ClassVar[tuple[str, ...]] = ("accuracy",)

    def __init__(
        self,
        name: str,
        classes: int,
        *,
        label_names: Sequence[str] | None = None,
        class_weight: Mapping[int, float] | str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(name, **options)
        self.classes = whole(self.owner, "classes", classes, 2)
        self.label_names = _checked_names(self, label_names, self.classes)
        self.class_weight = _checked_class_weight(self, class_weight, self.classes)

    @property
    def units(self) -> int:
        """Width of the output: one probability a class."""
        return self.classes

    @property
    def default_loss(self) -> str:
        """Sparse categorical cross-entropy."""
        return "sparse_categorical_crossentropy"

    def shaped(self, labels: Any) -> Any:
        """Gives labels the shape `(batch,)`: the loss takes the class's index."""
        return ops.reshape(labels, (-1,))

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        own = {"classes": self.classes, "label_names": self.label_names, "class_weight": self.class_weight}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(package="kmtl")
class BinaryClassification(Task):
    """Yes or no; the output is the probability of yes, shape `(batch, 1)`.

    The label is 0 or 1, or -1 where missing. Loss: binary cross-entropy;
    metric: accuracy at 0.5.

    Args:
        name: Key of the task in outputs, labels, weights and logs.
        label_names: Names of 0 and of 1.
        class_weight: Weight of each class's examples in training: a dict or `"balanced"`.
        **options: `loss`, `metrics`, `hidden`, `dropout`, `l1`, `l2`: see `Task`.

    >>> BinaryClassification("smiling").units
    1
    """

    kind: ClassVar[str] = "binary"
    label_dtype: ClassVar[str] = "int32"
    activation: ClassVar[str | None] = "sigmoid"
    default_metrics: ClassVar[tuple[str, ...]] = ("accuracy",)
    classes = 2

    def __init__(
        self,
        name: str,
        *,
        label_names: Sequence[str] | None = None,
        class_weight: Mapping[int, float] | str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(name, **options)
        self.label_names = _checked_names(self, label_names, 2)
        self.class_weight = _checked_class_weight(self, class_weight, 2)

    @property
    def default_loss(self) -> str:
        """Binary cross-entropy."""
        return "binary_crossentropy"

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        return {**super().get_config(), "label_names": self.label_names, "class_weight": self.class_weight}


@keras.saving.register_keras_serializable(package="kmtl")
class MultiLabel(Task):
    """Several yes-or-no answers at once; the output is a probability a label.

    Each element of the label is 0 or 1, or -1 where that one is missing. An
    example's loss is the mean binary cross-entropy over the elements it has;
    an example with none is not labelled. Metrics see the elements that are
    there, pooled (micro average).

    Args:
        name: Key of the task in outputs, labels, weights and logs.
        labels: Number of labels, at least 1.
        label_names: A name for each label.
        **options: `loss`, `metrics`, `hidden`, `dropout`, `l1`, `l2`: see `Task`.

    >>> MultiLabel("findings", labels=14).label_shape
    (14,)
    """

    kind: ClassVar[str] = "multilabel"
    label_dtype: ClassVar[str] = "int32"
    activation: ClassVar[str | None] = "sigmoid"
    default_metrics: ClassVar[tuple[str, ...]] = ("accuracy",)
    elementwise_losses: ClassVar[frozenset[str]] = frozenset({"binary_crossentropy", "binary_focal_crossentropy"})
    classes = 2

    def __init__(self, name: str, labels: int, *, label_names: Sequence[str] | None = None, **options: Any) -> None:
        super().__init__(name, **options)
        self.labels = whole(self.owner, "labels", labels, 1)
        self.label_names = _checked_names(self, label_names, self.labels)

    @property
    def label_shape(self) -> tuple[int, ...]:
        """One element a label."""
        return (self.labels,)

    @property
    def units(self) -> int:
        """Width of the output: one probability a label."""
        return self.labels

    @property
    def default_loss(self) -> str:
        """Binary cross-entropy."""
        return "binary_crossentropy"

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        return {**super().get_config(), "labels": self.labels, "label_names": self.label_names}
