"""A label that is a list of boxes."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from keras import ops

from kmtl._checks import Refusals, near, words
from kmtl.tasks import strata
from kmtl.tasks.detection.box_statistics import BoxStatistics
from kmtl.tasks.detection.boxes import FORMATS, from_corners, to_corners
from kmtl.tasks.detection.layout import UNUSED, Layout
from kmtl.tasks.labels import Label


class BoxLabel(Label):
    """The label's side of detection: an array `(rows, 5)` of boxes and their classes."""

    # How the label holds objects.
    layout: Layout
    # Whether objects that no box is left for are "drop"ped from training, or "refuse"d before.
    crowded: str = "refuse"
    way_out_of_lists: ClassVar[str] = "pack lists of boxes by the task's `labels(boxes, classes)`"

    @property
    def label_shape(self) -> tuple[int | None, ...]:
        """Any number of rows, of a box and its class."""
        return (None, 5)

    @property
    def measurement_level(self) -> str:
        """None: a list of boxes is no variable."""
        return ""

    @property
    def dense_axes(self) -> int:
        """0: an example has one label, its list of boxes."""
        return 0

    def labels(self, boxes: Sequence[Any], classes: Sequence[Any], most: int | None = None) -> Any:
        """Packs lists of boxes into labels.

        Args:
            boxes: For each example an array `(n, 4)` in `bounding_box_format`, n from 0 on; None where the label is
                missing.
            classes: For each example n numbers of classes; None where the label is missing.
            most: Rows of a label; those of the fullest example if left out.

        Returns:
            float32 `(examples, rows, 5)`.

        Raises:
            ValueError: If boxes and classes do not fit, or `most` is too small.

        >>> from kmtl.tasks import Detection
        >>> task = Detection("boxes", classes=3, grid=2)
        >>> task.labels([[[0.0, 0.0, 0.5, 0.5]], [], None], [[2], [], None]).tolist()
        [[[0.0, 0.0, 0.5, 0.5, 2.0]], [[-1.0, -1.0, -1.0, -1.0, -1.0]], [[nan, nan, nan, nan, nan]]]
        """
        return packed(f"{type(self).__name__}({self.name!r})", boxes, classes, most)

    def boxes_and_classes(self, labels: Any) -> list[tuple[Any, Any] | None]:
        """The way back of `labels`: `(n, 4)` and `(n,)` of each example, None where its label is missing.

        Args:
            labels: `(examples, rows, 5)`.
        """
        return unpacked(labels)

    def present(self, labels: Any) -> Any:
        """Tells which labels are there, for each element: a label with NaN in it is missing as a whole."""
        there = ~(labels != labels)
        if isinstance(there, np.ndarray):
            return np.broadcast_to(there.all(axis=(-2, -1), keepdims=True), there.shape)
        return ops.broadcast_to(ops.all(there, axis=(-2, -1), keepdims=True), ops.shape(there))

    def possible(self, labels: Any) -> Any:
        """Tells which rows are missing, unused, or a box inside the picture with a class, an element each."""
        rows = ops.expand_dims(self.layout.possible(labels), -1)
        if isinstance(labels, np.ndarray):
            return np.broadcast_to(ops.convert_to_numpy(rows), labels.shape)
        return ops.broadcast_to(rows, ops.shape(labels))

    def check_labels(self, refusals: Refusals, argument: str, dtype: Any, shape: Sequence[int | None]) -> None:
        """Records labels of a wrong dtype or shape, and such without a row."""
        label = f"{argument}[{self.name!r}]"
        if len(shape) == 3 and shape[1] == 0:
            refusals.add(label, "must have a row at least", tuple(shape), "A row of -1 says that there is no object.")
        else:
            super().check_labels(refusals, argument, dtype, shape)

    def stand_in(self, labels: Any, predictions: Any) -> Any:
        """Rows that hold no object."""
        del predictions
        return ops.full_like(labels, UNUSED)

    def statistics(self) -> BoxStatistics:
        """Makes what counts objects, and tells which rows are none."""
        return BoxStatistics(self, self.layout, drops=self.crowded == "drop")

    # How a label goes with its picture.

    @property
    def moves_as(self) -> str:
        """As boxes."""
        return "bounding_boxes"

    def to_moved(self, labels: Any, size: tuple[Any, Any]) -> dict[str, Any]:
        """Boxes as Keras's layers take them: `xyxy` in pixels, and classes, -1 where a row holds no object."""
        used = self.present(labels)[..., 0] & (labels[..., 4] >= 0)
        sides = ops.convert_to_tensor([size[1], size[0]] * 2, "float32")
        corners = to_corners(labels[..., :4], self.layout.bounding_box_format, size) * sides
        return {"boxes": ops.where(used[..., None], corners, 0.0), "labels": ops.where(used, labels[..., 4], UNUSED)}

    def from_moved(self, moved: Any, size: tuple[Any, Any]) -> Any:
        """The rows again; one whose box has left the picture is unused."""
        sides = ops.convert_to_tensor([size[1], size[0]] * 2, "float32")
        boxes = from_corners(moved["boxes"] / sides, self.layout.bounding_box_format, size)
        classes = ops.cast(moved["labels"], "float32")[..., None]
        return ops.where(classes >= 0, ops.concatenate([boxes, classes], axis=-1), UNUSED)

    def strata(self, labels: Any, bins: int) -> Any:
        """Pictures with the same number of objects are alike."""
        count = (labels[..., 4] >= 0).sum(axis=-1)
        there = self.present(labels)[:, 0, 0]
        return strata.strata(count, there, bins, whole=True, dense_axes=0)


