"""Mean average precision as a metric that streams."""

from typing import Any

import keras
from keras import ops

from kmtl.tasks.detection.boxes import iou
from kmtl.tasks.detection.layout import Layout, Objects
from kmtl.tasks.detection.suppression import Kept, non_maximum_suppression

# Boxes of a lower score are not ranked: they are beyond every use, and many.
RANKED_FROM = 0.01
# Recalls at which COCO reads a curve.
_RECALLS = 101


def hits(found: Kept, objects: Objects, threshold: float) -> Any:
    """Tells which boxes find an object: as COCO does, each takes the free object of its class that it overlaps most.

    Args:
        found: Boxes, best first.
        objects: The objects.
        threshold: The least overlap.

    Returns:
        Booleans `(batch, most)`.
    """
    most = found.classes.shape[1]
    last = ops.max(found.count)

    def goes_on(step: Any, *_: Any) -> Any:
        return step < last

    def take(step: Any, free: Any, good: Any) -> tuple[Any, ...]:
        now = ops.equal(ops.expand_dims(ops.arange(most, dtype="int32"), 0), step)
        box = ops.sum(ops.where(ops.expand_dims(now, -1), found.corners, 0.0), axis=1, keepdims=True)
        name = ops.sum(ops.where(now, found.classes, 0), axis=1, keepdims=True)
        overlap = ops.where(free & ops.equal(objects.classes, name), iou(box, objects.corners), -1.0)
        hit = ops.max(overlap, axis=-1, keepdims=True) >= threshold
        taken = ops.one_hot(ops.argmax(overlap, axis=-1), free.shape[-1] or ops.shape(free)[-1], dtype="bool")
        return step + 1, free & ~(taken & hit), good | (now & hit)

    start = (ops.convert_to_tensor(0, "int32"), objects.there, ops.zeros_like(found.classes, dtype="bool"))
    return ops.while_loop(goes_on, take, start)[2] & (found.classes >= 0)


def mistaken_shares(found: Kept, objects: Objects, threshold: float) -> Any:
    """The share of mistakes of each picture: boxes that find no object, and objects that no box finds.

        1 - 2 hits / (boxes + objects)

    It is 1 - F1. Of a picture without boxes and without objects it is 0.

    Args:
        found: Boxes, best first.
        objects: The objects.
        threshold: The least overlap of a hit.

    Returns:
        `(batch,)`.
    """
    good = ops.sum(ops.cast(hits(found, objects, threshold), "float32"), axis=-1)
    number = ops.cast(found.count, "float32") + ops.sum(ops.cast(objects.there, "float32"), axis=-1)
    return ops.where(number > 0, 1.0 - 2.0 * good / ops.maximum(number, 1.0), 0.0)


def curve_area(good: Any, bad: Any, number: Any) -> Any:
    """Average precision of each class from boxes counted by score: the mean of the best precision from each recall on.

    It is COCO's, the mean over the recalls 0, 0.01, ..., 1, with the boxes of one bin taken at once.

    Args:
        good: Boxes that find an object, `(classes, bins)`, by rising score.
        bad: Boxes that find none.
        number: Objects of each class, `(classes,)`.

    Returns:
        `(classes,)`; 0 for a class without objects.

    >>> float(curve_area(ops.array([[0.0, 1.0]]), ops.array([[1.0, 0.0]]), ops.array([1.0]))[0])
    1.0
    """
    found, missed = (ops.flip(ops.cumsum(ops.flip(one, axis=-1), axis=-1), axis=-1) for one in (good, bad))
    precision = found / ops.maximum(found + missed, 1e-9)
    recall = found / ops.maximum(ops.expand_dims(number, -1), 1e-9)
    wanted = ops.reshape(ops.linspace(0.0, 1.0, _RECALLS), (1, -1, 1))
    # A recall that is reached up to rounding is reached; sums of weights round.
    reached = ops.expand_dims(recall, 1) >= wanted - 1e-6
    best = ops.max(ops.where(reached, ops.expand_dims(precision, 1), 0.0), axis=-1)
    return ops.mean(best, axis=-1)


