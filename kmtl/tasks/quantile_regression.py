"""Tasks whose output is several quantiles of a label."""

import functools
from collections.abc import Callable, Sequence
from itertools import pairwise
from statistics import NormalDist
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from kmtl._checks import is_number, plain_text, require
from kmtl.tasks.base import Task
from kmtl.tasks.short_numbers import decimals, short_numbers
from kmtl.tasks.spread import Spread, smallest_covering, softplus_inverse


def checked_quantiles(owner: str, quantiles: Any) -> tuple[float, ...]:
    """Returns quantiles as floats, or refuses those outside of (0, 1), out of order, or twice."""
    listed = tuple(quantiles) if isinstance(quantiles, Sequence | np.ndarray) and not isinstance(quantiles, str) else ()
    good = bool(listed) and all(is_number(one) and 0 < one < 1 for one in listed)
    good = good and all(low < high for low, high in pairwise(listed))
    fix = "For example (0.05, 0.5, 0.95)."
    require(good, owner, "quantiles", "must be numbers in (0, 1), each above the one before", quantiles, fix)
    return tuple(map(float, listed))


def centre_of(quantiles: Sequence[float]) -> int:
    """The place of the quantile nearest the median."""
    return int(np.argmin(np.abs(np.asarray(quantiles) - 0.5)))


@keras.saving.register_keras_serializable(package="kmtl")
class OrderedQuantiles(Spread):
    """Turns Q numbers into Q quantiles that cannot cross, in the label's unit.

        q_c = x_c,    q_j+1 = q_j + softplus(x_j+1 + b_j) from the one nearest the median on,    and so downwards
        output = mean + scale * q

    The constants b make the quantiles of zeros those of a normal distribution. Steps are added up one by one, so that
    rounding cannot cross them either.

    Args:
        quantiles: In (0, 1), each above the one before.
        learns: False to leave mean and scale at 0 and 1.
        **kwargs: Keras layer options.

    >>> OrderedQuantiles((0.25, 0.5, 0.75))(ops.zeros((1, 3))).numpy().astype("float64").round(3).tolist()
    [[-0.674, 0.0, 0.674]]
    """

    def __init__(self, quantiles: Sequence[float], *, learns: bool = True, **kwargs: Any) -> None:
        super().__init__(learns=learns, **kwargs)
        self.quantiles = checked_quantiles("OrderedQuantiles", quantiles)
        self.centre = centre_of(self.quantiles)

    def elements(self, input_shape: tuple[int | None, ...]) -> int:
        """One: the quantiles are of one label."""
        del input_shape
        return 1

    def call(self, inputs: Any) -> Any:
        """Returns the quantiles, `(batch, Q)`."""
        normal = [NormalDist().inv_cdf(one) for one in self.quantiles]
        middle = inputs[:, self.centre : self.centre + 1] + normal[self.centre]
        start = np.array([softplus_inverse(step) for step in np.diff(normal)], "float32")
        parts = [middle]
        # Nothing is cut to a width of 0: LiteRT takes such a slice for all of it.
        if self.centre > 0:
            down = self.spread * ops.softplus(inputs[:, : self.centre] + start[: self.centre])
            parts = [middle - ops.flip(ops.cumsum(ops.flip(down, axis=-1), axis=-1), axis=-1), *parts]
        if self.centre < len(normal) - 1:
            up = self.spread * ops.softplus(inputs[:, self.centre + 1 :] + start[self.centre :])
            parts = [*parts, middle + ops.cumsum(up, axis=-1)]
        return super().call(ops.concatenate(parts, axis=-1) if len(parts) > 1 else middle)

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        return {**super().get_config(), "quantiles": list(self.quantiles)}


def pinball(quantiles: Sequence[float], labels: Any, outputs: Any) -> Any:
    """What quantiles are wrong by: the mean over them of `max(t (y - q), (t - 1) (y - q))`, one a label.

    Args:
        quantiles: t, `(Q,)`.
        labels: `(..., 1)`.
        outputs: q, `(..., Q)`.

    >>> round(float(pinball((0.1, 0.9), ops.array([[3.0]]), ops.array([[2.0, 4.0]]))[0]), 4)
    0.1
    """
    levels = np.asarray(quantiles, "float32")
    gap = labels - outputs
    return ops.mean(ops.maximum(levels * gap, (levels - 1.0) * gap), axis=-1)


