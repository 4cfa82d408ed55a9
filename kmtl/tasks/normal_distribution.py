"""The normal distribution as an output: its likelihood, its scores, its intervals."""

import math
from statistics import NormalDist
from typing import Any

import keras
from keras import ops

from kmtl._checks import is_number, require


def normal_log_loss(labels: Any, outputs: Any) -> Any:
    """Negative log-likelihood of labels `(...)` under normal distributions `(..., 2)`, in nats.

        log d + z^2 / 2 + log(2 pi) / 2    with    z = (y - m) / d

    >>> round(float(normal_log_loss(ops.array(1.0), ops.array([1.0, 1.0]))), 4)
    0.9189
    """
    mean, deviation = outputs[..., 0], outputs[..., 1]
    return ops.log(deviation) + 0.5 * ops.square((labels - mean) / deviation) + 0.5 * math.log(2.0 * math.pi)


def normal_crps(labels: Any, outputs: Any) -> Any:
    """Continuous ranked probability score of labels `(...)` under normal distributions `(..., 2)`, in their unit.

        d (z (2 Phi(z) - 1) + 2 phi(z) - 1 / sqrt(pi))    with    z = (y - m) / d

    It is the mean over all thresholds of a squared error of probabilities; of a deviation of 0 it is the absolute
    error.

    Source: Gneiting and Raftery, "Strictly Proper Scoring Rules, Prediction, and Estimation", JASA 102, 2007.

    >>> round(float(normal_crps(ops.array(1.0), ops.array([1.0, 1.0]))), 4)
    0.2337
    """
    mean, deviation = outputs[..., 0], outputs[..., 1]
    gap = (labels - mean) / deviation
    density = ops.exp(-0.5 * ops.square(gap)) / math.sqrt(2.0 * math.pi)
    return deviation * (gap * ops.erf(gap / math.sqrt(2.0)) + 2.0 * density - 1.0 / math.sqrt(math.pi))


def within(half_width: float, labels: Any, outputs: Any) -> Any:
    """1 where a label is so many deviations or fewer from its mean, else 0."""
    return ops.cast(ops.abs(labels - outputs[..., 0]) <= half_width * outputs[..., 1], "float32")


@keras.saving.register_keras_serializable(package="kmtl")
class NormalLikelihood(keras.losses.Loss):
    """Negative log-likelihood under a normal distribution, weighed by a power of the variance it tells.

        d^(2 beta) (log d + (y - m)^2 / (2 d^2) + log(2 pi) / 2),    no gradient through the first factor

    With beta = 0 it is the likelihood, under which a label that is told to be uncertain hardly moves the mean, so that
    what was never learned stays uncertain; with beta = 1 the mean learns as by a squared error.

    Args:
        beta: In [0, 1].
        name: Of the loss.
        **kwargs: As for `keras.losses.Loss`.

    Source: Nix and Weigend, "Estimating the Mean and Variance of the Target Probability Distribution", ICNN 1994;
    beta: Seitzer, Tavakoli, Antic and Martius, "On the Pitfalls of Heteroscedastic Uncertainty Estimation with
    Probabilistic Neural Networks", ICLR 2022, who take 0.5.
    """

    def __init__(self, beta: float = 0.0, name: str = "normal_likelihood", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        good = is_number(beta) and 0 <= beta <= 1
        require(good, "NormalLikelihood", "beta", "must be a number in [0, 1]", beta)
        self.beta = float(beta)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Returns one loss an element, of labels `(batch, ...)` and outputs `(batch, ..., 2)`."""
        values = normal_log_loss(y_true, y_pred)
        if not self.beta:
            return values
        return ops.stop_gradient(ops.power(y_pred[..., 1], 2.0 * self.beta)) * values

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        return {**super().get_config(), "beta": self.beta}


def half_width(share: float) -> float:
    """How many deviations to each side of the mean a share of a normal distribution lies within.

    >>> round(half_width(0.9), 3)
    1.645
    """
    return NormalDist().inv_cdf(0.5 + share / 2)