@keras.saving.register_keras_serializable(package="kmtl")
class MeanAveragePrecision(keras.metrics.Metric):
    """Mean average precision at one overlap, over the classes that occur, from counts of boxes by class and score.

    The counts are sums, so that batches and replicas add up. Boxes whose scores fall into one of `bins` equal bins are
    taken at once: with enough bins that is the exact figure, which `Detection.average_precision` has. NaN before any
    object was seen.

    Args:
        layout: Of the output and the labels: a `Layout`, or its fields.
        iou_threshold: Least overlap at which a box finds an object.
        suppression: Boxes of one class that overlap more than this are the same object.
        most: Boxes of a picture that count, the best ones.
        bins: Bins of the score.
        **options: Keras metric options.
    """

    def __init__(
        self,
        layout: Any,
        *,
        iou_threshold: float = 0.5,
        suppression: float = 0.5,
        most: int = 100,
        bins: int = 256,
        **options: Any,
    ) -> None:
        super().__init__(**{"name": "map50", "dtype": "float32", **options})
        self.layout = layout if isinstance(layout, Layout) else Layout.of(layout)
        self.iou_threshold, self.suppression, self.most, self.bins = iou_threshold, suppression, most, bins
        shape = (self.layout.classes, bins)
        self.good = self.add_variable(shape, initializer="zeros", name="good")
        self.bad = self.add_variable(shape, initializer="zeros", name="bad")
        self.number = self.add_variable(shape[:1], initializer="zeros", name="number")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds a batch.

        Args:
            y_true: Labels `(batch, rows, 5)`.
            y_pred: Outputs `(batch, height, width, channels)`.
            sample_weight: One a picture, or one an element of its label, of which the least counts.
        """
        objects = self.layout.objects(y_true)
        weight = ops.ones_like(ops.cast(y_true, "float32")[:, 0, 0])
        if sample_weight is not None:
            each = ops.cast(sample_weight, "float32")
            weight = ops.min(each, axis=tuple(range(1, len(each.shape)))) if len(each.shape) > 1 else each
        found = non_maximum_suppression(
            *self.layout.detections(ops.cast(y_pred, "float32")),
            iou_threshold=self.suppression,
            score_threshold=RANKED_FROM,
            most=min(self.most, self.layout.height * self.layout.width * self.layout.boxes),
        )
        good = hits(found, objects, self.iou_threshold)
        there = found.classes >= 0
        self.good.assign(self.good + self._counts(found, weight, there & good))
        self.bad.assign(self.bad + self._counts(found, weight, there & ~good))
        marks = ops.one_hot(objects.classes, self.layout.classes) * ops.expand_dims(
            ops.cast(objects.there, "float32"), -1
        )
        self.number.assign(self.number + ops.sum(marks * ops.reshape(weight, (-1, 1, 1)), axis=(0, 1)))

    def _counts(self, found: Kept, weight: Any, chosen: Any) -> Any:
        """Weights of the chosen boxes by class and bin, `(classes, bins)`."""
        place = ops.clip(ops.cast(ops.floor(found.scores * self.bins), "int32"), 0, self.bins - 1)
        ids = ops.maximum(found.classes, 0) * self.bins + place
        values = ops.where(chosen, ops.expand_dims(weight, -1), 0.0)
        number = self.layout.classes * self.bins
        sums = ops.segment_sum(ops.reshape(values, (-1,)), ops.reshape(ids, (-1,)), num_segments=number)
        return ops.reshape(sums, (self.layout.classes, self.bins))

    def result(self) -> Any:
        """The mean over the classes that have objects."""
        occurs = ops.cast(self.number > 0, "float32")
        total = ops.sum(curve_area(self.good, self.bad, self.number) * occurs)
        count = ops.sum(occurs)
        return ops.where(count > 0, total / ops.maximum(count, 1.0), float("nan"))

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        own = {"layout": self.layout.fields, "iou_threshold": self.iou_threshold, "suppression": self.suppression}
        return {**super().get_config(), **own, "most": self.most, "bins": self.bins}
