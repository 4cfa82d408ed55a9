"""The probability above which a yes-or-no answer is yes."""

import math
from typing import Any

import numpy as np

from kmtl._checks import is_number, refusal
from kmtl.tasks.labels import Label
from kmtl.tasks.shapes import known_shape


def checked_threshold(task: Label, given: Any) -> float | tuple[float, ...]:
    """Returns one threshold for all elements of a label or one for each, or refuses what is neither.

    Args:
        task: Whose it is.
        given: One probability, or a list of them.
    """
    listed = isinstance(given, list | tuple | np.ndarray)
    values, count = list(given) if listed else [given], math.prod(known_shape(task.label_shape))
    good = all(is_number(value) and 0 <= value <= 1 for value in values)
    if not good or (listed and (not task.label_shape or len(values) != count)):
        rule = f"must be one probability or {count}, one a label" if task.label_shape else "must be a probability"
        owner = f"{type(task).__name__}({task.name!r})"
        raise ValueError(refusal(owner, "threshold", rule, given, "kmtl.evidence.calibrate chooses it."))
    return tuple(map(float, values)) if listed else float(given)
