"""Shapes of which a side may vary."""

import math
from collections.abc import Sequence
from typing import Any

from keras import ops

from kmtl._checks import refusal


def same_shape(shape: Sequence[int | None], wanted: Sequence[int | None]) -> bool:
    """Whether two shapes agree, an unknown size with anything.

    >>> same_shape((None, 2), (8, 2)), same_shape((8,), (8, 1))
    (True, False)
    """
    known = all(a is None or b is None or a == b for a, b in zip(shape, wanted, strict=False))
    return len(shape) == len(wanted) and known


def known_shape(shape: Sequence[int | None], side: int = 1) -> tuple[int, ...]:
    """A shape with a size for every side that varies.

    >>> known_shape((None, 2))
    (1, 2)
    """
    return tuple(side if size is None else size for size in shape)


def elements_of(shape: Sequence[int | None]) -> int:
    """Number of elements of a shape; a side that varies counts as several."""
    return math.prod(known_shape(shape, 2))


def at_places(task: Any, labels: Any, outputs: Any) -> Any:
    """Gives labels of places whose number varies the shape in which a loss compares them with outputs.

    Args:
        task: The task.
        labels: `(batch, *places, ...)`; one place stands for all, as where all labels are absent.
        outputs: `(batch, *places, ...)`; None leaves the places as they are.

    Raises:
        ValueError: If they are known to have other places.
    """
    axes = task.dense_axes
    if outputs is not None:
        _check_places(task, tuple(labels.shape[1 : 1 + axes]), tuple(outputs.shape[1 : 1 + axes]))
        places = ops.shape(outputs)[1 : 1 + axes]
        labels = ops.broadcast_to(labels, (ops.shape(labels)[0], *places, *ops.shape(labels)[1 + axes :]))
    more = 1 + len(task.loss_shape) - len(labels.shape)
    return ops.expand_dims(labels, tuple(range(-more, 0))) if more else labels


def _check_places(task: Any, sides: tuple[int | None, ...], wanted: tuple[int | None, ...]) -> None:
    """Refuses labels that are known to have other places than the output."""
    pairs = zip(sides, wanted, strict=True)
    if any(label not in (1, None) and output is not None and label != output for label, output in pairs):
        rule = f"must have the output's places, {wanted}"
        fix = "Resize the labels with `nearest`, or give the task shape=(height, width)." if len(sides) == 2 else ""
        raise ValueError(refusal("fit", f"y[{task.name!r}]", rule, sides, fix))
