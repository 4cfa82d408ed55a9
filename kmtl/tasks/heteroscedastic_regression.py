"""Tasks whose output is a mean and a deviation."""

import functools
import math
from collections.abc import Callable
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from kmtl._checks import is_number, plain_text, require, sizes
from kmtl.tasks.base import Task
from kmtl.tasks.normal_distribution import NormalLikelihood, half_width, normal_crps, normal_log_loss, within
from kmtl.tasks.reductions import mean_of_present
from kmtl.tasks.short_numbers import decimals, short_numbers
from kmtl.tasks.spread import Spread, smallest_covering, softplus_inverse

# Of the label's standard deviation: what a head is never surer than.
_LEAST = 1e-3
_START = softplus_inverse(1.0 - _LEAST)
# The shares of labels whose intervals are told; the first is what "coverage" counts and calibration makes true.
_SHARES = (0.9, 0.8, 0.5)


@keras.saving.register_keras_serializable(package="kmtl")
class MeanAndDeviation(Spread):
    """Turns two numbers an element into a mean and a deviation above 0, in the label's unit.

        mean = m + s x_1,    deviation = s (softplus(x_2 + b) + 0.001)

    with the labels' mean m and scale s; b makes the deviation of 0 the labels' own.

    Args:
        shape: `()` for a number, `(n,)` for a vector.
        learns: False to leave m and s at 0 and 1.
        **kwargs: Keras layer options.

    >>> MeanAndDeviation()(ops.zeros((1, 2))).numpy().round(4).tolist()
    [[0.0, 1.0]]
    """

    def __init__(self, shape: Any = (), *, learns: bool = True, **kwargs: Any) -> None:
        super().__init__(learns=learns, **kwargs)
        self.shape = sizes("MeanAndDeviation", "shape", shape)

    def elements(self, input_shape: tuple[int | None, ...]) -> int:
        """Half as many as there are inputs."""
        del input_shape
        return math.prod(self.shape)

    def call(self, inputs: Any) -> Any:
        """Returns means and deviations, `(batch, *shape, 2)`."""
        count = math.prod(self.shape)
        deviation = self.spread * (ops.softplus(inputs[:, count:] + _START) + _LEAST)
        outputs = ops.stack([super().call(inputs[:, :count]), deviation * self.scale], axis=-1)
        return outputs if self.shape else outputs[:, 0]

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Two numbers an element."""
        return (input_shape[0], *self.shape, 2)

    @property
    def of_outputs(self) -> tuple[Any, Any]:
        """What is taken from means and deviations, and what both are divided by then."""
        mean, scale = self.of_labels
        both = ops.stack([mean, ops.zeros_like(mean)], axis=-1), ops.stack([scale, scale], axis=-1)
        return both if self.shape else (both[0][0], both[1][0])

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        return {**super().get_config(), "shape": list(self.shape)}


@keras.saving.register_keras_serializable(package="kmtl")
class HeteroscedasticRegression(Task):
    """A number or a vector, and of each example how uncertain it is; the output is a mean and a standard deviation.

    The label is a float, NaN where missing; single elements of a vector may be missing. The output holds two numbers
    an element in the label's unit, `(..., 2)`. It begins at mean and deviation of the training labels, and is never
    surer than a thousandth of the latter. Loss: the negative log-likelihood of the standardised label under a normal
    distribution, see `NormalLikelihood`. It falls below 0 where a model is good; balancers that take its logarithm
    take it less the least that it can be.

    Metrics: `"mae"` of the mean, and `"crps"`, the continuous ranked probability score, both in the label's unit.
    `"nll"`, in nats and of the label's unit, and `"coverage"`, the share of labels in the interval that is to hold
    90 % of them, are there to be asked for. How often the promise holds on data that was not trained on,
    `kmtl.evidence.calibrate` tells and mends.

    Args:
        name: Key of the task in outputs, labels, weights and logs.
        shape: `()` for a number, `(n,)` for a vector.
        unit: Unit of the label, for reports.
        beta: In [0, 1]: how far labels that are told to be uncertain count all the same; 0 is the likelihood.
        standardize: False to train in the label's own unit.
        **options: `metrics`, `hidden`, `dropout`, `l1`, `l2`, `where`: see `Task`; its loss is the likelihood.

    >>> task = HeteroscedasticRegression("price", unit="EUR", beta=0.5)
    >>> task.output_shape, task.read_keys(), task.metric_names()
    ((2,), ['price', 'price_deviation'], ['mae', 'crps'])
    >>> task.describe(10.0, np.array([12.0, 3.5]))
    'price 10.0 → 12.0 ± 3.5 EUR'
    """

    kind: ClassVar[str] = "heteroscedastic"
    meaning: ClassVar[str] = "mean and standard deviation of the label"
    default_metrics: ClassVar[tuple[str, ...]] = ("mae", "crps")
    mean_metrics = dict.fromkeys(("mae", "mean_absolute_error"), keras.metrics.mean_absolute_error)
    keeps_loss: ClassVar[bool] = True
    own_output_layer: ClassVar[bool] = True

    def __init__(
        self,
        name: str,
        *,
        shape: int | tuple[int, ...] = (),
        unit: str = "",
        beta: float = 0.0,
        standardize: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(name, **options)
        self.shape = sizes(self.owner, "shape", shape)
        require(len(self.shape) <= 1, self.owner, "shape", "must be () or (n,)", shape, "Flatten the label.")
        self.unit = plain_text(self.owner, "unit", unit)
        in_range = is_number(beta) and 0 <= beta <= 1
        require(in_range, self.owner, "beta", "must be a number in [0, 1]", beta, "0.5 is what its authors take.")
        self.beta = float(beta)
        is_flag = isinstance(standardize, bool | np.bool_)
        require(is_flag, self.owner, "standardize", "must be True or False", standardize)
        self.standardize = bool(standardize)

    @property
    def label_shape(self) -> tuple[int | None, ...]:
        """Shape of one label; `()` is a scalar."""
        return self.shape

    @property
    def loss_shape(self) -> tuple[int | None, ...]:
        """The loss takes a number for each two of the output."""
        return self.shape

    @property
    def units(self) -> int:
        """Size of the output's last axis: mean and deviation."""
        return 2

    @property
    def output_shape(self) -> tuple[int | None, ...]:
        """Two numbers an element of the label."""
        return (*self.shape, 2)

    @property
    def default_loss(self) -> Any:
        """The likelihood."""
        return NormalLikelihood(self.beta)

    @property
    def lowest_loss(self) -> float:
        """The loss of a label that is its mean, at the deviation where that is least."""
        least = math.log(_LEAST)
        if self.beta:
            least = max(least, -0.5 * math.log(2.0 * math.pi) - 0.5 / self.beta)
        return math.exp(2.0 * self.beta * least) * (least + 0.5 * math.log(2.0 * math.pi))

    def label_losses(self, loss: Any, labels: Any, predictions: Any, present: Any) -> tuple[Any, Any]:
        """One loss an example: the mean over the elements that are there."""
        values = ops.cast(loss.call(labels, predictions), "float32")
        return mean_of_present(values, present) if self.shape else (values, present)

    def stand_in(self, labels: Any, predictions: Any) -> Any:
        """The mean, where a label is missing."""
        del labels
        return ops.stop_gradient(predictions[..., 0])

    def dense(self, name: str) -> Any:
        """Makes the layer of two numbers an element."""
        return keras.layers.Dense(
            2 * math.prod(self.shape), kernel_regularizer=self.regularizer(), dtype="float32", name=name
        )

    def output(self, features: Any) -> Any:
        """Builds the layer of two numbers an element, and the way to mean and deviation."""
        numbers = self.dense(f"{self.name}_numbers")(features)
        return MeanAndDeviation(self.shape, learns=self.standardize, name=self.name)(numbers)

    def metric_outputs(self, outputs: Any) -> Any:
        """The means, `(batch, elements)`."""
        return outputs[..., 0] if self.shape else outputs[..., :1]

    def metric_of_outputs(self, name: str) -> Callable[[Any, Any], Any] | None:
        """Scores of mean and deviation together, and the share of labels in the interval of 90 %."""
        if name == "coverage":
            return functools.partial(within, half_width(_SHARES[0]))
        found = {"crps": normal_crps, "nll": normal_log_loss}
        return found.get(name) or super().metric_of_outputs(name)

    def read(self, outputs: Any) -> dict[str, Any]:
        """The mean under `""`, and `"deviation"`, shaped as the labels."""
        return {"": outputs[..., 0], "deviation": outputs[..., 1]}

    def describe(self, label: Any, output: Any) -> str:
        """One line: `price 10.0 → 12.0 ± 3.5 EUR`."""
        means, deviations = np.moveaxis(np.asarray(output).reshape(-1, 2), -1, 0)
        digits = decimals(label, means, deviations)
        told = [
            f"{short_numbers(mean, digits)} ± {short_numbers(deviation, digits)}"
            for mean, deviation in zip(means, deviations, strict=True)
        ]
        return f"{self.name} {short_numbers(label, digits)} → {', '.join(told)} {self.unit}".rstrip()

    def constant_outputs(self, labels: Any) -> list[Any]:
        """Mean and standard deviation of each element."""
        values = np.asarray(labels, "float64").reshape(len(labels), -1)
        columns = [column[~np.isnan(column)] for column in values.T]
        found = np.array([[one.mean(), one.std()] if one.size else [0.0, 1.0] for one in columns])
        return [found.reshape(self.output_shape)]

    def band(self, outputs: Any) -> tuple[Any, Any, Any] | None:
        """The mean, and the deviation, in which a miss is counted."""
        values = np.asarray(outputs, "float64").reshape(len(outputs), -1, 2)
        return values[..., 0], values[..., 0], values[..., 1]

    def intervals(self, outputs: Any) -> dict[float, tuple[Any, Any]]:
        """The middle of the normal distribution that holds 90, 80 and 50 % of it."""
        values = np.asarray(outputs, "float64").reshape(len(outputs), -1, 2)
        mean, deviation = values[..., 0], values[..., 1]
        widths = {share: half_width(share) * deviation for share in _SHARES}
        return {share: (mean - width, mean + width) for share, width in widths.items()}

    def spread_factor(self, labels: Any, outputs: Any) -> float | None:
        """What makes the interval of 90 % hold as many labels.

        Each label asks for the factor of its deviation that reaches it; the one at 90 % of them, counted as conformal
        prediction does, is taken. Where errors are normal that is the likeliest factor, the root of the mean of `z^2`,
        too; where a few are large, it is not ruled by them.

        Source: Lei et al., "Distribution-Free Predictive Inference for Regression", JASA 113, 2018: locally weighted.
        """
        values = np.asarray(outputs, "float64")
        gaps = (np.asarray(labels, "float64").reshape(values.shape[:-1]) - values[..., 0]) / values[..., 1]
        asked = np.abs(gaps[~np.isnan(gaps)]) / half_width(_SHARES[0])
        return smallest_covering(asked, _SHARES[0])

    def with_spread(self, outputs: Any, factor: float) -> Any:
        """Outputs of the same means and so many times the deviations."""
        return np.asarray(outputs, "float64") * np.array([1.0, factor])

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        own = {"shape": list(self.shape), "unit": self.unit, "beta": self.beta, "standardize": self.standardize}
        return {**super().get_config(), **own}
