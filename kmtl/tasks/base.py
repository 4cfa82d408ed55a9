"""The contract that every kind of task keeps."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import keras
from keras import ops

from kmtl._checks import non_negative, refusal, require, sizes, task_name
from kmtl._keras_private import loss_arguments

# What tells a metric's better end: a piece of its name, or one whole word of it.
_HIGHER = ("accuracy", "precision", "recall", "sensitivity", "specificity", "similarity", "correlation", "io_u")
_HIGHER_WORDS = frozenset({"acc", "auc", "auroc", "dice", "f1", "fbeta", "iou", "miou", "r2"})
_LOWER = ("loss", "error", "crossentropy", "hinge", "divergence", "poisson", "huber", "log_cosh", "delta_m")
_LOWER_WORDS = frozenset({"bce", "ce", "kld", "logcosh", "mae", "mape", "mse", "msle", "rmse"})


class Task:
    """One named output of a model: how it is labelled, trained, measured and read.

    A task holds settings only; weights live in the model. Every kind of task
    shares the options below.

    Args:
        name: Key of the task in outputs, labels, weights and logs.
        loss: A Keras loss (name, object or function) in place of the kind's own.
            An object's `reduction` is not used: kmtl takes one value an example
            and averages over the labelled ones.
        metrics: Keras metrics (names or objects) in place of the kind's own.
        hidden: Units of the head's hidden layers.
        dropout: Share of the head's hidden units that is dropped, in `[0, 1)`;
            without hidden layers, of the features.
        l1: Factor of the L1 penalty on the head's kernels.
        l2: Factor of the L2 penalty on the head's kernels.

    Raises:
        ValueError: If an option is out of range; the message names it.
    """

    kind: ClassVar[str] = ""
    label_dtype: ClassVar[str] = "float32"
    activation: ClassVar[str | None] = None
    default_metrics: ClassVar[tuple[str, ...]] = ()
    # Losses that are a plain mean over the last axis, so that one missing element can leave it alone.
    elementwise_losses: ClassVar[frozenset[str]] = frozenset()
    label_names: tuple[str, ...] | None = None
    class_weight: dict[int, float] | str | None = None

    def __init__(
        self,
        name: str,
        *,
        loss: Any = None,
        metrics: Sequence[Any] | None = None,
        hidden: int | Sequence[int] = (),
        dropout: float = 0.0,
        l1: float = 0.0,
        l2: float = 0.0,
    ) -> None:
        owner = type(self).__name__
        self.name = task_name(owner, name)
        self.owner = f"{owner}({name!r})"
        self.loss = self._checked_loss(loss)
        self.metrics = self._checked_metrics(metrics)
        self.hidden = sizes(self.owner, "hidden", hidden)
        self.dropout = non_negative(self.owner, "dropout", dropout)
        require(self.dropout < 1, self.owner, "dropout", "must be below 1", dropout)
        self.l1 = non_negative(self.owner, "l1", l1)
        self.l2 = non_negative(self.owner, "l2", l2)

    def _checked_loss(self, loss: Any) -> Any:
        """Returns the loss, or refuses one that Keras does not know."""
        if isinstance(loss, Mapping) and "class_name" in loss:
            loss = keras.losses.deserialize(dict(loss))
        if inspect.isclass(loss):
            loss = loss()
        if isinstance(loss, str):
            try:
                keras.losses.get(loss)
            except ValueError as error:
                raise ValueError(refusal(self.owner, "loss", "must be a Keras loss", loss)) from error
        elif loss is not None and not callable(loss):
            raise ValueError(refusal(self.owner, "loss", "must be a name, a keras.losses.Loss or a function", loss))
        return loss

    def _checked_metrics(self, metrics: Any) -> list[Any]:
        """Returns the metrics as a list, or refuses what is neither a list nor one metric, and a name twice."""
        if metrics is None:
            return list(self.default_metrics)
        listed = list(metrics) if isinstance(metrics, list | tuple) else [metrics]
        known = all(isinstance(item, str | Mapping) or callable(item) for item in listed)
        if isinstance(metrics, Mapping) or not known:
            raise ValueError(refusal(self.owner, "metrics", "must be a list of metrics", metrics))
        listed = [keras.metrics.deserialize(item) if isinstance(item, Mapping) else item for item in listed]
        listed = [item() if inspect.isclass(item) else item for item in listed]
        names = [metric_name(item) for item in listed]
        require(len(names) == len(set(names)), self.owner, "metrics", "must have different names", names)
        return listed

    @property
    def label_shape(self) -> tuple[int, ...]:
        """Shape of one label; `()` is a scalar."""
        return ()

    @property
    def units(self) -> int:
        """Width of the output."""
        return 1

    @property
    def missing(self) -> int | float:
        """The value that says: this example has no label."""
        return -1 if self.label_dtype == "int32" else float("nan")

    @property
    def default_loss(self) -> Any:
        """The kind's own loss."""
        raise NotImplementedError

    def resolved_loss(self) -> Any:
        """The loss to train with, as a Keras loss object or function."""
        return keras.losses.get(self.default_loss if self.loss is None else self.loss)

    def shaped(self, labels: Any) -> Any:
        """Gives labels the shape that the loss compares with the output, `(batch, units)`."""
        return ops.reshape(labels, (-1, self.units))

    def present(self, labels: Any) -> Any:
        """Tells which elements of the labels are there: True, or False where missing."""
        return ops.greater_equal(labels, 0)

    def metric_names(self) -> list[str]:
        """Names of the metrics, as they stand in the logs behind the task's name."""
        return [metric_name(item) for item in self.metrics]

    def direction(self, name: str) -> str:
        """Tells whether more of a metric is better.

        Args:
            name: A metric of this task (`"accuracy"`) or its log key (`"val_digit_accuracy"`).

        Returns:
            `"max"` or `"min"`.

        Raises:
            ValueError: If the name tells nothing, as with a metric of the user's own.
        """
        short = name.removeprefix("val_").removeprefix(f"{self.name}_").removeprefix("weighted_").lower()
        words = set(short.split("_"))
        if words & _LOWER_WORDS or any(piece in short for piece in _LOWER):
            return "min"
        if words & _HIGHER_WORDS or any(piece in short for piece in _HIGHER):
            return "max"
        fix = "Give the callback `mode='min'` or `mode='max'`."
        raise ValueError(refusal(self.owner, "direction", "needs a metric whose better end is known", name, fix))

    def head(self, features: Any) -> Any:
        """Builds the head on the features and returns the named output.

        Args:
            features: KerasTensor of shape `(batch, width)`.

        Returns:
            KerasTensor of shape `(batch, units)`, float32.
        """
        return self.output(self.hidden_layers(features))

    def hidden_layers(self, features: Any) -> Any:
        """Builds what stands between the features and the output layer."""
        for index, width in enumerate(self.hidden, start=1):
            layer = keras.layers.Dense(
                width, activation="relu", kernel_regularizer=self.regularizer(), name=f"{self.name}_hidden_{index}"
            )
            features = layer(features)
        if self.dropout:
            features = keras.layers.Dropout(self.dropout, name=f"{self.name}_dropout")(features)
        return features

    def output(self, features: Any) -> Any:
        """Builds the output layer, which bears the task's name."""
        return self.dense(self.name)(features)

    def dense(self, name: str) -> Any:
        """Makes the output's dense layer; float32, so that mixed precision keeps probabilities and units exact."""
        return keras.layers.Dense(
            self.units,
            activation=self.activation,
            kernel_regularizer=self.regularizer(),
            dtype="float32",
            name=name,
        )

    def regularizer(self) -> Any:
        """The penalty on the head's kernels, or None."""
        return keras.regularizers.L1L2(self.l1, self.l2) if self.l1 or self.l2 else None

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        loss = self.loss if self.loss is None or isinstance(self.loss, str) else serialized_loss(self.loss)
        metrics = [item if isinstance(item, str) else keras.metrics.serialize(item) for item in self.metrics]
        return {
            "name": self.name,
            "loss": loss,
            "metrics": metrics,
            "hidden": list(self.hidden),
            "dropout": self.dropout,
            "l1": self.l1,
            "l2": self.l2,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Task":
        """Makes the task again."""
        return cls(**config)

    def __repr__(self) -> str:
        return self.owner

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.get_config() == other.get_config()

    def __hash__(self) -> int:
        return hash(self.owner)


def serialized_loss(loss: Any) -> Any:
    """Serializes a loss object or function with all of its options.

    Keras 3.15 leaves `Huber(delta)` and an `axis` or two out of its configs, so
    that a reloaded model would train on another loss.

    >>> serialized_loss(keras.losses.Huber(delta=0.5))["config"]["delta"]
    0.5
    """
    serialized = keras.losses.serialize(loss)
    if type(loss).__module__.startswith("keras.") and isinstance(loss, keras.losses.Loss):
        serialized["config"] = {**loss_arguments(loss), **serialized["config"]}
    return serialized


def metric_name(metric: Any) -> str:
    """Names a metric as Keras does: a string is its own name.

    >>> metric_name("mae"), metric_name(keras.metrics.AUC(name="auc"))
    ('mae', 'auc')
    """
    if isinstance(metric, str):
        return metric
    return getattr(metric, "name", None) or metric.__name__
