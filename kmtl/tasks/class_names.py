"""Classes by their names."""

from typing import Any

from keras import ops


def named_classes(names: tuple[str, ...] | None, numbers: Any) -> Any:
    """Names of classes as a string tensor, where there are names; else the numbers."""
    return numbers if names is None else ops.take(ops.convert_to_tensor(list(names), dtype="string"), numbers, axis=0)
