"""Outputs as columns of numbers without bounds, which a linear model can join."""

from typing import Any

import keras
import numpy as np
from keras import ops

from kmtl.tasks import Task

_FORMS = {"softmax": "log", "sigmoid": "log_odds"}
_SMALLEST = 1e-7


@keras.saving.register_keras_serializable(package="kmtl")
class OutputColumns(keras.layers.Layer):
    """Makes numbers without bounds of a task's output: `log p`, or `log p / (1 - p)` of yes; values stay.

    Args:
        form: `"log"`, `"log_odds"` or `"values"`.
        **kwargs: Keras layer options.

    >>> OutputColumns("log_odds")(np.array([[0.5, 0.5]])).numpy().tolist()
    [[0.0, 0.0]]
    """

    def __init__(self, form: str, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.form = form

    @classmethod
    def of(cls, task: Task) -> "OutputColumns":
        """The layer for a task's output."""
        return cls(_FORMS.get(task.final_activation or "", "values"))

    def call(self, inputs: Any) -> Any:
        """Computes the columns; no probability counts as less than 1e-7."""
        if self.form == "values":
            return inputs
        logarithm = ops.log(ops.maximum(inputs, _SMALLEST))
        return logarithm if self.form == "log" else logarithm - ops.log(ops.maximum(1.0 - inputs, _SMALLEST))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The shape does not change."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        return {**super().get_config(), "form": self.form}


def columns_of(task: Task, outputs: Any) -> Any:
    """The columns of an array of outputs, `(rows, units)`."""
    return np.asarray(OutputColumns.of(task)(np.asarray(outputs, "float32")))
