"""How a label goes along where its image is turned, flipped, shifted or cut by Keras's image layers."""

from typing import Any

from keras import ops

from kmtl.tasks.labels import Label


class MovedLabel(Label):
    """The label's side of a task, with what of it lies in the image; a kind says below only what differs."""

    @property
    def moves_as(self) -> str:
        """Under which key Keras's image layers move the label with its image; empty where it stays as it is.

        `"segmentation_masks"` for a label a pixel, `"bounding_boxes"`.
        """
        return "segmentation_masks" if self.dense_axes == 2 else ""

    def to_moved(self, labels: Any, size: tuple[Any, Any]) -> Any:
        """Brings labels to the form in which a layer moves them; boxes in pixels, `xyxy`.

        A label a pixel comes with two marks for each of its numbers, 1 and -1 where it is there, 0 and 0 where not:
        no single value with which a layer fills what comes in from outside looks like that.

        Args:
            labels: `(batch, height, width, ...)`.
            size: Height and width of the image.

        Returns:
            `(batch, height, width, 3 * numbers)`, float32, or Keras's dict of `boxes` and `labels`.
        """
        del size
        labels = labels if len(self.label_shape) > self.dense_axes else labels[..., None]
        here = self.present(labels)
        values = ops.cast(ops.where(here, labels, ops.zeros_like(labels)), "float32")
        mark = ops.cast(here, "float32")
        return ops.concatenate([values, mark, -mark], axis=-1)

    def from_moved(self, moved: Any, size: tuple[Any, Any]) -> Any:
        """The labels again, after the image was moved; what came in from outside is missing.

        Args:
            moved: As `to_moved` made it, moved.
            size: Height and width of the moved image.
        """
        del size
        values, mark, negative = ops.split(moved, 3, axis=-1)
        here = (mark == 1.0) & (negative == -1.0)
        if self.label_dtype == "int32":
            values = ops.cast(ops.round(values), "int32")
        labels = ops.where(here, values, ops.full_like(values, self.missing))
        return labels if len(self.label_shape) > self.dense_axes else labels[..., 0]
