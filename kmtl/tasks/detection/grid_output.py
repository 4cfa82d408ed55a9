"""From the numbers of a convolution to readable boxes."""

from typing import Any

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable(package="kmtl")
class GridOutput(keras.layers.Layer):
    """Turns a cell's raw numbers into boxes, confidences and class probabilities.

    With s the sigmoid, a cell in row i and column j of an H x W grid gives

        x = (j + 2 s(t_x) - 1/2) / W,  y = (i + 2 s(t_y) - 1/2) / H,  w = s(t_w),  h = s(t_h),  confidence = s(t_c)

    A centre on the edge of a cell so lies well inside of what its sigmoid reaches, and a size is a fraction of the
    picture, which no exponential lets run away. The classes end in a softmax.

    Shapes: `(batch, height, width, 5 * boxes + classes)` in and out: five numbers a box, then the classes.

    Args:
        boxes: Boxes a cell.
        **kwargs: Keras layer options.

    Source: the reach of twice a sigmoid is that of Bochkovskiy et al., "YOLOv4", 2020.

    >>> GridOutput(1)(ops.zeros((1, 1, 2, 7))).numpy().tolist()[0][0]
    [[0.25, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5], [0.75, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]]
    """

    def __init__(self, boxes: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.boxes = boxes

    def call(self, inputs: Any) -> Any:
        """Scales and shifts the sigmoid of what belongs to boxes."""
        scale, shift = _scale_and_shift(int(inputs.shape[1]), int(inputs.shape[2]), self.boxes)
        edge = 5 * self.boxes
        boxes = ops.sigmoid(inputs[..., :edge]) * ops.cast(scale, inputs.dtype) + ops.cast(shift, inputs.dtype)
        return ops.concatenate([boxes, ops.softmax(inputs[..., edge:], axis=-1)], axis=-1)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The shape stays."""
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        return {**super().get_config(), "boxes": self.boxes}


def _scale_and_shift(height: int, width: int, boxes: int) -> tuple[Any, Any]:
    """What multiplies the sigmoids of each cell's boxes, and what is added, `(height, width, 5 * boxes)` each."""
    scale, shift = np.ones((height, width, boxes, 5), "float32"), np.zeros((height, width, boxes, 5), "float32")
    scale[..., 0], scale[..., 1] = 2.0 / width, 2.0 / height
    shift[..., 0] = ((np.arange(width) - 0.5) / width)[None, :, None]
    shift[..., 1] = ((np.arange(height) - 0.5) / height)[:, None, None]
    return scale.reshape(height, width, -1), shift.reshape(height, width, -1)


def first_biases(height: int, width: int, boxes: int, classes: int, confidence: float) -> list[float]:
    """Biases that a head starts from: the middle of the cell, sizes that differ from box to box, little confidence.

    The sizes of the boxes lie evenly, by their logarithm, between one cell and the whole picture, so that each has
    its own objects from the start.

    Args:
        height: Rows of cells.
        width: Columns of cells.
        boxes: Boxes a cell.
        classes: Number of classes.
        confidence: That a head starts from.
    """
    rows = []
    for place in range(boxes):
        share = 1.0 - (place + 0.5) / boxes
        sides = [min(max(side, 2) ** -share, 0.9) for side in (width, height)]
        rows += [0.0, 0.0, *(_logit(side) for side in (*sides, confidence))]
    return [*rows, *[0.0] * classes]


def _logit(probability: float) -> float:
    """The way back of a sigmoid."""
    return float(np.log(probability / (1.0 - probability)))
