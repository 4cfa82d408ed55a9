"""Losses as Keras has them: their values without a reduction, their names, and which are Keras's own."""

from collections.abc import Hashable
from typing import Any

import keras
from keras import ops

from kmtl._keras_private import loss_arguments

# Keras's losses that reduce the last axis and no other, so that a group axis goes through them untouched.
STACKABLE = frozenset(
    {"sparse_categorical_crossentropy", "binary_crossentropy", "binary_focal_crossentropy", "cosine_similarity"}
    | {"mean_squared_error", "mean_absolute_error", "mean_absolute_percentage_error", "huber", "log_cosh"}
    | {"mean_squared_logarithmic_error", "hinge", "squared_hinge", "poisson"}
)


def loss_values(loss: Any, labels: Any, predictions: Any) -> Any:
    """Calls a loss object or function without its reduction, with float labels, as Keras's own `Loss` does.

    >>> loss_values(keras.losses.MeanSquaredError(), ops.array([[1], [3]]), ops.array([[1.0], [1.0]])).numpy().tolist()
    [0.0, 4.0]
    """
    call = loss.call if isinstance(loss, keras.losses.Loss) else loss
    return ops.cast(call(ops.cast(labels, "float32"), predictions), "float32")


def loss_name(loss: Any) -> str:
    """Names a loss by its function, whatever form it comes in.

    >>> loss_name(keras.losses.MeanSquaredError()), loss_name(keras.losses.get("mse"))
    ('mean_squared_error', 'mean_squared_error')
    """
    function = getattr(loss, "fn", loss)
    return getattr(function, "__name__", type(function).__name__)


def summed(loss: Any) -> tuple[str, Any, str] | None:
    """Tells what is wrong with a loss object that asks for another reduction than the mean: rule, value, way out.

    >>> summed(keras.losses.MeanSquaredError(reduction="sum"))[:2]
    ('must not ask for a reduction of its own', 'sum')
    >>> summed(keras.losses.MeanSquaredError()) is None
    True
    """
    reduction = getattr(loss, "reduction", None)
    if reduction not in ("sum", "mean_with_sample_weight"):
        return None
    fix = "A task's loss is the mean over its labels: leave `reduction` out, and set `loss_weights` for a larger one."
    return "must not ask for a reduction of its own", reduction, fix


def is_of_keras(loss: Any) -> bool:
    """Whether it is one of Keras's own losses, on the last axis, and not a user's under the same name."""
    by_keras = not isinstance(loss, keras.losses.Loss) or type(loss).__module__.startswith("keras.")
    last_axis = loss_arguments(loss).get("axis", -1) == -1
    return by_keras and last_axis and getattr(loss, "fn", loss) is getattr(keras.losses, loss_name(loss), None)


def is_stackable(loss: Any) -> bool:
    """Whether it leaves every axis but the last alone, for sure."""
    return is_of_keras(loss) and loss_name(loss) in STACKABLE


def loss_identity(loss: Any) -> Hashable:
    """What makes two losses the same: the settings of one of Keras's own, any other only itself."""
    if isinstance(loss, keras.losses.Loss) and is_stackable(loss):
        config = serialized_loss(loss)["config"]
        return (type(loss), repr(sorted((key, config[key]) for key in config if key not in {"name", "reduction"})))
    return loss


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
