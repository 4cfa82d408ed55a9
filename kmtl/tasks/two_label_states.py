"""The exact model of two yes-or-no labels: four states, their probabilities, and the likelihood of what is known."""

from typing import Any

import keras
import numpy as np
from keras import ops

from kmtl._keras_private import logits_behind, put_logits_behind

# States in the order of the output: (no, no), (no, yes), (yes, no), (yes, yes).
_OF_FIRST, _OF_SECOND = (2, 3), (1, 3)
# Far below every logarithm of a probability, and finite: minus infinity has no gradient.
_NEVER = -1e30


def marginals(probabilities: Any) -> Any:
    """The probability of yes of each label, from those of the four states.

    Args:
        probabilities: Array or tensor `(..., 4)`.

    Returns:
        `(..., 2)`, of the same sort.

    >>> marginals(np.array([0.1, 0.2, 0.3, 0.4])).round(6).tolist()
    [0.7, 0.6]
    """
    stack = np.stack if isinstance(probabilities, np.ndarray) else ops.stack
    pairs = [probabilities[..., one] + probabilities[..., other] for one, other in (_OF_FIRST, _OF_SECOND)]
    return stack(pairs, axis=-1)


def marginal_logits(logits: Any) -> Any:
    """The log-odds of yes of each label, from logits of the four states, without overflow; `(..., 2)`."""
    no, second, first, both = (logits[..., state] for state in range(4))
    return ops.stack(
        [
            ops.logaddexp(first, both) - ops.logaddexp(no, second),
            ops.logaddexp(second, both) - ops.logaddexp(no, first),
        ],
        axis=-1,
    )


@keras.saving.register_keras_serializable(package="kmtl")
class TwoLabelStates(keras.layers.Layer):
    """Turns the parameters of the two-label model into the probabilities of its four states.

        p(y_1, y_2) = exp(a_1 y_1 + a_2 y_2 + c y_1 y_2) / Z,    Z = 1 + e^a_1 + e^a_2 + e^(a_1 + a_2 + c)

    The coupling c is the log odds ratio of the two labels: 0 where they are independent given the input.

    Shapes: `(batch, 3)` holding `a_1, a_2, c`, or `(batch, 2)` with c a weight of the layer, in; `(batch, 4)` out, the
    states (0, 0), (0, 1), (1, 0), (1, 1); float32.

    Args:
        **kwargs: Keras layer options.

    >>> TwoLabelStates()(ops.array([[0.0, 0.0, 0.0]])).numpy().tolist()
    [[0.25, 0.25, 0.25, 0.25]]
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        self.coupling: Any = None

    def build(self, input_shape: Any) -> None:
        """Makes the coupling that no input gives."""
        if input_shape[-1] == 2:
            self.coupling = self.add_weight(shape=(), initializer="zeros", name="coupling")

    def call(self, inputs: Any) -> Any:
        """Returns the probabilities, with their logits behind them."""
        first, second = inputs[:, 0], inputs[:, 1]
        coupling = inputs[:, 2] if self.coupling is None else self.coupling
        logits = ops.stack([ops.zeros_like(first), second, first, first + second + coupling], axis=-1)
        probabilities = ops.softmax(logits, axis=-1)
        put_logits_behind(probabilities, logits)
        return probabilities

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """Four states."""
        return (*input_shape[:-1], 4)


@keras.saving.register_keras_serializable(package="kmtl")
class TwoLabelLikelihood(keras.losses.Loss):
    """The exact negative log-likelihood of what is known of two labels.

        -log p(y_1, y_2),  -log p(y_1) where y_2 is missing,  -log p(y_2) where y_1 is,  0 where both are

    The missing label is summed out, which is exact: no guess stands in for it.

    Args:
        name: Of the loss.
        **kwargs: As for `keras.losses.Loss`.

    >>> probabilities = ops.array([[0.1, 0.2, 0.3, 0.4]] * 3)
    >>> values = TwoLabelLikelihood().call(ops.array([[1.0, 0.0], [1.0, -1.0], [-1.0, -1.0]]), probabilities)
    >>> [round(float(value), 4) for value in np.exp(-values.numpy())]
    [0.3, 0.7, 1.0]
    """

    def __init__(self, name: str = "two_label_likelihood", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Returns one loss an example, `(batch,)`.

        Args:
            y_true: 0, 1, or -1 where missing, `(batch, 2)`.
            y_pred: Probabilities of the four states, `(batch, 4)`; their logits are taken where Keras finds them.
        """
        logits = logits_behind(y_pred)
        if logits is None:
            logits = ops.log(ops.maximum(y_pred, float(np.finfo("float32").tiny)))
        labels = ops.cast(y_true, "int32")
        first, second = labels[:, :1], labels[:, 1:]
        states = np.array([[0, 0, 1, 1], [0, 1, 0, 1]], "int32")
        fits = ((first < 0) | (first == states[0])) & ((second < 0) | (second == states[1]))
        known = ops.logsumexp(ops.where(fits, logits, _NEVER), axis=-1)
        return ops.logsumexp(logits, axis=-1) - known
