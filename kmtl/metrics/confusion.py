"""Confusion matrices: which classes a task takes for which."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from kmtl import _figures
from kmtl._figures import Picture
from kmtl.tasks import Task

# More panels, classes with a name on the axis and cells with a number are not to be read.
_MOST_PANELS, _MOST_NAMES, _MOST_NUMBERS = 12, 30, 15
_MOST_MISTAKES = 3


class Confusion(NamedTuple):
    """What was decided of the labels of a task, or of one element of them.

    Attributes:
        name: Of the task, or of the element.
        classes: Names of the classes.
        counts: Labels of each class (rows) by what was decided of them (columns), `(classes, classes)`.
    """

    name: str
    classes: Sequence[str]
    counts: Any

    @property
    def right(self) -> float:
        """Share of the labels that were decided right; NaN without labels."""
        total = self.counts.sum()
        return float(np.trace(self.counts) / total) if total else float("nan")

    def mistakes(self) -> list[str]:
        """The most frequent mistakes in words.

        >>> Confusion("pet", ["cat", "dog"], np.array([[3, 1], [0, 4]])).mistakes()
        ["'cat' taken for 'dog' (1 of 4)"]
        """
        wrong = self.counts * (1 - np.eye(len(self.counts), dtype="int64"))
        places = np.argsort(wrong, axis=None, kind="stable")[::-1][:_MOST_MISTAKES]
        pairs = [divmod(int(place), len(wrong)) for place in places if wrong.flat[place]]
        names, totals = self.classes, self.counts.sum(axis=1)
        return [f"{names[row]!r} taken for {names[at]!r} ({wrong[row, at]} of {totals[row]})" for row, at in pairs]


def confusions(task: Task, labels: Any, outputs: Any) -> list[Confusion]:
    """Counts what a task of classes decided, one matrix or one an element of its label; none of a task of values.

    Args:
        task: The task.
        labels: `(n, *label_shape)`; what is missing counts nowhere.
        outputs: `(n, *output_shape)`.
    """
    if not task.decides:
        return []
    decided = ops.convert_to_numpy(task.decide(outputs)).astype("int64")
    truth = np.asarray(labels).reshape(decided.shape)
    there = np.asarray(task.present(truth))
    if task.weighs_classes:
        names = [task.class_name(number) for number in range(task.classes)]
        return [Confusion(task.name, names, count_pairs(truth[there], decided[there], task.classes))]
    found = []
    for place in range(truth.shape[-1]):
        rows = there[..., place]
        counts = count_pairs(truth[..., place][rows], decided[..., place][rows], 2)
        found.append(Confusion(f"{task.name}: {task.class_name(place)}", ["no", "yes"], counts))
    return found


def count_pairs(truth: Any, decided: Any, classes: int) -> Any:
    """How often each class was decided for each true one, `(classes, classes)`.

    >>> count_pairs(np.array([0, 0, 1]), np.array([0, 1, 1]), 2).tolist()
    [[1, 1], [0, 1]]
    """
    cells = classes * truth.astype("int64") + decided
    return np.bincount(cells.ravel(), minlength=classes**2).reshape(classes, classes)


def confusion_picture(task: Task, found: Sequence[Confusion]) -> Picture:
    """Draws confusion matrices as shares of each row, the counts in their cells."""
    shown = found[:_MOST_PANELS]
    size = min(2.6 + 0.22 * len(found[0].classes), 7.0)
    figure, axes = _figures.panels(len(shown), columns=4, width=size, height=size)
    for axis, one in zip(axes, shown, strict=False):
        _draw(axis, one)
    lines = [_told(one) for one in shown]
    left = [f"{len(found) - len(shown)} more labels are not drawn."] if len(found) > len(shown) else []
    return Picture(f"Confusion of {task.name}", figure, " ".join([*lines, *left]))


def _draw(axis: Any, one: Confusion) -> None:
    """One matrix; the colour of a cell is its share of the row."""
    share = one.counts / np.maximum(one.counts.sum(axis=1, keepdims=True), 1)
    image = axis.imshow(share, cmap="Blues", vmin=0, vmax=1)
    count = len(one.classes)
    if count <= _MOST_NUMBERS:
        for row, column in np.ndindex(count, count):
            colour = _figures.ink(image.to_rgba(share[row, column]))
            number = str(one.counts[row, column])
            axis.text(column, row, number, ha="center", va="center", color=colour, fontsize=8)
    names = [name if len(name) <= 16 else f"{name[:15]}…" for name in one.classes] if count <= _MOST_NAMES else []
    turned = 90 if any(len(name) > 2 for name in names) else 0
    axis.set_xticks(range(len(names)), names, rotation=turned, fontsize=8)
    axis.set_yticks(range(len(names)), names, fontsize=8)
    axis.set_xlabel("decided")
    axis.set_ylabel("label")
    axis.set_title(f"{one.name}: {one.right:.1%} right", fontsize=10)


def _told(one: Confusion) -> str:
    """A matrix in words."""
    total, mistakes = int(one.counts.sum()), one.mistakes()
    most = f" Most frequent mistakes: {', '.join(mistakes)}." if mistakes else ""
    return f"{one.name}: {one.right:.1%} of {total:,} labels right.{most}" if total else f"{one.name}: no labels."
