"""Labels for rows that have none, of the classes that two models are surest of."""

from collections.abc import Sequence
from typing import Any

import numpy as np


def confident_labels(
    labels: Any, probabilities: Sequence[Any], open_rows: Any, take: float, missing: int | float = -1
) -> Any:
    """Gives labels to the rows that each model is surest of, as many of a class as the labels had it at the start.

    Args:
        labels: Labels now, `(rows,)`, those given before among them.
        probabilities: Of each model, `(rows, classes)`.
        open_rows: Rows that had no label at the start and may get one, `(rows,)`.
        take: How many a model labels, as a share of the open rows; of each class that occurs at least one.
        missing: What stands for no label.

    Returns:
        The labels with the new ones; a row that two models call differently stays without.

    >>> sure = np.array([[1, 0], [0, 1], [0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.4, 0.6]])
    >>> start = np.array([0, 1, -1, -1, -1, -1])
    >>> confident_labels(start, [sure], start < 0, 0.25).tolist()
    [0, 1, 0, -1, 1, -1]
    """
    labels = np.array(labels)
    flat = labels.reshape(-1)
    start = flat[~open_rows & (flat != missing)].astype("int64")
    shares = np.bincount(start, minlength=probabilities[0].shape[-1]) / max(len(start), 1)
    quota = np.where(shares > 0, np.maximum(1, np.round(shares * take * open_rows.sum())), 0).astype("int64")
    free = np.flatnonzero(open_rows & (flat == missing))
    given: dict[int, set[int]] = {}
    for found in probabilities:
        best, sure = found[free].argmax(axis=-1), found[free].max(axis=-1)
        for number, most in enumerate(quota):
            places = np.flatnonzero(best == number)
            order = places[np.argsort(-sure[places], kind="stable")[:most]]
            for row in free[order].tolist():
                given.setdefault(row, set()).add(number)
    for row, classes in given.items():
        if len(classes) == 1:
            flat[row] = classes.pop()
    return labels
