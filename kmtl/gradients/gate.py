"""A task that sits out sends no gradient back."""

from typing import Any

import tensorflow as tf

from kmtl._keras_private import logits_behind, put_logits_behind
from kmtl._types import Tensor


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

    def __call__(self, predictions: Tensor) -> Tensor:
        """Returns predictions `(batch, [G,] ...)` of any rank as they are."""
        through = self._identity(predictions)
        logits = logits_behind(predictions)
        if logits is not None:
            # Keras takes a cross-entropy from the logits that it finds behind a probability.
            put_logits_behind(through, self._identity(logits))
        return through

    def _identity(self, value: Tensor) -> Tensor:
        """The same tensor with a gradient that can be stopped."""

        @tf.custom_gradient
        def identity(tensor: Any) -> Tensor:
            return tf.identity(tensor), self._gradient

        return identity(value)

    def _gradient(self, upstream: Tensor) -> Tensor:
        """The gradient of healthy tasks, and zeros for the others."""
        if self.healthy is None:
            return upstream
        # Along the axis of the group; the one answer of a single task goes for every axis.
        shape = [1, -1, *[1] * (upstream.shape.rank - 2)]
        mask = tf.reshape(self.healthy, shape[: upstream.shape.rank])
        return tf.where(mask, upstream, tf.zeros_like(upstream))
