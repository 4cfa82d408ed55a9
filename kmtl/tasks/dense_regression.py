"""One number a pixel."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import keras
import numpy as np

from kmtl._checks import is_number, plain_text, require
from kmtl.tasks.base import Task
from kmtl.tasks.pixel_head import PixelHead
from kmtl.tasks.regression import Regression
from kmtl.tasks.relative_errors import AbsoluteRelativeError, ShareWithinFactor
from kmtl.tasks.short_numbers import decimals, short_numbers
from kmtl.tasks.standardization import Unstandardize

# Names of metrics whose better end no word of theirs tells.
_BETTER_ENDS = {"abs_rel": "min", "delta_1": "max", "delta_2": "max", "delta_3": "max"}


@keras.saving.register_keras_serializable(package="kmtl")
class DenseRegression(PixelHead, Task):
    """A number for every pixel, as a depth or a height; the output is in the label's own unit.

    The label is an image of floats, NaN where a pixel has none. The head is that of `Segmentation`, of one channel,
    and learns the standardised target as `Regression` does, with one mean and one scale for all pixels. The loss is
    the mean over the labelled pixels of the global batch:

        loss = mean_i f((y_i - mean) / scale, (p_i - mean) / scale)

    Metrics: the mean absolute error and the root of the mean squared error, in the label's unit; the mean of
    `|p - y| / y`, and the share of pixels with `max(p / y, y / p) < 1.25`, both over the pixels with a label above 0,
    and NaN where there is none.

    Args:
        name: Key of the task in outputs, labels, weights and logs.
        unit: Unit of the label, for reports.
        shape: Height and width of the label; None where they vary, and then `upsampling` counts.
        upsampling: How many times the label is larger than the (finest) map; unused with `shape`.
        decoder: Channels of each stage of the decoder, `"auto"`, or None or 0: see `Segmentation`.
        merge: `"sum"` or `"concatenation"`: see `Segmentation`.
        ignore: Another label value of pixels that have none, as the 0 of many depth cameras.
        loss: `"mse"`, `"mae"`, `"huber"` or any Keras loss; `"mse"` if left out.
        standardize: False to train in the label's own unit.
        **options: `losses`, `metrics` (also `"delta_2"` and `"delta_3"`, for 1.25 to the power of 2 and 3), `hidden`
            (channels of 1x1 convolutions), `dropout`, `l1`, `l2`: see `Task`.

    Source: Eigen, Puhrsch and Fergus, "Depth Map Prediction from a Single Image using a Multi-Scale Deep Network",
    NeurIPS 2014, for the metrics. Its scale-invariant loss is none of the losses here: it is taken of logarithms, where
    a standardised label has none.

    >>> task = DenseRegression("depth", unit="m", shape=(32, 32))
    >>> task.label_shape, task.output_shape, task.features, task.metric_names()
    ((32, 32), (32, 32, 1), 'map', ['mae', 'abs_rel', 'rmse', 'delta_1'])
    """

    kind: ClassVar[str] = "dense_regression"
    meaning: ClassVar[str] = "a value for each pixel"
    features: ClassVar[str] = "map"
    default_metrics: ClassVar[tuple[str, ...]] = ("mae", "abs_rel", "rmse", "delta_1")
    elementwise_losses: ClassVar[frozenset[str]] = Regression.elementwise_losses
    mean_metrics: ClassVar[Mapping[str, Callable[[Any, Any], Any]]] = Regression.mean_metrics
    uncertainty_factor: ClassVar[float] = Regression.uncertainty_factor

    def __init__(
        self,
        name: str,
        *,
        unit: str = "",
        shape: Sequence[int] | None = None,
        upsampling: int = 1,
        decoder: int | str | None = "auto",
        merge: str = "sum",
        ignore: float | None = None,
        loss: Any = None,
        standardize: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(name, loss=loss, **options)
        self.unit = plain_text(self.owner, "unit", unit)
        self.take_head_options(shape, upsampling, decoder, merge)
        require(ignore is None or is_number(ignore), self.owner, "ignore", "must be a finite number", ignore)
        self.ignore = ignore
        is_flag = isinstance(standardize, bool | np.bool_)
        require(is_flag, self.owner, "standardize", "must be True or False", standardize)
        self.standardize = bool(standardize)

    @property
    def loss_shape(self) -> tuple[int | None, ...]:
        """The loss takes a label and an output of one channel."""
        return (*self.label_shape, 1)

    @property
    def default_loss(self) -> str:
        """Mean squared error."""
        return "mean_squared_error"

    def present(self, labels: Any) -> Any:
        """Tells which pixels have a label."""
        there = super().present(labels)
        return there if self.ignore is None else there & (labels != self.ignore)

    def output(self, features: Any) -> Any:
        """Builds the values, enlarges them, and gives them the label's unit, if wanted."""
        part = "standardized" if self.standardize else "values"
        values = self.in_label_size(self.pointwise(1, f"{self.name}_{part}", dtype="float32")(features))
        if self.standardize:
            return Unstandardize(name=self.name)(values)
        return keras.layers.Activation("linear", dtype="float32", name=self.name)(values)

    def own_metric(self, name: str) -> Any:
        """The errors in shares of the label, and the root of the mean squared one."""
        if name == "rmse":
            return keras.metrics.RootMeanSquaredError(name=name)
        if name == "abs_rel":
            return AbsoluteRelativeError()
        if name in _BETTER_ENDS:
            return ShareWithinFactor(int(name.removeprefix("delta_")))
        return super().own_metric(name)

    def direction(self, name: str) -> str:
        """Tells whether more of a metric is better; see `Task.direction`."""
        metric = name.removeprefix("val_").removeprefix(f"{self.name}_").removeprefix("weighted_")
        return _BETTER_ENDS.get(metric) or super().direction(name)

    def describe(self, label: Any, output: Any) -> str:
        """The mean absolute error over the labelled pixels: `depth mae 0.12 m`."""
        truth = None if label is None else np.asarray(label, dtype="float64")
        here = None if truth is None else np.asarray(self.present(truth))
        if truth is None or here is None or not here.any():
            return f"{self.name} ?"
        error = np.abs(np.asarray(output)[..., 0] - truth)[here].mean()
        return f"{self.name} mae {short_numbers(error, decimals(error))} {self.unit}".rstrip()

    def draw(self, axis: Any, label: Any, output: Any) -> None:
        """Draws label and output as heat maps beside the picture, the label above, on one scale."""
        maps = [np.asarray(output, dtype="float64")[..., 0]]
        if label is not None:
            truth = np.asarray(label, dtype="float64")
            maps.insert(0, np.where(self.present(truth), truth, np.nan))
        known = np.concatenate([one[np.isfinite(one)] for one in maps])
        ends = (known.min(), known.max()) if known.size else (0.0, 1.0)
        # Further tasks' maps come further right.
        left = 1.05 + 0.5 * sum(one.get_label() == "scale" for one in axis.child_axes)
        for place, one in enumerate(maps):
            beside = axis.inset_axes((left, 0.1 + 0.46 * (len(maps) - 1 - place), 0.44, 0.44))
            image = beside.imshow(one, cmap="viridis", interpolation="nearest", vmin=ends[0], vmax=ends[1])
            beside.set_xticks([])
            beside.set_yticks([])
        bar = axis.inset_axes((left, 0.02, 0.44, 0.05), label="scale")
        axis.figure.colorbar(image, cax=bar, orientation="horizontal", ticks=ends)
        digits = decimals(ends)
        bar.set_xticklabels([short_numbers(ends[0], digits), f"{short_numbers(ends[1], digits)} {self.unit}".rstrip()])
        bar.tick_params(labelsize=6)
        for text, side in zip(bar.get_xticklabels(), ("left", "right"), strict=True):
            text.set_horizontalalignment(side)

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        own = {"unit": self.unit, **self.head_options(), "ignore": self.ignore, "standardize": self.standardize}
        return {**super().get_config(), **own}
