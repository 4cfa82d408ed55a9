"""What an output on a grid costs: the plain squared error, that of YOLO's first version, and a modern one."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import keras
from keras import ops

from kmtl.tasks.detection.boxes import centered, ciou, cornered, iou
from kmtl.tasks.detection.layout import Cells, Layout, Objects
from kmtl.tasks.detection.responsible_boxes import responsible

# Below what float32 tells from 0 in a logarithm's slope; a sigmoid that has saturated keeps one.
_SMALL = 1e-7
# Of Redmon et al.
_COORDINATES, _NO_OBJECT = 5.0, 0.5
# Of a box against a confidence and a class: an overlap's slope is small beside a logarithm's.
_OVERLAP = 2.0


def article_loss(layout: Layout, labels: Any, outputs: Any) -> Any:
    """Mean squared error against the encoded labels, `(batch,)`.

    Every number of every cell weighs alike, the many empty ones included: a baseline.
    """
    return ops.mean(ops.square(outputs - layout.encoded(labels)), axis=(1, 2, 3))


def yolov1_loss(layout: Layout, labels: Any, outputs: Any) -> Any:
    """The loss of YOLO's first version, `(batch,)`, summed over cells and boxes:

        5 sum_obj [(x - x')^2 + (y - y')^2 + (sqrt w - sqrt w')^2 + (sqrt h - sqrt h')^2]
        + sum_obj (C - IoU)^2 + 1/2 sum_noobj C^2 + sum_obj sum_c (p(c) - p'(c))^2

    x and y are counted in cells, w and h in pictures. Responsible for an object is the box of its cell that overlaps it
    most; several objects of a cell get a box each, where the original keeps one object.

    Source: Redmon et al., "You Only Look Once", CVPR 2016, equation 3.
    """  # noqa: D415 - a formula ends the sentence
    found, cells = layout.objects(labels), layout.cells(outputs)
    mine = _own_boxes(layout, found, cells, iou)
    here = ops.cast(mine.chosen >= 0, "float32")
    truth = centered(found.corners)
    scale = ops.convert_to_tensor([layout.width, layout.height], "float32")
    apart = ops.sum(ops.square((mine.center[..., :2] - truth[..., :2]) * scale), axis=-1)
    # The slope of a root at 0 is infinite.
    sides = ops.sqrt(ops.maximum(mine.center[..., 2:], _SMALL)) - ops.sqrt(ops.maximum(truth[..., 2:], _SMALL))
    classes = ops.square(mine.probabilities - ops.one_hot(found.classes, layout.classes))
    of_objects = _COORDINATES * (apart + ops.sum(ops.square(sides), axis=-1)) + ops.sum(classes, axis=-1)
    wanted, busy = _confidence(layout, mine, ops.stop_gradient(iou(cornered(mine.center), found.corners)))
    of_boxes = ops.where(busy > 0, 1.0, _NO_OBJECT) * ops.square(cells.confidence - wanted)
    return ops.sum(here * of_objects, axis=1) + ops.sum(of_boxes, axis=(1, 2))


def modern_loss(layout: Layout, labels: Any, outputs: Any) -> Any:
    """Overlap, focal confidence and class cross-entropy, `(batch,)`, over the number n of objects (1 if none):

        1/n [2 sum_obj (1 - CIoU) + sum_boxes (C - q)^2 H(q, C) - sum_obj log p(class)]

    q is the overlap (IoU) of a box with the object that it answers for, 0 of a box without one; H is the binary
    cross-entropy. The many boxes that rightly say 0 so weigh next to nothing. Responsible for an object is the box of
    its cell of the largest CIoU; several objects of a cell get a box each. Overlaps are taken in cells.

    Sources: Zheng et al., "Distance-IoU Loss", AAAI 2020; Lin et al., "Focal Loss", ICCV 2017, as Li et al.,
    "Generalized Focal Loss", NeurIPS 2020, take it of a target between 0 and 1.
    """  # noqa: D415 - a formula ends the sentence
    found, cells = layout.objects(labels), layout.cells(outputs)
    mine = _own_boxes(layout, found, cells, ciou)
    here = ops.cast(mine.chosen >= 0, "float32")
    truth, guess = layout.in_cells(found.corners), layout.in_cells(cornered(mine.center))
    picked = ops.sum(mine.probabilities * ops.one_hot(found.classes, layout.classes), axis=-1)
    of_objects = _OVERLAP * (1.0 - ciou(guess, truth)) - ops.log(picked + _SMALL)
    wanted, _ = _confidence(layout, mine, ops.stop_gradient(iou(guess, truth)))
    given = cells.confidence
    entropy = -wanted * ops.log(given + _SMALL) - (1.0 - wanted) * ops.log(1.0 - given + _SMALL)
    of_boxes = ops.sum(ops.square(given - wanted) * entropy, axis=(1, 2))
    number = ops.maximum(ops.sum(ops.cast(found.there, "float32"), axis=1), 1.0)
    return (ops.sum(here * of_objects, axis=1) + of_boxes) / number


@dataclasses.dataclass
class _Own:
    """The box that answers for each object.

    Attributes:
        cell: Number of its cell, `(batch, rows)`.
        chosen: Number of the box in its cell, `(batch, rows)`; -1 where none is.
        center: The box, `(batch, rows, 4)`.
        probabilities: Of the classes in its cell, `(batch, rows, classes)`.
    """

    cell: Any
    chosen: Any
    center: Any
    probabilities: Any


def _own_boxes(layout: Layout, found: Objects, cells: Cells, likeness: Callable[[Any, Any], Any]) -> _Own:
    """Finds the box of its cell that answers for each object."""
    cell = layout.cell_of(found.corners)
    boxes = _of_cell(ops.reshape(cells.centers, (-1, layout.height * layout.width, 4 * layout.boxes)), cell)
    boxes = ops.reshape(boxes, (-1, ops.shape(cell)[1], layout.boxes, 4))
    truth = layout.in_cells(ops.expand_dims(found.corners, 2))
    cost = 1.0 - likeness(ops.stop_gradient(layout.in_cells(cornered(boxes))), truth)
    chosen = responsible(cost, cell, found.there)
    marks = ops.one_hot(ops.maximum(chosen, 0), layout.boxes)
    center = ops.sum(boxes * ops.expand_dims(marks, -1), axis=2)
    return _Own(cell, chosen, center, _of_cell(cells.probabilities, cell))


def _of_cell(values: Any, cell: Any) -> Any:
    """What the cell of each object holds, `(batch, rows, numbers)`, of `(batch, cells, numbers)`."""
    return ops.take_along_axis(values, ops.expand_dims(cell, -1), axis=1)


def _confidence(layout: Layout, mine: _Own, quality: Any) -> tuple[Any, Any]:
    """The confidence that each box should have, and 1 where it answers for an object, `(batch, cells, boxes)` each."""
    counted = ops.cast(mine.chosen >= 0, "float32")
    values = ops.stack([quality, ops.ones_like(quality)], axis=-1)
    both = layout.by_place(mine.cell, ops.maximum(mine.chosen, 0), counted, values)
    return both[..., 0], both[..., 1]


LOSSES: Mapping[str, Callable[[Layout, Any, Any], Any]] = {
    "modern": modern_loss,
    "yolov1": yolov1_loss,
    "article": article_loss,
}


@keras.saving.register_keras_serializable(package="kmtl")
class GridLoss(keras.losses.Loss):
    """One of kmtl's losses of objects on a grid, by its name.

    Args:
        kind: `"modern"`, `"yolov1"` or `"article"`.
        layout: Of the output and the labels: a `Layout`, or its fields.
        **options: Keras loss options.
    """

    def __init__(self, kind: str, layout: Any, **options: Any) -> None:
        super().__init__(**{"name": f"{kind}_grid_loss", **options})
        self.kind = kind
        self.layout = layout if isinstance(layout, Layout) else Layout.of(layout)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """One loss an example, `(batch,)`.

        Args:
            y_true: Labels `(batch, rows, 5)`.
            y_pred: Outputs `(batch, height, width, channels)`.
        """
        return LOSSES[self.kind](self.layout, y_true, y_pred)

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        return {**super().get_config(), "kind": self.kind, "layout": self.layout.fields}