def check_format(refusals: Refusals, form: Any, image_shape: Sequence[int] | None) -> None:
    """Records a format that Keras does not know, and a picture's size that is missing or of no use.

    Args:
        refusals: Where to record.
        form: As `bounding_box_format`.
        image_shape: Height and width of the picture in pixels; None where nobody said.
    """
    if form not in FORMATS:
        refusals.add("bounding_box_format", "must be one of Keras's", form, near(str(form), FORMATS))
    elif form.startswith("rel_") and image_shape is not None:
        refusals.add("image_shape", f"must be left out: {form!r} is in fractions", image_shape)
    elif not form.startswith("rel_") and (image_shape is None or len(image_shape) != 2):
        rule = f"must be (height, width): {form!r} is in pixels"
        refusals.add("image_shape", rule, image_shape, f"Or label fractions: 'rel_{form}'.")


def packed(owner: str, boxes: Sequence[Any], classes: Sequence[Any], most: int | None = None) -> Any:
    """Packs boxes and classes into labels.

    Args:
        owner: For the message.
        boxes: For each example `(n, 4)`, n from 0 on; None where the label is missing.
        classes: For each example n numbers; None where the label is missing.
        most: Rows of a label; those of the fullest example if left out.

    Returns:
        float32 `(examples, rows, 5)`, unused rows -1, missing labels NaN.

    Raises:
        ValueError: If the two do not fit, or an example has more than `most` boxes.
    """
    with Refusals(owner) as refusals:
        if len(boxes) != len(classes):
            refusals.add("classes", f"must be given for {len(boxes)} examples, as boxes are", len(classes))
        pairs = []
        for place, (own, names) in enumerate(zip(boxes, classes, strict=False)):
            rows = None if own is None else np.asarray(own, "float32").reshape(-1, 4 if np.size(own) else 1)[:, :4]
            found = np.zeros(0) if names is None else np.ravel(names)
            if (own is None) != (names is None) or (rows is not None and len(rows) != len(found)):
                got = words(f"{'no label' if rows is None else len(rows)} and {len(found)} classes")
                refusals.add(f"boxes[{place}]", "must have a class each", got)
            pairs.append((rows, found))
        full = max([1, *(len(rows) for rows, _ in pairs if rows is not None)])
        if most is not None and full > most:
            refusals.add("most", f"must be at least {full}, the boxes of the fullest example", most)
    labels = np.full((len(pairs), most or full, 5), UNUSED, "float32")
    for label, (rows, names) in zip(labels, pairs, strict=True):
        if rows is None:
            label[:] = np.nan
        elif len(rows):
            label[: len(rows), :4], label[: len(rows), 4] = rows, names
    return labels


def unpacked(labels: Any) -> list[tuple[Any, Any] | None]:
    """Boxes `(n, 4)` and classes `(n,)` of each label; None where one is missing."""
    return [_one(label) for label in np.asarray(labels)]


def _one(label: Any) -> tuple[Any, Any] | None:
    """Boxes and classes of one label."""
    if np.isnan(label).any():
        return None
    used = label[label[:, 4] >= 0]
    return used[:, :4], used[:, 4].astype("int64")
