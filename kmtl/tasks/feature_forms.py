"""The forms of features that a head may take: a vector, a sequence, a map, or maps from fine to coarse."""

import itertools
from collections.abc import Sequence
from typing import Any

import keras

from kmtl._checks import refusal, words

_FORMS = {"vector": "(batch, width)", "sequence": "(batch, tokens, width)", "map": "(batch, height, width, channels)"}
_FIXES = {
    "vector": "Pool or flatten the trunk's output first, as kmtl.trunks does.",
    "sequence": "Build a text trunk with pooling=None.",
    "map": "Build the trunk with pooling=None.",
}
FEATURES = frozenset(_FORMS)


def is_map(tensor: Any) -> bool:
    """Whether it is a KerasTensor `(batch, height, width, channels)` of a known number of channels.

    >>> is_map(keras.Input((None, None, 3))), is_map(keras.Input((8,)))
    (True, False)
    """
    return isinstance(tensor, keras.KerasTensor) and len(tensor.shape) == 4 and tensor.shape[-1] is not None


def check_form(name: str, form: str, features: Any, owner: str) -> None:
    """Refuses features of another form than a head takes; several maps are refused where one is none, or out of order.

    Args:
        name: Of the task.
        form: `"vector"`, `"map"` or `"sequence"`.
        features: KerasTensor, or a list of maps.
        owner: For the message.
    """
    several = form == "map" and isinstance(features, list | tuple) and len(features) > 0
    for tensor in features if several else [features]:
        rank = _FORMS[form].count(",") + 1
        shape: tuple[Any, ...] = tuple(getattr(tensor, "shape", ()))
        if len(shape) != rank or shape[-1] is None:
            rule = f"must be a KerasTensor of shape {_FORMS[form]}"
            rule += "" if form == "vector" else f" for task {name!r}"
            raise ValueError(refusal(owner, "features", rule, getattr(tensor, "shape", tensor), _FIXES[form]))
    sizes = [tuple(tensor.shape[1:3]) for tensor in features] if several else []
    if any(grows(*pair) for pair in itertools.pairwise(sizes)):
        fix = "kmtl.trunks.stages(map) lists them so."
        got = words(f"heights and widths of {sizes}")
        raise ValueError(refusal(owner, "features", f"must go from fine to coarse for task {name!r}", got, fix))


def grows(size: Sequence[int | None], following: Sequence[int | None]) -> bool:
    """Whether a side of a map is known to be longer than that of the one before.

    >>> grows((8, 8), (4, 4)), grows((4, None), (8, 2))
    (False, True)
    """
    pairs = zip(size, following, strict=True)
    return any(one is not None and other is not None and other > one for one, other in pairs)
