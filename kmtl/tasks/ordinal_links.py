"""From scores to the probabilities of classes in an order: two links, and what a temperature does to them."""

from typing import Any

import keras
import numpy as np
from keras import ops

from kmtl._checks import whole

_TINY = float(np.finfo("float32").tiny)


@keras.saving.register_keras_serializable(package="kmtl")
class ConditionalLink(keras.layers.Layer):
    """Log-probabilities of K classes in an order, of K - 1 logits: is the rank above k, if it is not below?

        P(y > k) = f_0 f_1 ... f_k,    p_j = P(y > j - 1) - P(y > j)    with f the sigmoids of the logits

    In logarithms nothing underflows.

    Source: Shi, Cao and Raschka, "Deep Neural Networks for Rank-Consistent Ordinal Regression Based On Conditional
    Probabilities" (CORN), 2021.

    >>> ops.exp(ConditionalLink()(ops.zeros((1, 2)))).numpy().tolist()
    [[0.5, 0.25, 0.25]]
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})

    def call(self, inputs: Any) -> Any:
        """Returns log-probabilities, `(batch, K)`."""
        rest = ops.log(1.0 + ops.exp(-ops.abs(inputs)))
        above, here = ops.minimum(inputs, 0.0) - rest, ops.minimum(-inputs, 0.0) - rest
        reached = ops.pad(ops.cumsum(above, axis=-1), [(0, 0), (1, 0)])
        return reached + ops.pad(here, [(0, 0), (0, 1)])

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """One more than there are logits."""
        return (*input_shape[:-1], (input_shape[-1] or 0) + 1)


@keras.saving.register_keras_serializable(package="kmtl")
class CumulativeLink(keras.layers.Layer):
    """Log-probabilities of K classes in an order, of one score: it passes thresholds that cannot change places.

        P(y > k) = sigmoid(c (s - t_k)),    t_0 < t_1 < ...,    p_j = P(y > j - 1) - P(y > j)

    The odds of being above k change by the same factor for every k where the score does: "proportional odds". The
    thresholds are the first one and positive steps, which are learned; they begin at equal classes. The factor c is 1
    until a temperature divides it.

    Args:
        classes: Number of classes K, at least 2.
        **kwargs: Keras layer options.

    Source: McCullagh, "Regression Models for Ordinal Data", Journal of the Royal Statistical Society B 42, 1980.

    >>> ops.exp(CumulativeLink(4)(ops.zeros((1, 1)))).numpy().astype("float64").round(3).tolist()
    [[0.25, 0.25, 0.25, 0.25]]
    """

    def __init__(self, classes: int, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.classes = whole("CumulativeLink", "classes", classes, 2)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes the first threshold, the steps to the others, and the factor, which no optimizer touches."""
        del input_shape
        below = np.arange(1, self.classes)
        thresholds = np.log(below / (self.classes - below))
        steps = np.log(np.expm1(np.diff(thresholds)))
        constant = keras.initializers.Constant
        self.first = self.add_weight(shape=(1,), initializer=constant(thresholds[0]), name="first")
        if len(steps):
            self.steps = self.add_weight(shape=(len(steps),), initializer=constant(steps.tolist()), name="steps")
        self.factor = self.add_weight(shape=(), initializer="ones", trainable=False, name="factor")

    def thresholds(self) -> Any:
        """Where a class ends and the next begins, `(K - 1,)`."""
        if self.classes == 2:
            return ops.convert_to_tensor(self.first)
        return ops.concatenate([self.first, self.first + ops.cumsum(ops.softplus(self.steps))])

    def call(self, inputs: Any) -> Any:
        """Returns log-probabilities, `(batch, K)`."""
        passed = self.factor * (inputs - self.thresholds())
        above, below = -ops.softplus(-passed), -ops.softplus(passed)
        reached, ended = ops.pad(above, [(0, 0), (1, 0)]), ops.pad(below, [(0, 0), (0, 1)])
        if self.classes == 2:
            return reached + ended
        # sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - exp(b - a)), and a - b is the step between thresholds.
        between = ops.log(ops.maximum(-ops.expm1(-self.factor * ops.softplus(self.steps)), _TINY))
        return reached + ended + ops.pad(between, [(1, 1)])

    def divide_logits(self, name: str, divisor: float) -> None:
        """Divides score and thresholds by a number.

        Args:
            name: Of the task; the layer has one.
            divisor: Above 0.
        """
        del name
        self.factor.assign(self.factor / divisor)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """A number a class."""
        return (*input_shape[:-1], self.classes)

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        return {**super().get_config(), "classes": self.classes}


def tempered_conditional(probabilities: Any, temperature: float) -> Any:
    """What `ConditionalLink` gives when its logits are divided by a temperature.

    Args:
        probabilities: Array `(rows, classes)`.
        temperature: Above 0.

    >>> tempered_conditional(np.array([[0.2, 0.4, 0.4]]), 1e9).round(3).tolist()
    [[0.5, 0.25, 0.25]]
    """
    p = np.maximum(np.asarray(probabilities, "float64"), _TINY)
    above = np.cumsum(p[:, ::-1], axis=-1)[:, ::-1][:, 1:]
    logits = (np.log(above) - np.log(p[:, :-1])) / temperature
    reached = np.cumsum(-np.logaddexp(0.0, -logits), axis=-1)
    logs = np.pad(reached, [(0, 0), (1, 0)]) + np.pad(-np.logaddexp(0.0, logits), [(0, 0), (0, 1)])
    return np.exp(logs)


def tempered_cumulative(probabilities: Any, temperature: float) -> Any:
    """What `CumulativeLink` gives when score and thresholds are divided by a temperature.

    Args:
        probabilities: Array `(rows, classes)`.
        temperature: Above 0.

    >>> tempered_cumulative(np.array([[0.2, 0.4, 0.4]]), 1e9).round(3).tolist()
    [[0.5, 0.0, 0.5]]
    """
    p = np.maximum(np.asarray(probabilities, "float64"), _TINY)
    above = np.cumsum(p[:, ::-1], axis=-1)[:, ::-1][:, 1:]
    passed = (np.log(above) - np.log(np.cumsum(p, axis=-1)[:, :-1])) / temperature
    tail = np.exp(-np.logaddexp(0.0, -passed))
    return -np.diff(np.pad(tail, [(0, 0), (1, 1)], constant_values=((0, 0), (1.0, 0.0))), axis=-1)
