"""What Keras's losses and metrics were made with, which their configs do not tell in full."""

from collections.abc import Callable
from typing import Any


def loss_arguments(loss: Any) -> dict[str, Any]:
    """Arguments that one of Keras's losses hands to its function; none for any other loss.

    >>> import keras
    >>> loss_arguments(keras.losses.Huber(delta=0.5))["delta"]
    0.5
    """
    return dict(getattr(loss, "_fn_kwargs", {}))


def metric_function(metric: Any) -> Callable[..., Any] | None:
    """The function that one of Keras's metrics averages; None for any other metric."""
    return getattr(metric, "_fn", None)
