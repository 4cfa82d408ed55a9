"""Several tensors into one layer: their order, their shapes, and which rows of each are there."""

from collections.abc import Mapping, Sequence
from typing import Any

from keras import ops

from kmtl._checks import refusal, words


def in_order(branches: Any) -> list[Any]:
    """The branches as a list; those of a dict in the order of their names, which no saved file changes."""
    return [branches[name] for name in sorted(branches)] if isinstance(branches, Mapping) else list(branches)


def branch_names(branches: Any) -> list[str]:
    """What each branch is called, in that order: its name in a dict, or its place."""
    return sorted(branches) if isinstance(branches, Mapping) else [str(place) for place in range(len(branches))]


def checked_shapes(owner: str, shapes: Any, *, one_width: str = "") -> list[tuple[int | None, ...]]:
    """Returns the shapes of the branches in order, or refuses what no layer can put together.

    Args:
        owner: For the message.
        shapes: A list or a dict of shapes.
        one_width: What to do about branches of unlike widths; empty where they may be unlike.
    """
    listed = list(in_order(shapes)) if isinstance(shapes, Mapping | Sequence) else []
    several = len(listed) > 1 and all(isinstance(shape, list | tuple) for shape in listed)
    if not several:
        fix = "Give a list [a, b] or a dict {name: tensor} of them."
        raise ValueError(refusal(owner, "inputs", "must be two or more tensors", words(f"shape {shapes}"), fix))
    found = [tuple(shape) for shape in listed]
    shown = dict(zip(branch_names(shapes), found, strict=True)) if isinstance(shapes, Mapping) else found
    if any(len(shape) < 2 or shape[-1] is None for shape in found):
        raise ValueError(refusal(owner, "inputs", "must be (batch, ..., width), the width known", shown))
    if len({len(shape) for shape in found}) > 1 or any(map(_differ, _sides(found))):
        rule = "must be vectors, sequences or maps of one kind, with the same sides"
        fix = "Pool maps and sequences (kmtl.trunks.pool), or resize them, first."
        raise ValueError(refusal(owner, "inputs", rule, shown, fix))
    if one_width and len({shape[-1] for shape in found}) > 1:
        raise ValueError(refusal(owner, "inputs", "must have one width", shown, one_width))
    return found


def merged_sides(shapes: Sequence[Sequence[int | None]]) -> tuple[int | None, ...]:
    """Batch and sides of what several branches become: what any of them knows."""
    return tuple(next((side for side in sides if side is not None), None) for sides in _sides(shapes))


def _sides(shapes: Sequence[Sequence[int | None]]) -> list[tuple[int | None, ...]]:
    """What several shapes say of each axis but the last."""
    return list(zip(*(shape[:-1] for shape in shapes), strict=True))


def _differ(sides: Sequence[int | None]) -> bool:
    """Whether an axis has two known sizes."""
    return len({side for side in sides if side is not None}) > 1


def presence(owner: str, branches: Any, present: Any) -> list[Any] | None:
    """Which rows of each branch are there, shaped to be held against it; None where all are.

    Args:
        owner: For the message.
        branches: A list or a dict of tensors.
        present: None, or bools `(batch,)` for each, in the same form.

    Raises:
        ValueError: If there is not one for each, or one has no such shape.
    """
    if present is None:
        return None
    same = isinstance(present, Mapping) == isinstance(branches, Mapping)
    if not same or not isinstance(present, Mapping | list | tuple) or branch_names(present) != branch_names(branches):
        got = words(str(branch_names(present)) if isinstance(present, Mapping | list | tuple) else str(type(present)))
        fix = f"It needs {branch_names(branches)}: kmtl.sharing.present_rows(input) for each."
        raise ValueError(refusal(owner, "present", "must hold one mask a branch, as the branches do", got, fix))
    masks, tensors = in_order(present), in_order(branches)
    for mask in masks:
        if len(mask.shape) != 1:
            fix = "kmtl.sharing.present_rows(input) makes it."
            raise ValueError(refusal(owner, "present", "must hold bools of shape (batch,)", tuple(mask.shape), fix))
    ranks = [len(tensor.shape) for tensor in tensors]
    return [
        ops.reshape(ops.cast(mask, "bool"), (-1, *[1] * (rank - 1))) for mask, rank in zip(masks, ranks, strict=True)
    ]


def without_missing(tensors: Sequence[Any], there: Sequence[Any] | None) -> list[Any]:
    """Zeros in the rows that are missing, and no gradient, whatever stands there."""
    if there is None:
        return list(tensors)
    return [ops.where(mask, one, ops.zeros_like(one)) for mask, one in zip(there, tensors, strict=True)]


def either_mask(masks: Any) -> Any:
    """The mask of the padding of what tensors become: a place counts where it counts in any; None if all do."""
    listed = [None] if masks is None else in_order(masks)
    if any(mask is None for mask in listed):
        return None
    return any_of(listed)


def any_of(masks: Sequence[Any]) -> Any:
    """Where any of some masks holds."""
    found = masks[0]
    for mask in masks[1:]:
        found = ops.logical_or(found, mask)
    return found
