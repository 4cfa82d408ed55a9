"""Which variables tasks share."""

from collections.abc import Sequence
from typing import Any


def shared_among(variables: Sequence[Any], by_task: Sequence[Sequence[Any]], own: Sequence[Any]) -> list[Any]:
    """Lists the variables that more than one task's output depends on.

    Args:
        variables: All trainable variables.
        by_task: Those behind each task's output.
        own: Variables whose slices belong to one task each, as a fused head's kernel.
    """
    counts: dict[int, int] = {}
    for found in by_task:
        for variable in found:
            counts[id(variable)] = counts.get(id(variable), 0) + 1
    sliced = {id(variable) for variable in own}
    return [item for item in variables if counts.get(id(item), 0) > 1 and id(item) not in sliced]
