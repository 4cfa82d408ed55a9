"""Tasks with integer labels: one of many classes, yes or no, several at once."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from kmtl._checks import whole
from kmtl.tasks.base import Task
from kmtl.tasks.class_names import named_classes
from kmtl.tasks.class_options import (
    checked_class_weight,
    checked_factors,
    checked_names,
    likelier,
    likeliest,
    yes_or_no,
)
from kmtl.tasks.thresholds import checked_threshold


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
        **options: `loss`, `losses`, `metrics`, `hidden`, `dropout`, `l1`, `l2`: see `Task`.

    >>> task = Classification("digit", classes=10)
    >>> task.units, task.missing, task.metric_names(), task.direction("accuracy")
    (10, -1, ['accuracy'], 'max')
    """

    kind: ClassVar[str] = "classification"
    meaning: ClassVar[str] = "a probability for each class"
    label_dtype: ClassVar[str] = "int32"
    activation: ClassVar[str | None] = "softmax"
    decides: ClassVar[bool] = True
    chooses: ClassVar[bool] = True
    default_metrics: ClassVar[tuple[str, ...]] = ("accuracy",)
    mean_metrics: ClassVar[Mapping[str, Callable[[Any, Any], Any]]] = dict.fromkeys(
        ("accuracy", "acc"), keras.metrics.sparse_categorical_accuracy
    )

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
        self.label_names = checked_names(self, label_names, self.classes)
        self.class_weight = checked_class_weight(self, class_weight, self.classes)

    @property
    def units(self) -> int:
        """Width of the output: one probability a class."""
        return self.classes

    @property
    def default_loss(self) -> str:
        """Sparse categorical cross-entropy."""
        return "sparse_categorical_crossentropy"

    @property
    def loss_shape(self) -> tuple[int | None, ...]:
        """The loss takes the class's index, `(batch,)`."""
        return ()

    def class_probabilities(self, outputs: Any) -> Any:
        """The outputs, `(batch, classes)`."""
        return outputs

    def explained(self, outputs: Any, classes: Any) -> Any:
        """The logit of the class in question, `(batch, 1)`."""
        return ops.take_along_axis(outputs, classes[:, None], axis=-1)

    def decide(self, outputs: Any) -> Any:
        """The likeliest class, `(batch,)`."""
        return likeliest(outputs)

    def read(self, outputs: Any) -> dict[str, Any]:
        """The likeliest class, by its name if classes have names, and its probability, `(batch,)` each."""
        best = named_classes(self.label_names, self.decide(outputs))
        return {"label": best, "probability": ops.max(outputs, axis=-1)}

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
        product_of: Other such tasks, whose probabilities are multiplied to this one's in place of a head: a conversion
            is a click and a conversion given the click, and so learns from every example (Ma et al., "Entire Space
            Multi-Task Model", SIGIR 2018; `docs/task_space.md`).
        threshold: Probability above which `decide` says yes, here and in exported files; the metric stays at 0.5.
            `kmtl.evidence.calibrate` chooses it.
        **options: `loss`, `losses`, `metrics`, `hidden`, `dropout`, `l1`, `l2`, `where`: see `Task`.

    >>> BinaryClassification("smiling").units
    1
    """

    kind: ClassVar[str] = "binary"
    meaning: ClassVar[str] = "the probability of yes"
    label_dtype: ClassVar[str] = "int32"
    activation: ClassVar[str | None] = "sigmoid"
    decides: ClassVar[bool] = True
    default_metrics: ClassVar[tuple[str, ...]] = ("accuracy",)
    mean_metrics: ClassVar[Mapping[str, Callable[[Any, Any], Any]]] = dict.fromkeys(
        ("accuracy", "acc"), keras.metrics.binary_accuracy
    )
    classes = 2

    def __init__(
        self,
        name: str,
        *,
        label_names: Sequence[str] | None = None,
        class_weight: Mapping[int, float] | str | None = None,
        product_of: Sequence[str] = (),
        threshold: float = 0.5,
        **options: Any,
    ) -> None:
        super().__init__(name, **options)
        self.product_of = checked_factors(self, product_of)
        self.label_names = checked_names(self, label_names, 2)
        self.class_weight = checked_class_weight(self, class_weight, 2)
        self.threshold = checked_threshold(self, threshold)

    @property
    def default_loss(self) -> str:
        """Binary cross-entropy."""
        return "binary_crossentropy"

    def class_probabilities(self, outputs: Any) -> Any:
        """Those of no and of yes, `(batch, 2)`."""
        return (np if isinstance(outputs, np.ndarray) else ops).concatenate([1.0 - outputs, outputs], axis=-1)

    def outputs_of(self, probabilities: Any) -> Any:
        """That of yes, `(batch, 1)`."""
        return probabilities[..., 1:]

    def decide(self, outputs: Any) -> Any:
        """1 for yes, 0 for no, `(batch,)`."""
        return yes_or_no(outputs[..., 0], self.threshold)

    def read(self, outputs: Any) -> dict[str, Any]:
        """The likelier of no and yes, by its name if they have names, and its probability, `(batch,)` each."""
        answers = self.decide(outputs)
        return {"label": named_classes(self.label_names, answers), "probability": likelier(answers, outputs[..., 0])}

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        own = {"label_names": self.label_names, "class_weight": self.class_weight, "threshold": self.threshold}
        product = {"product_of": list(self.product_of)} if self.product_of else {}
        return {**super().get_config(), **own, **product}


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
        threshold: Probability above which `decide` says yes, one for all or one a label; the metric stays at 0.5.
            `kmtl.evidence.calibrate` chooses it.
        **options: `loss`, `losses`, `metrics`, `hidden`, `dropout`, `l1`, `l2`: see `Task`.

    >>> MultiLabel("findings", labels=14).label_shape
    (14,)
    """

    kind: ClassVar[str] = "multilabel"
    meaning: ClassVar[str] = "a probability for each label"
    label_dtype: ClassVar[str] = "int32"
    activation: ClassVar[str | None] = "sigmoid"
    decides: ClassVar[bool] = True
    default_metrics: ClassVar[tuple[str, ...]] = ("accuracy",)
    mean_metrics: ClassVar[Mapping[str, Callable[[Any, Any], Any]]] = dict.fromkeys(
        ("accuracy", "acc"), keras.metrics.binary_accuracy
    )
    elementwise_losses: ClassVar[frozenset[str]] = frozenset({"binary_crossentropy", "binary_focal_crossentropy"})
    classes = 2

    def __init__(
        self,
        name: str,
        labels: int,
        *,
        label_names: Sequence[str] | None = None,
        threshold: float | Sequence[float] = 0.5,
        **options: Any,
    ) -> None:
        super().__init__(name, **options)
        self.labels = whole(self.owner, "labels", labels, 1)
        self.label_names = checked_names(self, label_names, self.labels)
        self.threshold = checked_threshold(self, threshold)

    @property
    def label_shape(self) -> tuple[int | None, ...]:
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

    def class_probabilities(self, outputs: Any) -> Any:
        """Those of no and of yes of each label, `(batch, labels, 2)`."""
        yes = self.metric_outputs(outputs)
        return (np if isinstance(yes, np.ndarray) else ops).stack([1.0 - yes, yes], axis=-1)

    def outputs_of(self, probabilities: Any) -> Any:
        """That of yes of each label, `(batch, labels)`."""
        return probabilities[..., 1]

    def decide(self, outputs: Any) -> Any:
        """1 for yes, 0 for no, `(batch, labels)`."""
        return yes_or_no(self.metric_outputs(outputs), self.threshold)

    def read(self, outputs: Any) -> dict[str, Any]:
        """Each label: 1 or 0, or with names its name or nothing; and the probability of that answer."""
        answers = self.decide(outputs)
        probabilities = likelier(answers, self.metric_outputs(outputs))
        if self.label_names is None:
            return {"label": answers, "probability": probabilities}
        # Of each label nothing and its name, side by side.
        both = ops.convert_to_tensor([text for name in self.label_names for text in ("", name)], dtype="string")
        places = 2 * np.arange(self.labels, dtype="int64") + answers
        return {"label": ops.take(both, places, axis=0), "probability": probabilities}

    def describe(self, label: Any, output: Any) -> str:
        """The labels that are there and the decided ones, `?` for such of which nobody knows: `digits 2, 8 → 2`."""
        decided = ops.convert_to_numpy(self.decide(np.asarray(output)))
        known = np.full(self.labels, self.missing) if label is None else np.asarray(label)
        return f"{self.name} {self._listed(known)} → {self._listed(decided)}"

    def _listed(self, answers: Any) -> str:
        """The labels that are answered by yes, by their names or numbers."""
        there = [str((self.label_names or range(self.labels))[place]) for place in np.flatnonzero(answers == 1)]
        unknown = [] if self.present(answers).all() else ["?"]
        return ", ".join(there + unknown) or "none"

    def label_columns(self, columns: Sequence[Any]) -> list[Any]:
        """The column of the task's name, or one a label name."""
        named = self.name not in columns and self.label_names and set(self.label_names) <= set(columns)
        return list(self.label_names or ()) if named else [self.name]

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        own = {"labels": self.labels, "label_names": self.label_names, "threshold": self.threshold}
        return {**super().get_config(), **own}
