"""Tasks with float labels."""

from collections.abc import Callable, Hashable, Mapping
from typing import Any, ClassVar

import keras
import numpy as np

from kmtl._checks import plain_text, require, sizes
from kmtl.tasks.base import Task
from kmtl.tasks.standardization import Unstandardize


@keras.saving.register_keras_serializable(package="kmtl")
class Regression(Task):
    """A number or a vector of them; the output is in the label's own unit.

    The label is a float, NaN where missing; single elements of a vector may be
    missing. The head learns the standardised target and an `Unstandardize`
    layer, whose statistics `adapt` learns from the training labels and the
    model saves, turns it back into the unit. The loss is taken on the
    standardised scale, so that a task in metres and one in degrees start alike:

        loss = mean_d f((y_d - mean_d) / scale_d, (p_d - mean_d) / scale_d)

    Metrics are in the label's unit. An output that the user built has no such
    layer: its loss is in the label's own unit, as in plain Keras.

    Args:
        name: Key of the task in outputs, labels, weights and logs.
        shape: `()` for a number, `(n,)` for a vector.
        unit: Unit of the label, for reports.
        loss: `"mse"`, `"mae"`, `"huber"` or any Keras loss; `"mse"` if left out.
        standardize: False to train in the label's own unit.
        **options: `losses`, `metrics`, `hidden`, `dropout`, `l1`, `l2`: see `Task`.

    >>> task = Regression("position", shape=(2,), unit="px")
    >>> task.units, task.label_shape, task.metric_names(), task.direction("mae")
    (2, (2,), ['mae'], 'min')
    """

    kind: ClassVar[str] = "regression"
    default_metrics: ClassVar[tuple[str, ...]] = ("mae",)
    elementwise_losses: ClassVar[frozenset[str]] = frozenset(
        {"mean_squared_error", "mean_absolute_error", "huber", "log_cosh", "mean_absolute_percentage_error"}
        | {"mean_squared_logarithmic_error"}
    )
    mean_metrics: ClassVar[Mapping[str, Callable[[Any, Any], Any]]] = {
        **dict.fromkeys(("mae", "mean_absolute_error"), keras.metrics.mean_absolute_error),
        **dict.fromkeys(("mse", "mean_squared_error"), keras.metrics.mean_squared_error),
    }
    uncertainty_factor: ClassVar[float] = 0.5

    def __init__(
        self,
        name: str,
        *,
        shape: int | tuple[int, ...] = (),
        unit: str = "",
        loss: Any = None,
        standardize: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(name, loss=loss, **options)
        if self.loss is None and self.losses is None:
            self.loss = "mse"
        self.shape = sizes(self.owner, "shape", shape)
        require(len(self.shape) <= 1, self.owner, "shape", "must be () or (n,)", shape, "Flatten the label.")
        self.unit = plain_text(self.owner, "unit", unit)
        is_flag = isinstance(standardize, bool | np.bool_)
        require(is_flag, self.owner, "standardize", "must be True or False", standardize)
        self.standardize = bool(standardize)

    @property
    def label_shape(self) -> tuple[int | None, ...]:
        """Shape of one label; `()` is a scalar."""
        return self.shape

    @property
    def units(self) -> int:
        """Width of the output: one number an element."""
        return self.shape[0] if self.shape else 1

    @property
    def default_loss(self) -> str:
        """Mean squared error."""
        return "mean_squared_error"

    def output(self, features: Any) -> Any:
        """Builds the output layer and, if wanted, the way back to the label's unit."""
        if not self.standardize:
            return self.dense(self.name)(features)
        return Unstandardize(name=self.name)(self.dense(f"{self.name}_standardized")(features))

    @property
    def head_form(self) -> Hashable | None:
        """What two heads must share to be computed as one kernel."""
        form = self.dense_form(Regression)
        return form and (*form, self.standardize)

    def fused_output(self, output: Any) -> Any:
        """The way back to the label's unit, if wanted."""
        return Unstandardize(name=self.name)(output) if self.standardize else output

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        own = {"shape": list(self.shape), "unit": self.unit, "standardize": self.standardize}
        return {**super().get_config(), **own}
