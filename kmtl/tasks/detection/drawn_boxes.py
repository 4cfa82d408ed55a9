"""Boxes of a label and of an output in one picture, and in a line."""

from typing import Any

import numpy as np
from keras import ops

from kmtl.tasks.detection.average_precision import hits
from kmtl.tasks.detection.boxes import iou, pairwise
from kmtl.tasks.detection.suppression import Kept

_COLORS = 10
# Height of a line of text, in pictures.
_LINE = 0.08


def line_of_boxes(task: Any, label: Any, output: Any) -> str:
    """Numbers of objects, and the mean overlap of those that were found: `3 → 2, 0.92 mean IoU`.

    Args:
        task: A `Detection`.
        label: `(rows, 5)`, or None.
        output: `(height, width, channels)`.
    """
    found = task.kept(np.asarray(output)[None])
    count = int(found.count[0])
    if label is None or np.isnan(label).any():
        return f"? → {count}"
    objects = task.layout.objects(np.asarray(label)[None])
    truth = int(ops.sum(ops.cast(objects.there, "int32")))
    good = np.asarray(hits(found, objects, 0.5))[0]
    same = ops.equal(ops.expand_dims(found.classes, -1), ops.expand_dims(objects.classes, -2))
    overlaps = ops.where(same, pairwise(iou, found.corners, objects.corners), 0.0)
    best = np.asarray(ops.max(overlaps, axis=-1))[0][good]
    return f"{truth} → {count}{f', {best.mean():.2f} mean IoU' if len(best) else ''}"


def draw_boxes(task: Any, axis: Any, label: Any, output: Any) -> None:
    """Draws boxes over a picture: those of the label dashed, those of the output solid with class and score.

    Args:
        task: A `Detection`.
        axis: A matplotlib axis that shows the picture.
        label: `(rows, 5)`, or None.
        output: `(height, width, channels)`.
    """
    if label is not None and not np.isnan(label).any():
        objects = task.layout.objects(np.asarray(label)[None])
        for corners, number in _rows(objects.corners, objects.classes, objects.there):
            _draw(axis, corners, f"C{number % _COLORS}", linestyle="--", linewidth=1.0)
    found = task.kept(np.asarray(output)[None])
    scores = np.asarray(found.scores)[0]
    for place, (corners, number) in enumerate(_kept_rows(found)):
        color = f"C{number % _COLORS}"
        left, top = _draw(axis, corners, color, linewidth=1.6)
        # Above the box, but inside of the picture.
        side = "top" if corners[1] < _LINE else "bottom"
        text = f"{task.class_name(number)} {scores[place]:.2f}"
        back = {"facecolor": color, "edgecolor": "none", "pad": 0.8, "alpha": 0.8}
        axis.text(left, top, text, color="white", fontsize=6, va=side, bbox=back, clip_on=True)


def _kept_rows(found: Kept) -> list[tuple[Any, int]]:
    """Corners and class of each box that is left."""
    return _rows(found.corners, found.classes, found.classes >= 0)


def _rows(corners: Any, classes: Any, there: Any) -> list[tuple[Any, int]]:
    """Corners and class of each row of the first example that is there."""
    keep = np.asarray(there)[0]
    return list(zip(np.asarray(corners)[0][keep], np.asarray(classes)[0][keep].tolist(), strict=True))


def _draw(axis: Any, corners: Any, color: str, **style: Any) -> tuple[float, float]:
    """Draws one box; returns where its left upper corner is."""
    from matplotlib.patches import Rectangle

    left, right, bottom, top = axis.images[-1].get_extent() if axis.images else (0.0, 1.0, 1.0, 0.0)
    x1, y1, x2, y2 = np.clip(corners, 0.0, 1.0)
    first = left + x1 * (right - left), top + y1 * (bottom - top)
    size = (x2 - x1) * (right - left), (y2 - y1) * (bottom - top)
    axis.add_patch(Rectangle(first, *size, fill=False, edgecolor=color, **style))
    return first
