"""Boxes as arrays: Keras's formats, and how much two of them overlap."""

import math
from typing import Any

import keras
from keras import ops

# Of `keras.utils.bounding_boxes`; `rel_` ones are fractions of the picture's width and height, the others pixels.
FORMATS = (
    *("xyxy", "yxyx", "xywh", "center_xywh", "center_yxhw"),
    *("rel_xyxy", "rel_yxyx", "rel_xywh", "rel_center_xywh"),
)
# Keeps a quotient finite; far below the area of the smallest box, in pictures as in cells.
_TINY = 1e-12
_FLAT = 1e-7


def to_corners(boxes: Any, bounding_box_format: str, image_shape: tuple[int, int] | None = None) -> Any:
    """Turns boxes of any of Keras's formats into left, top, right and bottom in fractions of the picture.

    Args:
        boxes: `(..., 4)`.
        bounding_box_format: One of `FORMATS`.
        image_shape: Height and width in pixels; needed unless the format is in fractions.

    >>> to_corners(ops.array([[8.0, 16.0, 4.0, 8.0]]), "center_xywh", (32, 16)).numpy().tolist()
    [[0.375, 0.375, 0.625, 0.625]]
    """
    return _converted(boxes, bounding_box_format, "rel_xyxy", image_shape)


def from_corners(boxes: Any, bounding_box_format: str, image_shape: tuple[int, int] | None = None) -> Any:
    """The way back of `to_corners`.

    >>> from_corners(ops.array([[0.25, 0.0, 0.75, 0.5]]), "xywh", (32, 16)).numpy().tolist()
    [[4.0, 0.0, 8.0, 16.0]]
    """
    return _converted(boxes, "rel_xyxy", bounding_box_format, image_shape)


def _converted(boxes: Any, source: str, target: str, image_shape: tuple[int, int] | None) -> Any:
    """Boxes in another of Keras's formats."""
    # Between fractions any size does.
    height, width = image_shape or (1, 1)
    return keras.utils.bounding_boxes.convert_format(boxes, source, target, height=height, width=width)


def centered(corners: Any) -> Any:
    """Centre x, centre y, width and height of boxes by their corners, `(..., 4)`.

    >>> centered(ops.array([0.0, 0.0, 0.5, 1.0])).numpy().tolist()
    [0.25, 0.5, 0.5, 1.0]
    """
    first, last = corners[..., :2], corners[..., 2:]
    return ops.concatenate([(first + last) / 2.0, last - first], axis=-1)


def cornered(centers: Any) -> Any:
    """The way back of `centered`.

    >>> cornered(ops.array([0.25, 0.5, 0.5, 1.0])).numpy().tolist()
    [0.0, 0.0, 0.5, 1.0]
    """
    middle, half = centers[..., :2], centers[..., 2:] / 2.0
    return ops.concatenate([middle - half, middle + half], axis=-1)


def area(corners: Any) -> Any:
    """Area of boxes, `(...)`; 0 of a flipped one."""
    sides = ops.maximum(corners[..., 2:] - corners[..., :2], 0.0)
    return sides[..., 0] * sides[..., 1]


def _union(one: Any, other: Any) -> tuple[Any, Any]:
    """Intersection and union of boxes."""
    first, last = ops.maximum(one[..., :2], other[..., :2]), ops.minimum(one[..., 2:], other[..., 2:])
    both = area(ops.concatenate([first, last], axis=-1))
    return both, area(one) + area(other) - both


def _hull(one: Any, other: Any) -> Any:
    """Width and height of the smallest box around both, `(..., 2)`."""
    return ops.maximum(one[..., 2:], other[..., 2:]) - ops.minimum(one[..., :2], other[..., :2])


def iou(one: Any, other: Any) -> Any:
    """Intersection over union of boxes by their corners, in 0..1.

    Args:
        one: `(..., 4)`.
        other: Of a shape that broadcasts with it.

    Returns:
        `(...)`.

    >>> float(iou(ops.array([0.0, 0.0, 2.0, 1.0]), ops.array([1.0, 0.0, 3.0, 1.0])))  # doctest: +ELLIPSIS
    0.333...
    """
    both, either = _union(one, other)
    return both / ops.maximum(either, _TINY)


def giou(one: Any, other: Any) -> Any:
    """Generalised intersection over union, in -1..1: `IoU - |hull without the union| / |hull|`.

    Source: Rezatofighi et al., "Generalized Intersection over Union", CVPR 2019.

    >>> float(giou(ops.array([0.0, 0.0, 1.0, 1.0]), ops.array([1.0, 0.0, 2.0, 2.0])))
    -0.25
    """
    both, either = _union(one, other)
    sides = _hull(one, other)
    hull = ops.maximum(sides[..., 0] * sides[..., 1], _TINY)
    return both / ops.maximum(either, _TINY) - (hull - either) / hull


def diou(one: Any, other: Any) -> Any:
    """Distance intersection over union, in -1..1: `IoU - (distance of the centres / diagonal of the hull)^2`.

    Source: Zheng et al., "Distance-IoU Loss", AAAI 2020.

    >>> float(diou(ops.array([0.0, 0.0, 2.0, 2.0]), ops.array([2.0, 2.0, 4.0, 4.0])))
    -0.25
    """
    apart = (one[..., :2] + one[..., 2:] - other[..., :2] - other[..., 2:]) / 2.0
    diagonal = ops.sum(ops.square(_hull(one, other)), axis=-1)
    return iou(one, other) - ops.sum(ops.square(apart), axis=-1) / ops.maximum(diagonal, _TINY)


def ciou(one: Any, other: Any) -> Any:
    """Complete intersection over union: `DIoU - a v`, which also wants the shape of the box.

        v = 4 / pi^2 (arctan(w_1 / h_1) - arctan(w_2 / h_2))^2,    a = v / (1 - IoU + v)

    The factor a has no slope.

    Source: Zheng et al., "Distance-IoU Loss", AAAI 2020.

    >>> float(ciou(ops.array([0.0, 0.0, 2.0, 2.0]), ops.array([0.0, 0.0, 2.0, 2.0])))
    1.0
    """
    sides = [box[..., 2:] - box[..., :2] for box in (one, other)]
    # Of no width and no height there is no angle, and no slope.
    angles = [ops.arctan2(side[..., 0], ops.maximum(side[..., 1], _FLAT)) for side in sides]
    shape = 4.0 / math.pi**2 * ops.square(angles[0] - angles[1])
    factor = ops.stop_gradient(shape / ops.maximum(1.0 - iou(one, other) + shape, _TINY))
    return diou(one, other) - factor * shape


def pairwise(measure: Any, one: Any, other: Any) -> Any:
    """A measure of each box of one set with each of another.

    Args:
        measure: `iou` or another of this file.
        one: `(..., n, 4)`.
        other: `(..., m, 4)`.

    Returns:
        `(..., n, m)`.
    """
    return measure(ops.expand_dims(one, -2), ops.expand_dims(other, -3))
