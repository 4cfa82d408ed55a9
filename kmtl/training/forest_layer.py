"""Trees of YDF as a layer that runs their TensorFlow op."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from kmtl import _extras
from kmtl._checks import refusal, words
from kmtl.training.classical import Classical
from kmtl.training.decision_forests import COLUMNS, FittedForest


def forest_layer(classical: Classical) -> Any:
    """Makes the layer that gives what forests of YDF give; None if the predictor has other estimators."""
    if not all(isinstance(one, FittedForest) for one in classical.estimators):
        return None
    return ForestLayer(classical, dtype="float32", trainable=False, name=f"{classical.task.name}_forest")


class ForestLayer(keras.layers.Layer):
    """Runs forests in the graph: `(batch, width)` in, outputs of the task `(batch, units)` out.

    Args:
        classical: The predictor.
        **kwargs: Keras layer options.
    """

    def __init__(self, classical: Classical, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        _extras.load("ydf_tf", "MixedModel.in_one")
        self.units = classical.task.units
        options = {"squeeze_binary_classification": False}
        # TensorFlow finds what an export must hold in its own modules, not in lists of Keras.
        self.held = tf.Module()
        self.held.forests = [one.model.to_tensorflow_function(**options) for one in classical.estimators]
        self.ways = _ways(classical)

    def call(self, inputs: Any) -> Any:
        """Runs each forest and adds up what it says of its element."""
        parts = [
            ops.matmul(ops.reshape(forest({COLUMNS: inputs}), (-1, len(way))), way)
            for forest, way in zip(self.held.forests, self.ways, strict=True)
        ]
        return sum(parts[1:], parts[0])

    def compute_output_shape(self, input_shape: Any) -> Any:
        """One output a row."""
        return (input_shape[0], self.units)

    def get_config(self) -> dict[str, Any]:
        """Refuses: Keras's files have no place for trees."""
        fix = "Save the MixedModel, which writes a folder, or export a SavedModel."
        got = words(f"the forest {self.name!r}")
        raise NotImplementedError(refusal("save", "model", "must hold layers that a .keras file can hold", got, fix))


def _ways(classical: Classical) -> list[Any]:
    """For each element a matrix from what its forest gives to outputs of the task."""
    task, number = classical.task, len(classical.estimators)
    if not task.decides:
        return [np.eye(number, dtype="float32")[place : place + 1] for place in range(number)]
    found = []
    for place, one in enumerate(classical.estimators):
        classes = one.classes_
        single = np.zeros((len(classes), number, task.classes), "float32")
        single[np.arange(len(classes)), place, classes] = 1.0
        shape: tuple[Any, ...] = (len(classes), *task.label_shape, task.classes)
        found.append(task.outputs_of(single.reshape(shape)))
    return found
