"""Tasks whose label is a count."""

from collections.abc import Callable, Hashable, Mapping
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from kmtl._checks import Refusals, plain_text, refusal, require, words
from kmtl.tasks.base import Task
from kmtl.tasks.standardization import Unstandardize
from kmtl.tasks.statistics import Moments

# Above exp(20), half a thousand million times the mean, a rate goes on in a straight line: nothing overflows.
_STRAIGHT_FROM = 20.0
# A rate below this share of the mean is no less likely to be wrong: its logarithm would have no end.
_LEAST = 1e-7


@keras.saving.register_keras_serializable(package="kmtl")
class LogLink(Unstandardize):
    """Turns the logarithm of a relative rate into a rate: `rate = scale * exp(x)`, where scale is the mean label.

    At an input of 0 the rate is the mean of the training labels. Until they are learned the scale is 1.

    Args:
        learns: False to leave the scale at 1.
        **kwargs: Keras layer options.

    >>> layer = LogLink()
    >>> layer.build((None, 1))
    >>> layer.learn([0.0], [5.0])
    >>> layer(keras.ops.array([[0.0]])).numpy().tolist()
    [[5.0]]
    """

    def __init__(self, *, learns: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.learns = learns

    def call(self, inputs: Any) -> Any:
        """Applies exponential and scale."""
        rate = ops.exp(ops.minimum(inputs, _STRAIGHT_FROM)) * (1.0 + ops.relu(inputs - _STRAIGHT_FROM))
        return super().call(rate)

    def values_to_learn(self, statistics: Any) -> Any:
        """What `learn` takes of the statistics of the labels: 0, and their mean as the scale, `(2, units)`."""
        return np.stack([np.zeros_like(statistics.mean), statistics.mean])

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        return {**super().get_config(), "learns": self.learns}


@keras.saving.register_keras_serializable(package="kmtl")
def half_poisson_deviance(y_true: Any, y_pred: Any) -> Any:
    """Half the unit deviance of Poisson's distribution: `y log(y / r) - y + r`, at least 0, and 0 where r = y.

    It is the negative log-likelihood of a count y at a rate r less its least value, so that its gradient is that of
    `keras.losses.poisson`, and no balancer meets a loss below 0.

    Args:
        y_true: Counts of at least 0, `(batch, n)`.
        y_pred: Rates, `(batch, n)`.

    Returns:
        Their mean over the last axis, `(batch,)`.

    >>> half_poisson_deviance(ops.array([[0.0], [3.0]]), ops.array([[2.0], [3.0]])).numpy().round(5).tolist()
    [2.0, 0.0]
    """
    return ops.mean(_half_deviance(y_true, y_pred), axis=-1)


def _half_deviance(counts: Any, rates: Any) -> Any:
    """The same of each element."""
    seen = ops.maximum(counts, _LEAST)
    return ops.where(counts > 0, counts * (ops.log(seen) - ops.log(rates + _LEAST)), 0.0) - counts + rates


def poisson_deviance(counts: Any, rates: Any) -> Any:
    """Unit deviance of each element, `2 (y log(y / r) - y + r)`: 0 is perfect, less is better."""
    return 2.0 * _half_deviance(counts, rates)


class Counts(Moments):
    """Mean and spread of counts, and how many are below 0."""

    def __init__(self, task: Any) -> None:
        super().__init__(task)
        self.negative = 0

    def add(self, values: Any, present: Any) -> None:
        """Merges the batch's moments into the running ones."""
        super().add(values, present)
        self.negative += int((present & (values < 0)).sum())

    def refuse_values(self, refusals: Refusals, argument: str) -> None:
        """Records labels that are infinite or below 0."""
        super().refuse_values(refusals, argument)
        if self.negative:
            fix = "A count is 0 or more, NaN where missing; a difference of counts is a kmtl.Regression."
            refusals.add(argument, "must be at least 0", words(f"{self.negative} below it"), fix)

    def refuse_unlearnable(self, refusals: Refusals, argument: str) -> None:
        """Records labels that are 0 everywhere: their rate has no logarithm."""
        if not (self.mean > 0).all() and not self.negative:
            got = words(f"0 in all {self.labelled} of them")
            refusals.add(argument, "must be above 0 somewhere", got, "Drop the task, or give it `standardize=False`.")


@keras.saving.register_keras_serializable(package="kmtl")
class PoissonRegression(Task):
    """A count, as of events; the output is the count to be expected, in the label's unit.

    The label is a float of at least 0, NaN where missing; it need not be whole, as a rate or a mean of counts is not.
    The head gives the logarithm of the rate, relative to the mean of the training labels, which `adapt` learns and the
    model saves: it begins at that mean. Loss: half of Poisson's deviance, with both divided by that mean m, so that a
    task with large counts does not drown one with small ones:

        rate = m exp(x),    loss = (y log(y / rate) - y + rate) / m

    Its gradient is that of the negative log-likelihood, `keras.losses.poisson`, and it is never below 0. Metrics: mean
    absolute error, and the mean deviance `2 (y log(y / rate) - y + rate)` of the labels themselves.

    **Exposure.** Where counts were taken over unequal times, areas or populations, `PoissonRegression.rates(counts,
    exposure)` gives the labels and the sample weights that say so; the output is then the count to be expected of an
    exposure of 1.

    Args:
        name: Key of the task in outputs, labels, weights and logs.
        unit: Unit of the label, for reports.
        standardize: False to train in the label's own unit, from a rate of 1 on.
        **options: `loss`, `losses`, `metrics`, `hidden`, `dropout`, `l1`, `l2`, `where`: see `Task`.

    Source: McCullagh and Nelder, "Generalized Linear Models", 1989, chapter 6.

    >>> task = PoissonRegression("claims", unit="per year")
    >>> task.output_shape, task.metric_names(), task.direction("poisson_deviance")
    ((1,), ['mae', 'poisson_deviance'], 'min')
    """

    kind: ClassVar[str] = "poisson"
    meaning: ClassVar[str] = "the count to be expected"
    default_metrics: ClassVar[tuple[str, ...]] = ("mae", "poisson_deviance")
    mean_metrics: ClassVar[Mapping[str, Callable[[Any, Any], Any]]] = {
        **dict.fromkeys(("mae", "mean_absolute_error"), keras.metrics.mean_absolute_error),
        "poisson_deviance": poisson_deviance,
    }

    def __init__(self, name: str, *, unit: str = "", standardize: bool = True, **options: Any) -> None:
        super().__init__(name, **options)
        self.unit = plain_text(self.owner, "unit", unit)
        is_flag = isinstance(standardize, bool | np.bool_)
        require(is_flag, self.owner, "standardize", "must be True or False", standardize)
        self.standardize = bool(standardize)

    @staticmethod
    def rates(counts: Any, exposure: Any) -> tuple[Any, Any]:
        """Labels and sample weights of counts that were taken over unequal exposures.

        The loss of a rate `y / e` under the weight e is that of the count y at `e * rate`, up to what no weight of the
        model changes: what an offset of `log e` does in a generalized linear model.

        Args:
            counts: `(n,)`, NaN where missing.
            exposure: Time, area or population that each count was taken over, `(n,)`, above 0; 0 or NaN where the count
                is missing. In units of about its mean, so that the weights are about 1.

        Returns:
            `(labels, weights)`, float32, `(n,)` each: counts an exposure of 1, NaN where missing, and the exposure.

        Raises:
            ValueError: If shapes differ, or a count has no exposure.

        >>> labels, weights = PoissonRegression.rates([2, 1, np.nan], [0.5, 2.0, 1.0])
        >>> labels.tolist(), weights.tolist()
        ([4.0, 0.5, nan], [0.5, 2.0, 1.0])
        """
        owner = "PoissonRegression.rates"
        counted, given = (np.asarray(values, "float64") for values in (counts, exposure))
        require(counted.shape == given.shape, owner, "exposure", "must be one a count", given.shape)
        there = ~np.isnan(counted)
        bad = int((there & ~((given > 0) & (given < np.inf))).sum())
        if bad:
            fix = "A count that was never taken is missing: NaN."
            got = words(f"{bad} of {int(there.sum())} that are not")
            raise ValueError(refusal(owner, "exposure", "must be above 0 and finite", got, fix))
        safe = np.where(there, given, 1.0)
        return (counted / safe).astype("float32"), safe.astype("float32")

    @property
    def final_activation(self) -> str:
        """A rate is above 0."""
        return "exponential"

    @property
    def default_loss(self) -> Any:
        """Half of Poisson's deviance."""
        return half_poisson_deviance

    def possible(self, labels: Any) -> Any:
        """Tells which labels are missing or can be: finite, and at least 0."""
        # TensorFlow's graphs make "at least" of "not below", which NaN is not either.
        return super().possible(labels) & ((labels >= 0) | (labels != labels))

    def output(self, features: Any) -> Any:
        """Builds the layer of the rate's logarithm, and the way to the rate."""
        return self.fused_output(self.dense(f"{self.name}_log_rate")(features))

    @property
    def head_form(self) -> Hashable | None:
        """What two heads must share to be computed as one kernel."""
        form = self.dense_form(PoissonRegression)
        return form and (*form, PoissonRegression)

    def fused_output(self, output: Any) -> Any:
        """The way from the logarithm to the rate."""
        return LogLink(learns=self.standardize, name=self.name)(output)

    def statistics(self) -> Counts:
        """Makes what gathers the counts of a pass over the data."""
        return Counts(self)

    def band(self, outputs: Any) -> tuple[Any, Any, Any] | None:
        """The rate, and its root, by which Poisson's counts spread."""
        rate = np.asarray(outputs, "float64")
        return rate, rate, np.sqrt(rate)

    def constant_outputs(self, labels: Any) -> list[Any]:
        """The mean count."""
        values = np.asarray(labels, "float64")
        return [np.array([np.nanmean(values) if (~np.isnan(values)).any() else 0.0])]

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        return {**super().get_config(), "unit": self.unit, "standardize": self.standardize}
