"""What a mistake is, and how its refusal must look."""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

# owner: `argument` rule, got value.
_FORM = re.compile(r"[\w.()']+: `[^`]+` .+, got .+", re.DOTALL)


class Case(NamedTuple):
    """One mistake.

    Attributes:
        name: What is wrong.
        act: Makes the mistake, with a good compiled model at hand.
        says: What the message must hold, between bars: the argument, the task, the value, the way out.
        error: Exactly this type is raised.
    """

    name: str
    act: Callable[[Any], Any]
    says: str
    error: type[Exception] = ValueError


def parameters(**tables):
    """The tables' cases for pytest."""
    return [pytest.param(case, id=f"{group}: {case.name}") for group, table in tables.items() for case in table]


def check_refused(case, model):
    """Makes the mistake: it must be refused in the one form, before the model has changed in anything."""
    before = model.get_weights()
    with pytest.raises(case.error) as caught:
        case.act(model)
    assert type(caught.value) is case.error
    message = str(caught.value)
    assert _FORM.fullmatch(message)
    for part in case.says.split(" | "):
        assert part in message
    assert model.optimizer.iterations == 0
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
