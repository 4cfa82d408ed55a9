"""Means over the axes of a label, of the elements that are there."""

from typing import Any

from keras import ops


def trailing(axes: int) -> Any:
    """The last axes of a tensor, as a reduction takes them."""
    return -1 if axes == 1 else tuple(range(-axes, 0))


def mean_of_present(values: Any, present: Any, axes: int = 1) -> tuple[Any, Any]:
    """Averages each label's elements that are there, over the last axes; a label with none does not count.

    >>> values, counted = mean_of_present(ops.array([[1.0, 3.0], [5.0, 9.0]]), ops.array([[True, True], [True, False]]))
    >>> values.numpy().tolist(), counted.numpy().tolist()
    ([2.0, 5.0], [True, True])
    """
    count = ops.sum(ops.cast(present, "float32"), axis=trailing(axes))
    total = ops.sum(ops.where(present, values, 0.0), axis=trailing(axes))
    return total / ops.maximum(count, 1.0), ops.greater(count, 0.0)
