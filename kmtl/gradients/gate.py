"""A task that sits out sends no gradient back."""

from typing import Any

import tensorflow as tf


class Gate:
    """Stops the gradient of the tasks that sit out, at their predictions.

    A weight of 0 is not enough: an infinite loss has a slope that is not
    finite, and 0 times that is NaN. Which tasks those are is known only after
    the forward pass, so `healthy` is set between it and the backward pass.

    Attributes:
        healthy: Booleans, one a task of the group, `(G,)`.
    """

    def __init__(self) -> None:
        self.healthy: Any = None

    def __call__(self, predictions: Any) -> Any:
        """Returns predictions `(batch, [G,] units)` as they are."""

        @tf.custom_gradient
        def passed(value: Any) -> Any:
            return tf.identity(value), self._gradient

        return passed(predictions)

    def _gradient(self, upstream: Any) -> Any:
        """The gradient of healthy tasks, and zeros for the others."""
        if self.healthy is None:
            return upstream
        mask = self.healthy if upstream.shape.rank == 2 else self.healthy[None, :, None]
        return tf.where(mask, upstream, tf.zeros_like(upstream))
