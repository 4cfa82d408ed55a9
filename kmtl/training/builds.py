"""The one function that a user writes for everything that trains more than once: `build(tasks)`, checked before any."""

import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras

from kmtl import _extras
from kmtl._checks import Refusals, words
from kmtl.tasks import Task

_RULE = "must be a function build(tasks), or build(tasks, hp), that makes a compiled kmtl.MultiTaskModel"


class Build:
    """A build function, called one way everywhere.

    A function with a parameter `hp` gets KerasTuner's hyper-parameters: those that a search draws, elsewhere its own
    default, or without one fresh ones, which give each value's default.

    Args:
        function: `build(tasks)` or `build(tasks, hp)`.
        owner: Whose arguments a refusal names.

    >>> Build(lambda tasks, hp=None: (len(tasks), hp), "compare")(["digit"])
    (1, None)
    """

    def __init__(self, function: Callable[..., Any], owner: str) -> None:
        self.function = function
        self.owner = owner
        self._hp = _parameters(function).get("hp")

    def __call__(self, tasks: Sequence[Task], hp: Any = None) -> Any:
        """Makes a model of some tasks."""
        if self._hp is None or (hp is None and self._hp.default is not inspect.Parameter.empty):
            return self.function(list(tasks))
        drawn = _extras.load("keras_tuner", self.owner).HyperParameters() if hp is None else hp
        return self.function(list(tasks), hp=drawn)


def _parameters(function: Any) -> dict[str, inspect.Parameter]:
    """The parameters of a function by name; none where Python cannot tell."""
    try:
        return dict(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return {}


def refuse_build(refusals: Refusals, build: Any) -> None:
    """Records a build that is no function of the tasks: a model, or a form of older versions.

    >>> with Refusals("compare") as refusals:
    ...     refuse_build(refusals, lambda hp, tasks: None)
    Traceback (most recent call last):
    ...
    ValueError: compare: `build` must be a function build(tasks), or build(tasks, hp), ... got <lambda>(hp, tasks)...
    """
    fix = "Every training starts from a model of its own: def build(tasks): ... return model"
    if isinstance(build, keras.Model):
        refusals.add("build", _RULE, words(f"the model {build.name!r}"), fix)
    elif not callable(build):
        refusals.add("build", _RULE, words(type(build).__name__), fix)
    elif form := _other_form(build):
        fix = "Take the tasks first, and `hp`, if it draws from KerasTuner, second: def build(tasks, hp): ..."
        refusals.add("build", _RULE, words(form), fix)


def _other_form(build: Any) -> str:
    """The signature of a function that does not take the tasks first, or that wants more; empty if all is well."""
    try:
        signature = inspect.signature(build)
    except (TypeError, ValueError):
        return ""
    more = {"hp": None} if "hp" in signature.parameters else {}
    try:
        signature.bind([], **more)
    except TypeError:
        return f"{getattr(build, '__name__', type(build).__name__)}{signature}"
    return ""


def checked_tasks(refusals: Refusals, tasks: Any, form: str, least: int = 1) -> list[Task]:
    """Returns the tasks as a list; records what are none, as a dataset in their place.

    Args:
        refusals: Where to record.
        tasks: What the user gave.
        form: How the door is called, for the message.
        least: How many there must be.
    """
    fix = f"The order is {form}."
    if isinstance(tasks, str) or hasattr(tasks, "element_spec") or not isinstance(tasks, Iterable):
        refusals.add("tasks", "must hold kmtl tasks", words(type(tasks).__name__), fix)
        return []
    listed = list(tasks)
    if not listed or not all(isinstance(task, Task) for task in listed):
        got = listed if len(repr(listed)) < 200 else words(type(tasks).__name__)
        refusals.add("tasks", "must hold kmtl tasks", got, fix)
        return []
    if len(listed) < least:
        refusals.add("tasks", f"must be {least} or more", [task.name for task in listed])
    return listed
