"""Which classes are taken for which."""

from typing import Any

import numpy as np

from kmtl import _figures
from kmtl._checks import require, words
from kmtl.metrics.report import decisions
from kmtl.tasks import Task

# More numbers than these, or names, cannot be read in one figure.
_NUMBERS_UP_TO, _NAMES_UP_TO = 12, 40


def confusion_matrix(task: Task, labels: Any, predictions: Any) -> Any:
    """Counts the decisions of a classification by their label; examples without a label do not count.

    Args:
        task: A task that decides for one of its classes; of a segmentation each pixel counts.
        labels: True labels, `(n, ...)`; -1 where missing.
        predictions: The model's output for the task.

    Returns:
        Whole numbers `(classes, classes)`: row i, column j holds the examples of class i that were taken for j.

    Raises:
        ValueError: If the task does not decide for one of several classes, or no example is labelled.

    >>> from kmtl.tasks import BinaryClassification
    >>> outputs = np.array([[0.1], [0.8], [0.3], [0.9]])
    >>> confusion_matrix(BinaryClassification("spam"), np.array([0, 1, 1, -1]), outputs).tolist()
    [[1, 0], [1, 1]]
    """
    one_of_classes = task.decides and task.weighs_classes
    got = words(repr(task))
    require(one_of_classes, "confusion_matrix", "task", "must decide for one of several classes", got)
    truth, decided = decisions(task, labels, predictions, "confusion_matrix")
    size = task.classes
    return np.bincount(truth.astype("int64") * size + decided, minlength=size**2).reshape(size, size)


def confusion_figure(task: Task, counts: Any) -> Any:
    """Draws a confusion matrix: the darker a cell, the larger its share of the row; few classes have their counts.

    Args:
        task: The task, for the names of its classes.
        counts: As `confusion_matrix` gives them.

    Returns:
        A matplotlib figure.
    """
    size = len(counts)
    side = min(2.5 + 0.35 * size, 9)
    figure, (axis,) = _figures.panels(1, columns=1, width=side, height=side)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if size <= _NUMBERS_UP_TO:
        for row, column in np.ndindex(size, size):
            color = "white" if shares[row, column] > 0.5 else "black"
            axis.text(column, row, str(counts[row, column]), ha="center", va="center", color=color, fontsize=8)
    if size <= _NAMES_UP_TO:
        names = [task.class_name(number) for number in range(size)]
        axis.set_xticks(range(size), names, rotation=45 if max(map(len, names)) > 2 else 0, fontsize=8)
        axis.set_yticks(range(size), names, fontsize=8)
    axis.set_xlabel("prediction")
    axis.set_ylabel("label")
    axis.set_title(f"{task.name}: {np.trace(counts)} of {counts.sum()} right", fontsize=10)
    return figure