def inside(labels: Any, outputs: Any) -> Any:
    """1 where a label lies between the outermost quantiles, else 0."""
    return ops.cast((outputs[..., 0] <= labels[..., 0]) & (labels[..., 0] <= outputs[..., -1]), "float32")


@keras.saving.register_keras_serializable(package="kmtl")
class PinballLoss(keras.losses.Loss):
    """The loss whose expectation each quantile minimises, the mean over the quantiles.

        mean_t max(t (y - q_t), (t - 1) (y - q_t))

    Args:
        quantiles: In (0, 1), each above the one before.
        name: Of the loss.
        **kwargs: As for `keras.losses.Loss`.

    Source: Koenker and Bassett, "Regression Quantiles", Econometrica 46, 1978.
    """

    def __init__(self, quantiles: Sequence[float], name: str = "pinball_loss", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.quantiles = checked_quantiles("PinballLoss", quantiles)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Returns one loss an example, `(batch,)`, of labels `(batch, 1)` and quantiles `(batch, Q)`."""
        return pinball(self.quantiles, y_true, y_pred)

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        return {**super().get_config(), "quantiles": list(self.quantiles)}


@keras.saving.register_keras_serializable(package="kmtl")
class QuantileRegression(Task):
    """A number and how uncertain it is; the output is Q quantiles of it in its unit, in order.

    The label is a float, NaN where missing. Of the quantile t the label lies below with the probability t: between
    those of 0.05 and 0.95 it lies nine times out of ten, whatever its distribution. They cannot cross, whatever the
    weights are: the one nearest the median is a number of its own, and each further one a positive step away. The head
    learns the standardised label, as `Regression` does. Loss: the pinball loss, the mean over the quantiles.

    Metrics: `"pinball"`, the same in the label's unit (half of it approximates the continuous ranked probability
    score), and `"mae"` of the quantile nearest the median. `"coverage"`, the share of labels between the outermost
    quantiles, is there to be asked for: no end of it is the better one. How often the promise holds on data that was
    not trained on, `kmtl.evidence.calibrate` tells and mends.

    Args:
        name: Key of the task in outputs, labels, weights and logs.
        quantiles: In (0, 1), each above the one before.
        unit: Unit of the label, for reports.
        standardize: False to train in the label's own unit.
        **options: `metrics`, `hidden`, `dropout`, `l1`, `l2`, `where`: see `Task`; its loss is the pinball loss.

    Source: Koenker and Bassett, "Regression Quantiles", Econometrica 46, 1978.

    >>> task = QuantileRegression("price", quantiles=(0.05, 0.5, 0.95), unit="EUR")
    >>> task.output_shape, task.read_keys(), task.metric_names()
    ((3,), ['price', 'price_q05', 'price_q50', 'price_q95'], ['pinball', 'mae'])
    >>> task.describe(10.0, np.array([8.0, 12.0, 15.0]))
    'price 10.0 → 12.0 (8.0 to 15.0) EUR'
    """

    kind: ClassVar[str] = "quantiles"
    meaning: ClassVar[str] = "quantiles of the label, in order"
    default_metrics: ClassVar[tuple[str, ...]] = ("pinball", "mae")
    mean_metrics = dict.fromkeys(("mae", "mean_absolute_error"), keras.metrics.mean_absolute_error)
    keeps_loss: ClassVar[bool] = True
    own_output_layer: ClassVar[bool] = True

    def __init__(
        self,
        name: str,
        quantiles: Sequence[float] = (0.05, 0.5, 0.95),
        *,
        unit: str = "",
        standardize: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(name, **options)
        self.quantiles = checked_quantiles(self.owner, quantiles)
        self.centre = centre_of(self.quantiles)
        self.unit = plain_text(self.owner, "unit", unit)
        is_flag = isinstance(standardize, bool | np.bool_)
        require(is_flag, self.owner, "standardize", "must be True or False", standardize)
        self.standardize = bool(standardize)

    @property
    def units(self) -> int:
        """Width of the output: one number a quantile."""
        return len(self.quantiles)

    @property
    def default_loss(self) -> Any:
        """The pinball loss."""
        return PinballLoss(self.quantiles)

    def stand_in(self, labels: Any, predictions: Any) -> Any:
        """The quantile nearest the median, where a label is missing."""
        del labels
        return ops.stop_gradient(self.metric_outputs(predictions))

    def output(self, features: Any) -> Any:
        """Builds the layer of Q numbers, and the way to quantiles."""
        numbers = self.dense(f"{self.name}_numbers")(features)
        return OrderedQuantiles(self.quantiles, learns=self.standardize, name=self.name)(numbers)

    def metric_outputs(self, outputs: Any) -> Any:
        """The quantile nearest the median, `(batch, 1)`."""
        return outputs[..., self.centre : self.centre + 1]

    def metric_of_outputs(self, name: str) -> Callable[[Any, Any], Any] | None:
        """The pinball loss in the label's unit, and the share of labels between the outermost quantiles."""
        if name == "pinball":
            return functools.partial(pinball, self.quantiles)
        return inside if name == "coverage" else super().metric_of_outputs(name)

    def read(self, outputs: Any) -> dict[str, Any]:
        """The quantile nearest the median under `""`, and each by its name, `"q05"`: `(batch,)` each."""
        named = {quantile_name(one): outputs[..., place] for place, one in enumerate(self.quantiles)}
        return {"": outputs[..., self.centre], **named}

    def describe(self, label: Any, output: Any) -> str:
        """One line: `price 10.0 → 12.0 (8.0 to 15.0) EUR`."""
        values = np.ravel(output)
        digits = decimals(label, values)
        low, best, high = (short_numbers(values[place], digits) for place in (0, self.centre, -1))
        told = f"{self.name} {short_numbers(label, digits)} → {best}"
        return f"{told}{f' ({low} to {high})' if self.units > 1 else ''} {self.unit}".rstrip()

    def constant_outputs(self, labels: Any) -> list[Any]:
        """The quantiles of the labels."""
        values = np.asarray(labels, "float64").ravel()
        known = values[~np.isnan(values)]
        return [np.quantile(known if known.size else np.zeros(1), self.quantiles, method="inverted_cdf")]

    def band(self, outputs: Any) -> tuple[Any, Any, Any] | None:
        """The outermost quantiles; what a label misses them by counts in its unit."""
        values = np.asarray(outputs, "float64")
        return values[:, :1], values[:, -1:], np.ones((len(values), 1))

    def intervals(self, outputs: Any) -> dict[float, tuple[Any, Any]]:
        """What lies between the outermost quantiles, between those next to them, and so on."""
        levels, values = self.quantiles, np.asarray(outputs, "float64")
        pairs = [(place, self.units - 1 - place) for place in range(self.units // 2)]
        return {
            round(levels[high] - levels[low], 9): (values[:, low : low + 1], values[:, high : high + 1])
            for low, high in pairs
        }

    def spread_factor(self, labels: Any, outputs: Any) -> float | None:
        """What makes the interval between the outermost quantiles hold as many labels as it is to.

        Each label asks for a factor on the distances from the quantile nearest the median; the one at the interval's
        share of them, counted as conformal prediction does, is taken.

        Source: Romano, Patterson and Candès, "Conformalized Quantile Regression", NeurIPS 2019, in the scaled form of
        Kivaranovic, Johnson and Leeb, "Adaptive, Distribution-Free Prediction Intervals for Deep Networks", 2020.
        """
        if self.units == 1:
            return None
        there = np.asarray(self.present(np.asarray(labels))).reshape(-1)
        truth = np.asarray(labels, "float64").reshape(-1, 1)[there]
        values = np.asarray(outputs, "float64")[there]
        middle = values[:, self.centre : self.centre + 1]
        miss, width = np.abs(truth - middle), np.where(truth < middle, middle - values[:, :1], values[:, -1:] - middle)
        with np.errstate(divide="ignore", invalid="ignore"):
            asked = np.where(miss == 0, 0.0, miss / width)
        return float(smallest_covering(asked, self.quantiles[-1] - self.quantiles[0]))

    def with_spread(self, outputs: Any, factor: float) -> Any:
        """Quantiles so many times as far from the one nearest the median."""
        values = np.asarray(outputs, "float64")
        middle = values[:, self.centre : self.centre + 1]
        return middle + factor * (values - middle)

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        own = {"quantiles": list(self.quantiles), "unit": self.unit, "standardize": self.standardize}
        return {**super().get_config(), **own}


def quantile_name(quantile: float) -> str:
    """The name of a quantile.

    >>> quantile_name(0.05), quantile_name(0.5), quantile_name(0.975)
    ('q05', 'q50', 'q97_5')
    """
    whole, _, rest = f"{round(100 * quantile, 6):.6f}".partition(".")
    return f"q{whole.zfill(2)}{'_' + rest.rstrip('0') if rest.rstrip('0') else ''}"
