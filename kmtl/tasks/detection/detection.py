"""Objects in a picture: where each is, and of which class."""

from collections.abc import Sequence
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from kmtl._checks import Refusals, is_number, near, refusal, require, sizes, whole, words
from kmtl.tasks.base import Task
from kmtl.tasks.class_names import named_classes
from kmtl.tasks.class_options import checked_names
from kmtl.tasks.detection.average_precision import RANKED_FROM, MeanAveragePrecision, mistaken_shares
from kmtl.tasks.detection.box_label import BoxLabel, check_format
from kmtl.tasks.detection.coco_evaluation import AveragePrecision, average_precision
from kmtl.tasks.detection.drawn_boxes import draw_boxes, line_of_boxes
from kmtl.tasks.detection.grid_losses import LOSSES, GridLoss
from kmtl.tasks.detection.grid_output import GridOutput, first_biases
from kmtl.tasks.detection.layout import UNUSED, Layout
from kmtl.tasks.detection.suppression import Kept, non_maximum_suppression

# Confidence that a head starts from: most boxes of a grid hold nothing.
_FIRST_CONFIDENCE = 0.05


@keras.saving.register_keras_serializable(package="kmtl")
class Detection(BoxLabel, Task):
    """Any number of objects in a picture: a box and a class each.

    A grid of cells lies over the picture, and the cell that holds an object's centre answers for it with one of its
    boxes. The label is a float array `(rows, 5)`: four numbers of a box, then the number of its class. Unused rows are
    -1; a label of only such rows is there and says "no object"; a missing label is NaN. `labels` packs lists of boxes.

    The head is a 3x3 convolution and a 1x1 convolution on the map of the grid's size, of several maps
    (`kmtl.trunks.stages`) on the one that has it. The output is float32
    `(height, width, 5 * boxes_per_cell + classes)`: for each box centre x, centre y, width and height in fractions of
    the whole picture, and its confidence in 0..1; then the probability of each class in the cell. `read` makes a list
    of boxes of it, here and in exported files.

    The loss is one number an example, the mean over the labelled ones. `"modern"` adds overlap (CIoU), focal
    confidence and the class's cross-entropy; `"yolov1"` is the loss of YOLO's first version; `"article"` the plain
    squared error against the encoded label, a baseline. The metric is `map50`, mean average precision at an overlap of
    0.5; `average_precision` has it exactly, and from 0.5 to 0.95.

    Args:
        name: Key of the task in outputs, labels, weights and logs.
        classes: Number of classes, at least 1.
        grid: Rows and columns of cells, or one number for both: the size of the map that the head stands on.
        boxes_per_cell: Objects whose centres one cell can hold; all of them get one distribution over the classes.
        loss: `"modern"`, `"yolov1"`, `"article"`; or a Keras loss of labels `(batch, rows, 5)` and outputs.
        bounding_box_format: Of the label, by Keras's names: `"rel_xyxy"` (left, top, right, bottom in fractions of
            width and height), `"rel_xywh"`, `"rel_center_xywh"`, `"rel_yxyx"`; in pixels `"xyxy"`, `"xywh"`,
            `"center_xywh"`, `"yxyx"`, `"center_yxhw"`.
        image_shape: Height and width of the picture that the labels are pixels of; only for a format in pixels.
        crowded: `"refuse"` stops before training where a cell has more objects than boxes, `"drop"` does not learn the
            later ones.
        label_names: A name for each class, for reports and exported files.
        score_threshold: Least score, confidence times probability of the class, of what `read` gives.
        iou_threshold: Boxes of one class that overlap more than this are the same object: the better one is left.
        most: Most boxes of a picture that `read` gives.
        hidden: Channels of the 3x3 convolutions between the map and the output.
        **options: `losses`, `metrics`, `dropout`, `l1`, `l2`, `where`: see `Task`. Class weights are refused: a label
            is a picture's whole list, of any classes.

    Source: Redmon et al., "You Only Look Once", CVPR 2016; of the default loss see
    `kmtl.tasks.detection.grid_losses.modern_loss`.

    >>> task = Detection("boxes", classes=3, grid=7)
    >>> task.label_shape, task.output_shape, task.features, task.metric_names(), task.direction("map50")
    ((None, 5), (7, 7, 13), 'map', ['map50'], 'max')
    """

    kind: ClassVar[str] = "detection"
    meaning: ClassVar[str] = "of each cell: x, y, width, height, confidence of each box, then a probability a class"
    features: ClassVar[str] = "map"
    default_metrics: ClassVar[tuple[str, ...]] = ("map50",)

    def __init__(
        self,
        name: str,
        classes: int,
        *,
        grid: int | Sequence[int],
        boxes_per_cell: int = 2,
        loss: Any = "modern",
        bounding_box_format: str = "rel_xyxy",
        image_shape: Sequence[int] | None = None,
        crowded: str = "refuse",
        label_names: Sequence[str] | None = None,
        score_threshold: float = 0.3,
        iou_threshold: float = 0.5,
        most: int = 100,
        hidden: int | Sequence[int] = 128,
        **options: Any,
    ) -> None:
        own = isinstance(loss, str) and loss in LOSSES
        self.grid_loss = str(loss) if own else "modern"
        super().__init__(name, loss=None if own else loss, hidden=hidden, **options)
        self.classes = whole(self.owner, "classes", classes, 1)
        sides = sizes(self.owner, "grid", grid)
        require(len(sides) <= 2, self.owner, "grid", "must be (rows, columns) or one number", grid)
        self.grid = (sides[0], sides[-1])
        self.boxes_per_cell = whole(self.owner, "boxes_per_cell", boxes_per_cell, 1)
        self.bounding_box_format = bounding_box_format
        self.image_shape = None if image_shape is None else sizes(self.owner, "image_shape", image_shape)
        with Refusals(self.owner) as refusals:
            check_format(refusals, bounding_box_format, self.image_shape)
        image = (self.image_shape[0], self.image_shape[-1]) if self.image_shape else None
        self.layout = Layout(*self.grid, self.boxes_per_cell, self.classes, bounding_box_format, image)
        known = crowded in ("refuse", "drop")
        require(known, self.owner, "crowded", "must be 'refuse' or 'drop'", crowded)
        self.crowded = crowded
        self.label_names = checked_names(self, label_names, self.classes)
        self.score_threshold = self._share("score_threshold", score_threshold)
        self.iou_threshold = self._share("iou_threshold", iou_threshold)
        self.most = whole(self.owner, "most", most, 1)

    def _share(self, argument: str, value: Any) -> float:
        """Returns a number in 0..1, or refuses."""
        require(is_number(value) and 0 <= value <= 1, self.owner, argument, "must lie in 0..1", value)
        return float(value)

    def _checked_loss(self, loss: Any) -> Any:
        """Returns the loss, or refuses one that neither kmtl nor Keras knows."""
        try:
            return super()._checked_loss(loss)
        except ValueError as error:
            if not isinstance(loss, str):
                raise
            raise ValueError(refusal(self.owner, "loss", "must be a Keras loss", loss, near(loss, LOSSES))) from error

    # The loss and the metric.

    @property
    def default_loss(self) -> Any:
        """The loss that `loss` names."""
        return GridLoss(self.grid_loss, self.layout)

    def own_metric(self, name: str) -> Any:
        """Mean average precision at an overlap of 0.5."""
        if name == "map50":
            return MeanAveragePrecision(self.layout, suppression=self.iou_threshold, most=self.most, name=name)
        return super().own_metric(name)

    def average_precision(self, labels: Any, outputs: Any) -> AveragePrecision:
        """Mean average precision at an overlap of 0.5 and from 0.5 to 0.95, exactly as COCO has it, and of each class.

        It is that of `pycocotools`, which everybody's figures come from; boxes of a score from 0.01 on are ranked.

        Args:
            labels: `(examples, rows, 5)`; examples without a label are left out.
            outputs: `(examples, height, width, channels)`.

        Raises:
            ImportError: If `pycocotools` is not installed: `pip install 'kmtl[detection]'`.
        """
        labels = np.asarray(labels, "float32")
        there = ~np.isnan(labels).any(axis=(1, 2))
        found = self.kept(np.asarray(outputs)[there], RANKED_FROM)
        names = [self.class_name(number) for number in range(self.classes)]
        return average_precision(self.owner, self.layout.objects(labels[there]), found, names)

    # The head and the output.

    @property
    def units(self) -> int:
        """Channels of the output."""
        return self.layout.channels

    @property
    def output_shape(self) -> tuple[int | None, ...]:
        """Rows, columns and channels."""
        return (*self.grid, self.units)

    def chosen_map(self, maps: Sequence[Any]) -> Any:
        """The map of the grid's size; all of them, to be refused, where none is."""
        return next((one for one in maps if tuple(one.shape[1:3]) == self.grid), maps)

    def check_features(self, features: Any, owner: str) -> None:
        """Refuses maps of which none has the grid's size."""
        super().check_features(features, owner)
        maps = features if isinstance(features, list | tuple) else [features]
        if not any(tuple(one.shape[1:3]) == self.grid for one in maps):
            found = ", ".join(str(tuple(one.shape[1:3])) for one in maps)
            rule = f"must be a map of {self.grid}, the grid of task {self.name!r}"
            fix = f"Give the task grid={tuple(maps[-1].shape[1:3])}, or the trunk other strides or pictures."
            if None in maps[-1].shape[1:3]:
                fix = "Give the pictures a size: keras.Input((height, width, channels))."
            raise ValueError(refusal(owner, "features", rule, words(found), fix))

    def hidden_layers(self, features: Any) -> Any:
        """Builds 3x3 convolutions on the map."""
        for index, channels in enumerate(self.hidden, start=1):
            name = f"{self.name}_hidden_{index}"
            layer = keras.layers.Conv2D(
                channels, 3, padding="same", activation="relu", kernel_regularizer=self.regularizer(), name=name
            )
            features = layer(features)
        if self.dropout:
            features = keras.layers.SpatialDropout2D(self.dropout, name=f"{self.name}_dropout")(features)
        return features

    def output(self, features: Any) -> Any:
        """Builds the 1x1 convolution and turns its numbers into boxes."""
        biases = first_biases(*self.grid, self.boxes_per_cell, self.classes, _FIRST_CONFIDENCE)
        raw = keras.layers.Conv2D(
            self.units,
            1,
            kernel_regularizer=self.regularizer(),
            bias_initializer=keras.initializers.Constant(biases),
            dtype="float32",
            name=f"{self.name}_raw",
        )(features)
        return GridOutput(self.boxes_per_cell, dtype="float32", name=self.name)(raw)

    # Reading.

    def kept(self, outputs: Any, score_threshold: float | None = None) -> Kept:
        """The boxes of outputs that are left by non-maximum suppression, best first.

        Args:
            outputs: `(batch, height, width, channels)`.
            score_threshold: In place of the task's.
        """
        number = self.grid[0] * self.grid[1] * self.boxes_per_cell
        return non_maximum_suppression(
            *self.layout.detections(ops.convert_to_tensor(outputs, "float32")),
            iou_threshold=self.iou_threshold,
            score_threshold=self.score_threshold if score_threshold is None else score_threshold,
            most=min(self.most, number),
        )

    def read(self, outputs: Any) -> dict[str, Any]:
        """The objects, best first: boxes in `bounding_box_format`, cut at the picture's edge, classes, scores, number.

        Returns:
            `boxes` `(batch, most, 4)`, `label` and `score` `(batch, most)`, `count` `(batch,)`. Behind the last object
            boxes and labels are -1 (names empty), scores 0. Of a small grid `most` is the number of its boxes.
        """
        found = self.kept(outputs)
        boxes = self.layout.boxes_of(ops.clip(found.corners, 0.0, 1.0))
        boxes = ops.where(ops.expand_dims(found.classes, -1) >= 0, boxes, UNUSED)
        names = None if self.label_names is None else (*self.label_names, "")
        numbers = ops.cast(found.classes, "int64")
        if names is not None:
            numbers = ops.where(numbers >= 0, numbers, self.classes)
        return {
            "boxes": boxes,
            "label": named_classes(names, numbers),
            "score": found.scores,
            "count": ops.cast(found.count, "int64"),
        }

    def read_keys(self) -> list[str]:
        """Full names of what `read` gives."""
        return [f"{self.name}_{end}" for end in ("boxes", "label", "score", "count")]

    def constant_outputs(self, labels: Any) -> list[Any]:
        """None: which box answers for an object depends on the outputs."""
        del labels
        return []

    def example_errors(self, labels: Any, outputs: Any) -> Any:
        """The share of mistakes, 1 - F1 at an overlap of 0.5, of each picture; NaN where its label is missing."""
        errors = mistaken_shares(self.kept(outputs), self.layout.objects(labels), 0.5)
        return np.where(np.isnan(labels).any(axis=(1, 2)), np.nan, np.asarray(errors, "float64"))

    def describe(self, label: Any, output: Any) -> str:
        """Objects of the label and of the output, and how well they agree: `boxes 3 → 2, 0.92 mean IoU`."""
        return f"{self.name} {line_of_boxes(self, label, output)}"

    def draw(self, axis: Any, label: Any, output: Any) -> None:
        """Draws the label's boxes dashed, the output's solid with class and score."""
        draw_boxes(self, axis, label, output)

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        config = super().get_config()
        shape = None if self.image_shape is None else list(self.image_shape)
        loss = self.grid_loss if self.loss is None and self.losses is None else config["loss"]
        return {
            **config,
            "loss": loss,
            "classes": self.classes,
            "grid": list(self.grid),
            "boxes_per_cell": self.boxes_per_cell,
            "bounding_box_format": self.bounding_box_format,
            "image_shape": shape,
            "crowded": self.crowded,
            "label_names": self.label_names,
            "score_threshold": self.score_threshold,
            "iou_threshold": self.iou_threshold,
            "most": self.most,
        }
