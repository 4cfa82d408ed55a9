"""Objects on a grid of cells: what an output holds, and a label as the output that it asks for."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from kmtl.tasks.detection.boxes import centered, cornered, from_corners, to_corners

# What stands in all five numbers of a row of a label that holds no object; Keras pads boxes with it.
UNUSED = -1.0
# By so much of the picture a box may stand out: coordinates are rounded.
ROUNDING = 1e-3


class Objects(NamedTuple):
    """The objects of a batch of labels.

    Attributes:
        corners: Left, top, right, bottom in fractions of the picture, `(batch, rows, 4)`; harmless where unused.
        classes: Number of the class, int32 `(batch, rows)`; 0 where unused.
        there: Whether the row holds an object, `(batch, rows)`.
    """

    corners: Any
    classes: Any
    there: Any


class Cells(NamedTuple):
    """What the cells of a batch of outputs hold.

    Attributes:
        centers: Centre x, centre y, width, height in fractions of the picture, `(batch, cells, boxes, 4)`.
        confidence: Of each box, `(batch, cells, boxes)`.
        probabilities: Of the classes, `(batch, cells, classes)`.
    """

    centers: Any
    confidence: Any
    probabilities: Any


@dataclasses.dataclass(frozen=True)
class Layout:
    """How an output `(height, width, 5 * boxes + classes)` holds objects, and a label their boxes.

    Attributes:
        height: Rows of cells.
        width: Columns of cells.
        boxes: Boxes a cell.
        classes: Number of classes.
        bounding_box_format: Of the labels; one of Keras's.
        image_shape: Height and width of the picture in pixels; None where labels are in fractions.
    """

    height: int
    width: int
    boxes: int
    classes: int
    bounding_box_format: str = "rel_xyxy"
    image_shape: tuple[int, int] | None = None

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> "Layout":
        """Makes one of its `fields`, maybe out of a file, where a tuple has become a list."""
        shape = fields.get("image_shape")
        return cls(**{**fields, "image_shape": None if shape is None else tuple(shape)})

    @property
    def fields(self) -> dict[str, Any]:
        """What `of` needs."""
        return dataclasses.asdict(self)

    @property
    def channels(self) -> int:
        """Numbers a cell."""
        return 5 * self.boxes + self.classes

    def objects(self, labels: Any) -> Objects:
        """Reads labels.

        Args:
            labels: `(batch, rows, 5)`; unused rows -1.
        """
        labels = ops.cast(labels, "float32")
        there = labels[..., 4] >= 0
        corners = self.fractions(labels[..., :4])
        harmless = ops.convert_to_tensor([0.25, 0.25, 0.75, 0.75], "float32")
        corners = ops.where(ops.expand_dims(there, -1), corners, harmless)
        return Objects(corners, ops.cast(ops.where(there, labels[..., 4], 0.0), "int32"), there)

    def possible(self, labels: Any) -> Any:
        """Tells which rows of labels are NaN, unused, or a box inside the picture with a class, `(batch, rows)`."""
        labels = ops.cast(labels, "float32")
        corners, names = self.fractions(labels[..., :4]), labels[..., 4]
        inside = ops.all((corners >= -ROUNDING) & (corners <= 1.0 + ROUNDING), axis=-1)
        good = inside & ops.all(corners[..., 2:] > corners[..., :2], axis=-1)
        good = good & (names >= 0) & (names < self.classes) & ops.equal(names, ops.floor(names))
        return good | ops.all(ops.equal(labels, UNUSED), axis=-1) | ops.all(ops.isnan(labels), axis=-1)

    def fractions(self, boxes: Any) -> Any:
        """Corners in fractions of the picture of boxes in the labels' format, `(..., 4)`."""
        return to_corners(boxes, self.bounding_box_format, self.image_shape)

    def boxes_of(self, corners: Any) -> Any:
        """Boxes by their corners in the labels' own format, `(..., 4)`."""
        return from_corners(corners, self.bounding_box_format, self.image_shape)

    def cells(self, outputs: Any) -> Cells:
        """Splits outputs.

        Args:
            outputs: `(batch, height, width, channels)`.
        """
        flat = ops.reshape(outputs, (-1, self.height * self.width, self.channels))
        boxes = ops.reshape(flat[..., : 5 * self.boxes], (-1, self.height * self.width, self.boxes, 5))
        return Cells(boxes[..., :4], boxes[..., 4], flat[..., 5 * self.boxes :])

    def outputs(self, cells: Cells) -> Any:
        """The way back of `cells`."""
        boxes = ops.concatenate([cells.centers, ops.expand_dims(cells.confidence, -1)], axis=-1)
        boxes = ops.reshape(boxes, (-1, self.height * self.width, 5 * self.boxes))
        both = ops.concatenate([boxes, cells.probabilities], axis=-1)
        return ops.reshape(both, (-1, self.height, self.width, self.channels))

    def in_cells(self, corners: Any) -> Any:
        """Corners in cells in place of fractions: a length then is about the same both ways."""
        return corners * ops.convert_to_tensor([self.width, self.height] * 2, "float32")

    def cell_of(self, corners: Any) -> Any:
        """Number of the cell that holds the centre of each box, row by row, int32 `(...)`."""
        middle = (corners[..., :2] + corners[..., 2:]) / 2.0
        column = ops.clip(ops.floor(middle[..., 0] * self.width), 0, self.width - 1)
        row = ops.clip(ops.floor(middle[..., 1] * self.height), 0, self.height - 1)
        return ops.cast(row * self.width + column, "int32")

    def encoded(self, labels: Any) -> Any:
        """The output that labels ask for: a cell's first boxes are the objects whose centres it holds, in their order.

        Confidence is 1 of those and 0 of the others, which lie in the middle of the cell and have no size; the
        probability of a class is its share of the cell's objects. Objects beyond `boxes` are left out.

        Args:
            labels: `(batch, rows, 5)`.

        Returns:
            `(batch, height, width, channels)`.

        >>> layout = Layout(2, 2, boxes=1, classes=3)
        >>> grid = layout.encoded(ops.array([[[0.5, 0.0, 1.0, 0.5, 2.0], [-1.0, -1.0, -1.0, -1.0, -1.0]]]))
        >>> grid[0, 0].numpy().tolist()
        [[0.25, 0.25, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], [0.75, 0.25, 0.5, 0.5, 1.0, 0.0, 0.0, 1.0]]
        """
        found = self.objects(labels)
        cell = self.cell_of(found.corners)
        place = earlier(same_cell(cell, found.there))
        kept = ops.cast(found.there & (place < self.boxes), "float32")
        values = ops.concatenate([centered(found.corners), ops.expand_dims(ops.ones_like(kept), -1)], axis=-1)
        boxes = self.by_place(cell, place, kept, values)
        classes = self.by_cell(cell, ops.one_hot(found.classes, self.classes) * ops.expand_dims(kept, -1))
        shares = classes / ops.maximum(ops.sum(classes, axis=-1, keepdims=True), 1.0)
        centers = ops.where(boxes[..., 4:] > 0, boxes[..., :4], self._nothing())
        return self.outputs(Cells(centers, boxes[..., 4], shares))

    def _nothing(self) -> Any:
        """A box without a size in the middle of each cell, `(1, cells, 1, 4)`."""
        rows, columns = np.divmod(np.arange(self.height * self.width), self.width)
        middle = np.stack([(columns + 0.5) / self.width, (rows + 0.5) / self.height], axis=-1)
        return np.concatenate([middle, 0.0 * middle], axis=-1).astype("float32")[None, :, None]

    def by_cell(self, cell: Any, values: Any) -> Any:
        """Adds up what belongs to objects by the cell that they are in.

        Args:
            cell: `(batch, rows)`.
            values: `(batch, rows, numbers)`.

        Returns:
            `(batch, cells, numbers)`.
        """
        batch, number, width = ops.shape(values)[0], self.height * self.width, values.shape[-1]
        ids = cell + number * ops.expand_dims(ops.arange(batch, dtype="int32"), -1)
        # Not by a product with a matrix of ones: a GPU rounds those.
        sums = ops.segment_sum(ops.reshape(values, (-1, width)), ops.reshape(ids, (-1,)), num_segments=batch * number)
        return ops.reshape(sums, (-1, number, width))

    def by_place(self, cell: Any, place: Any, counted: Any, values: Any) -> Any:
        """The same of objects that have a box of their cell each.

        Args:
            cell: `(batch, rows)`.
            place: Number of the box, `(batch, rows)`.
            counted: 1 for objects that count, 0 for others, `(batch, rows)`.
            values: `(batch, rows, numbers)`.

        Returns:
            `(batch, cells, boxes, numbers)`.
        """
        marks = ops.one_hot(place, self.boxes) * ops.expand_dims(counted, -1)
        spread = ops.expand_dims(marks, -1) * ops.expand_dims(values, -2)
        width = values.shape[-1]
        flat = ops.reshape(spread, (-1, ops.shape(values)[1], self.boxes * width))
        return ops.reshape(self.by_cell(cell, flat), (-1, self.height * self.width, self.boxes, width))

    def detections(self, outputs: Any) -> tuple[Any, Any, Any]:
        """Every box of every cell: corners `(batch, cells * boxes, 4)`, classes and scores `(batch, cells * boxes)`.

        A box's class is the likeliest of its cell, its score that one's probability times the confidence.
        """
        cells = self.cells(outputs)
        most, best = ops.top_k(cells.probabilities, 1)
        scores = cells.confidence * most
        number = self.height * self.width * self.boxes
        corners = ops.reshape(cornered(cells.centers), (-1, number, 4))
        classes = ops.reshape(ops.repeat(ops.cast(best, "int32"), self.boxes, axis=-1), (-1, number))
        return corners, classes, ops.reshape(scores, (-1, number))


def same_cell(cell: Any, there: Any) -> Any:
    """Whether two objects of a picture are in one cell, `(batch, rows, rows)`."""
    both = ops.expand_dims(there, -1) & ops.expand_dims(there, -2)
    return both & ops.equal(ops.expand_dims(cell, -1), ops.expand_dims(cell, -2))


def earlier(related: Any) -> Any:
    """How many rows before each one it is related to, int32 `(batch, rows)`."""
    return ops.sum(ops.tril(ops.cast(related, "int32"), k=-1), axis=-1)
