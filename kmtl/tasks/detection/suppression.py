"""Of boxes that lie on each other the best one."""

from typing import Any, NamedTuple

from keras import ops

from kmtl.tasks.detection.boxes import iou


class Kept(NamedTuple):
    """The boxes that are left, best first, and padding behind them.

    Attributes:
        corners: `(batch, most, 4)`; -1 in padding.
        classes: int32 `(batch, most)`; -1 in padding.
        scores: `(batch, most)`; 0 in padding.
        count: How many there are, int32 `(batch,)`.
    """

    corners: Any
    classes: Any
    scores: Any
    count: Any


def non_maximum_suppression(
    corners: Any, classes: Any, scores: Any, *, iou_threshold: float, score_threshold: float, most: int
) -> Kept:
    """Takes the box of the highest score, drops those of its class that overlap it by more, and so on.

    The first of equal scores comes first. Plain operations of known sizes and one loop, which ends when no box is left:
    they are traced, and stored in every exported form. (Keras's `argmax` has one that LiteRT and ONNX lack.)

    Args:
        corners: Left, top, right, bottom, `(batch, boxes, 4)`.
        classes: Numbers of classes, int32 `(batch, boxes)`.
        scores: In 0..1, `(batch, boxes)`.
        iou_threshold: Boxes of one class that overlap more than this are the same object.
        score_threshold: Boxes of a lower score are no objects.
        most: Most boxes that are left.

    >>> corners = ops.array([[[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 0.9], [2.0, 0.0, 3.0, 1.0]]])
    >>> kept = non_maximum_suppression(corners, ops.array([[0, 0, 0]]), ops.array([[0.5, 0.875, 0.75]]),
    ...     iou_threshold=0.5, score_threshold=0.1, most=3)
    >>> kept.count.numpy().tolist(), kept.scores.numpy().tolist()
    ([2], [[0.875, 0.75, 0.0]])
    """
    places = ops.expand_dims(ops.arange(most, dtype="int32"), 0)
    empty = ops.zeros_like(scores[:, :1]) + ops.zeros((1, most))
    numbers = ops.cast(classes, "int32")

    def goes_on(step: Any, left: Any, *_: Any) -> Any:
        return ops.logical_and(step < most, ops.any(left >= score_threshold))

    def take(step: Any, left: Any, boxes: Any, names: Any, values: Any) -> tuple[Any, ...]:
        value, place = ops.top_k(left, 1)
        best = ops.one_hot(place[:, 0], left.shape[-1])
        box = ops.sum(ops.expand_dims(best, -1) * corners, axis=1, keepdims=True)
        name = ops.sum(ops.cast(best, "int32") * numbers, axis=1, keepdims=True)
        same = ops.equal(numbers, name) & (iou(box, corners) > iou_threshold)
        write = ops.equal(places, step) & (value >= score_threshold)
        # Below every threshold.
        left = ops.where(same | (best > 0), -1.0, left)
        boxes = ops.where(ops.expand_dims(write, -1), box, boxes)
        return step + 1, left, boxes, ops.where(write, name, names), ops.where(write, value, values)

    start = (ops.convert_to_tensor(0, "int32"), scores, ops.expand_dims(empty - 1.0, -1) + ops.zeros((1, 1, 4)))
    _, _, boxes, names, values = ops.while_loop(goes_on, take, (*start, ops.cast(empty, "int32") - 1, empty))
    return Kept(boxes, names, values, ops.sum(ops.cast(names >= 0, "int32"), axis=-1))
