"""Whether a build function makes the same model each time under one seed."""

import difflib
import json
import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from kmtl.training.reusable import form_of


def check_same(owner: str, make: Callable[[], Any]) -> None:
    """Makes a model twice under one seed; warns, with the difference, if the two differ.

    Recipes that train several models hold them against each other, and one that goes on after a kill builds its models
    anew: both are wrong if chance that no seed rules enters `build`.

    Args:
        owner: Who asks, for the message.
        make: Makes the model under the seed.
    """
    told = difference(make(), make())
    if told:
        text = f"{owner}: `build` makes another model under the same seed: {told}. Draw nothing in it that "
        warnings.warn(f"{text}keras.utils.set_random_seed does not rule.", UserWarning, stacklevel=4)


def difference(one: Any, other: Any) -> str:
    """What differs between two compiled models, in words; empty if nothing does."""
    forms = [form_of(model) for model in (one, other)]
    if None not in forms and forms[0] != forms[1]:
        return first_difference(*(json.loads(str(form)) for form in forms))
    for before, after in zip(one.variables, other.variables, strict=False):
        if tuple(before.shape) != tuple(after.shape):
            return f"{before.path} has shape {tuple(before.shape)}, then {tuple(after.shape)}"
        if not np.array_equal(before.numpy(), after.numpy()):
            return f"{re.sub(r'_[0-9]+', '', before.path)} starts with other values"
    return ""


def first_difference(one: Any, other: Any) -> str:
    """The first settings that differ, of two nested forms, in words."""
    first, second = (json.dumps(form, indent=0, sort_keys=True).splitlines() for form in (one, other))
    changed = [line for line in difflib.unified_diff(first, second, lineterm="", n=0) if line[:1] in "+-"][2:]
    before = next((line[1:] for line in changed if line.startswith("-")), "nothing")
    after = next((line[1:] for line in changed if line.startswith("+")), "nothing")
    return f"{before.strip().rstrip(',')}, then {after.strip().rstrip(',')}"
