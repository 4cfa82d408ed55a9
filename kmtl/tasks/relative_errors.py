"""Metrics of a quantity that is positive, as a depth: how far an output is off, in shares of the label."""

from typing import Any

import keras
from keras import ops


class MeanOverPositive(keras.metrics.Mean):
    """A mean over the labels above 0; a share of the others is of no meaning. NaN where there is none."""

    def of(self, labels: Any, outputs: Any) -> Any:
        """The value of each label, of which this is the mean.

        Args:
            labels: `(labels,)`, above 0.
            outputs: `(labels,)`.
        """
        raise NotImplementedError

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds labels and outputs of one shape, and a weight for each."""
        labels, outputs = (ops.reshape(ops.cast(one, "float32"), (-1,)) for one in (y_true, y_pred))
        counts = ops.cast(labels > 0, "float32")
        if sample_weight is not None:
            counts = counts * ops.reshape(ops.cast(sample_weight, "float32"), (-1,))
        super().update_state(self.of(ops.where(labels > 0, labels, 1.0), outputs), sample_weight=counts)

    def result(self) -> Any:
        """The mean."""
        return ops.where(self.count > 0, super().result(), float("nan"))


@keras.saving.register_keras_serializable(package="kmtl")
class AbsoluteRelativeError(MeanOverPositive):
    """Mean of `|p - y| / y` over the labels `y` above 0, at least 0.

    Source: Eigen, Puhrsch and Fergus, "Depth Map Prediction from a Single Image using a Multi-Scale Deep Network",
    NeurIPS 2014.

    >>> metric = AbsoluteRelativeError()
    >>> metric.update_state([2.0, 4.0, 0.0], [3.0, 4.0, 9.0])
    >>> float(metric.result())
    0.25
    """

    def __init__(self, name: str = "abs_rel", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)

    def of(self, labels: Any, outputs: Any) -> Any:
        """How far each output is off, in shares of its label."""
        return ops.abs(outputs - labels) / labels


@keras.saving.register_keras_serializable(package="kmtl")
class ShareWithinFactor(MeanOverPositive):
    """Share of the labels `y` above 0 with `max(p / y, y / p) < 1.25 ** power`, from 0 to 1.

    Args:
        power: 1, 2 or 3, as it is usual of depths.
        name: In the logs; `delta_1` for the power 1.
        **kwargs: As for `keras.metrics.Mean`.

    Source: Ladicky, Shi and Pollefeys, "Pulling Things out of Perspective", CVPR 2014.

    >>> metric = ShareWithinFactor()
    >>> metric.update_state([2.0, 2.0, 2.0, -1.0], [2.4, 1.5, -2.0, -1.0])
    >>> round(float(metric.result()), 4)
    0.3333
    """

    def __init__(self, power: int = 1, name: str | None = None, **kwargs: Any) -> None:
        super().__init__(name=name or f"delta_{power}", **kwargs)
        self.power = power

    def of(self, labels: Any, outputs: Any) -> Any:
        """1 for an output that is near enough."""
        factor = 1.25**self.power
        return ops.cast((outputs < factor * labels) & (factor * outputs > labels), "float32")

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        return {**super().get_config(), "power": self.power}
