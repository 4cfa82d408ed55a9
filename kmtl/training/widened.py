"""A build function whose trunk is wider: what sharing saves, spent."""

import contextlib
import copy
import inspect
import math
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from kmtl._checks import Refusals, is_number, is_whole, refusal, sizes, words
from kmtl.model.compile_like import compile_like
from kmtl.training.builds import Build, refuse_build
from kmtl.training.trunk_widths import carry_state, drawn_places, remade, scaled, widths_of

# How near below a number of weights a trunk is to come, and in how many tries.
_NEAR, _TRIES = 0.03, 12


class Widened:
    """What `widened` returns: a build function."""

    def __init__(self, build: Callable[..., Any], factor: float, hidden: tuple[int, ...]) -> None:
        self.build, self.factor, self.hidden = build, factor, hidden
        self._build = Build(build, "widened")
        self._places: dict[tuple[str, ...], frozenset[int]] = {}

    def __call__(self, tasks: Sequence[Any]) -> Any:
        """Makes the model of some tasks, with a wider trunk and deeper heads."""
        deeper = [with_hidden(task, self.hidden) for task in tasks]
        if takes_width(self.build):
            return self.build(deeper, width=self.factor)
        model = self._build(deeper)
        if self.factor == 1:
            return model
        made = remade(model, self.places(model, deeper), self.factor)
        carry_state(model, made)
        balancer = type(model.balancer).from_config(model.balancer.get_config())
        return compile_like(made, model, balancer=balancer)

    def places(self, model: Any, tasks: Sequence[Any]) -> frozenset[int]:
        """Which layers of the trunk have weights that are drawn, found by a second model that is made once.

        Args:
            model: What the build function made.
            tasks: Of what tasks.
        """
        names = tuple(task.name for task in tasks)
        if names not in self._places:
            with _draws_apart():
                twin = self._build([with_hidden(task, self.hidden) for task in tasks])
            self._places[names] = drawn_places(model, twin)
        return self._places[names]

    def get_config(self) -> dict[str, Any]:
        """What it is made of, for finished runs that are found again."""
        return {"build": self.build, "factor": self.factor, "hidden": self.hidden}


def widened(build: Callable[..., Any], factor: float = 1.0, *, hidden: int | Sequence[int] = ()) -> Widened:
    """Makes a build function whose models have a trunk with all widths multiplied, and hidden layers in their heads.

    One joint trunk costs a fraction of a trunk a task. A joint model that spends what it saves, on width, on a hidden
    layer in each head and on a longer training (`stretched`), is the one that a model a task has to be held against.

    A `build(tasks, width=1.0)` is called with the factor. Of any other the model is made, and then made again from its
    configuration with other `units`, `filters` and sizes of embeddings in the trainable layers that all tasks share,
    those of wrapped layers and of models inside the model included. Heads stay as they are, and what is frozen or
    adapted, and models inside the model that come with trained weights, keep what they hold. Widths stay multiples of
    the power of two, at most 4, that they are multiples of.

    Args:
        build: `build(tasks)` or `build(tasks, width=...)`, which makes a compiled `MultiTaskModel`.
        factor: What widths are multiplied by, above 0; `width_for` finds the one of a number of weights.
        hidden: Units of the hidden layers of each head that has none.

    Returns:
        A build function. Where a trunk cannot be made again it refuses, with the way out: one that comes with trained
        weights in layers of its own, or whose shapes fit one width only.

    Raises:
        ValueError: If `build` is no such function, or the factor not above 0.

    >>> import keras
    >>> import kmtl
    >>> def build(tasks):
    ...     row = keras.Input((4,), name="row")
    ...     features = keras.layers.Dense(16, activation="relu")(row)
    ...     model = kmtl.MultiTaskModel.from_features(row, features, tasks)
    ...     model.compile("adam")
    ...     return model
    >>> wide = widened(build, 1.5)([kmtl.Regression("age"), kmtl.Regression("height")])
    >>> wide.layers[1].units
    24
    """
    with Refusals("widened") as refusals:
        refuse_build(refusals, build)
        if not is_number(factor) or factor <= 0:
            refusals.add("factor", "must be a finite number above 0", factor)
    return Widened(build, float(factor), sizes("widened", "hidden", hidden))


def with_hidden(task: Any, hidden: Sequence[int]) -> Any:
    """The same task with hidden layers in its head, unless it has some.

    Args:
        task: The task.
        hidden: Units of each.
    """
    if task.hidden or not hidden:
        return task
    twin = copy.copy(task)
    twin.hidden = tuple(hidden)
    return twin


def width_for(
    build: Callable[..., Any], tasks: Sequence[Any], weights: int, *, hidden: int | Sequence[int] = ()
) -> float:
    """Finds the factor of `widened` at which a model of some tasks has as many weights as given, or hardly fewer.

    Args:
        build: As of `widened`.
        tasks: The tasks.
        weights: How many weights the model is to have at most.
        hidden: As of `widened`.

    Returns:
        The factor.

    Raises:
        ValueError: If the trunk cannot be widened: it comes with trained weights, or holds a layer of a fixed size; or
            if the heads alone have more weights.
    """
    if not is_whole(weights) or weights < 1:
        raise ValueError(refusal("width_for", "weights", "must be a whole number of at least 1", weights))
    counted = _counter(build, tasks, hidden)
    low, high, found = 0.0, math.inf, math.sqrt(weights / counted(1.0))
    for _ in range(_TRIES):
        count = counted(found)
        low, high = (found, high) if count <= weights else (low, found)
        if (1 - _NEAR) * weights <= count <= weights or high < (1 + _NEAR) * low:
            break
        # Weights grow with the square of the width; where a step overshoots, halving the interval is safe.
        step = found * math.sqrt((1 - _NEAR / 2) * weights / count)
        found = step if low < step < high else (low + high) / 2
    if not low:
        got, fix = words(f"{weights}"), "Ask for more weights, or for heads without hidden layers."
        raise ValueError(refusal("width_for", "weights", "must leave some for a trunk beside the heads", got, fix))
    return low


def takes_width(build: Any) -> bool:
    """Whether a build function has a parameter `width` that multiplies: one whose default is 1, or none.

    A `width=64` counts units, and is the function's own affair.
    """
    try:
        found = inspect.signature(build).parameters.get("width")
    except (TypeError, ValueError):
        return False
    return found is not None and found.default in (1, inspect.Parameter.empty)


def _counter(build: Callable[..., Any], tasks: Sequence[Any], hidden: int | Sequence[int]) -> Callable[[float], int]:
    """A function that counts the weights at a factor; a model is made only where the factor gives new widths."""
    if takes_width(build):
        return lambda factor: int(widened(build, factor, hidden=hidden)(tasks).count_params())
    plain = widened(build, hidden=hidden)
    model = plain(tasks)
    places = plain.places(model, tasks)
    widths = widths_of(model, places)
    known = {tuple(widths): int(model.count_params())}

    def counted(factor: float) -> int:
        wanted = tuple(scaled(width, factor) for width in widths)
        if wanted not in known:
            known[wanted] = int(remade(model, places, factor).count_params())
        return known[wanted]

    return counted


@contextlib.contextmanager
def _draws_apart() -> Iterator[None]:
    """What is drawn within leaves no trace in what is drawn behind: initializers draw their seeds from Python's own."""
    own, arrays = random.getstate(), np.random.get_state()  # noqa: NPY002 - whose state a build function may use
    try:
        yield
    finally:
        random.setstate(own)
        np.random.set_state(arrays)  # noqa: NPY002 - as above
