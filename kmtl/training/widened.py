"""A build function whose trunk is wider: what sharing saves, spent."""

import copy
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from kmtl._checks import Refusals, is_number, is_whole, refusal, sizes, words
from kmtl.model.compile_like import compile_like
from kmtl.model.graph import layers_behind
from kmtl.training.builds import Build, refuse_build

# What tells how wide a layer of Keras or of ours is, in its configuration.
_WIDTHS = ("units", "filters", "output_dim", "width")
_FIX = "Give it a parameter that multiplies the widths of its trunk: build(tasks, width=1.0)."
# How near below a number of weights a trunk is to come, and in how many tries.
_NEAR, _TRIES = 0.03, 12


class Widened:
    """What `widened` returns: a build function."""

    def __init__(self, build: Callable[..., Any], factor: float, hidden: tuple[int, ...]) -> None:
        self.build, self.factor, self.hidden = build, factor, hidden
        self._build = Build(build, "widened")

    def __call__(self, tasks: Sequence[Any]) -> Any:
        """Makes the model of some tasks, with a wider trunk and deeper heads."""
        deeper = [with_hidden(task, self.hidden) for task in tasks]
        if takes_width(self.build):
            return self.build(deeper, width=self.factor)
        model = self._build(deeper)
        return model if self.factor == 1 else _wider(model, self.factor)

    def get_config(self) -> dict[str, Any]:
        """What it is made of, for finished runs that are found again."""
        return {"build": self.build, "factor": self.factor, "hidden": self.hidden}


def widened(build: Callable[..., Any], factor: float = 1.0, *, hidden: int | Sequence[int] = ()) -> Widened:
    """Makes a build function whose models have a trunk with all widths multiplied, and hidden layers in their heads.

    One joint trunk costs a fraction of a trunk a task. A joint model that spends what it saves, on width, on a hidden
    layer in each head and on a longer training (`stretched`), is the one that a model a task has to be held against.

    A `build(tasks, width=1.0)` is called with the factor. Of any other the model is made, and then made again from its
    configuration with other `units`, `filters` and sizes of embeddings in the trainable layers that all tasks share;
    heads, frozen layers and models inside the model stay as they are. Widths stay multiples of the power of two, at
    most 4, that they are multiples of.

    Args:
        build: `build(tasks)` or `build(tasks, width=...)`, which makes a compiled `MultiTaskModel`.
        factor: What widths are multiplied by, above 0; `width_for` finds the one of a number of weights.
        hidden: Units of the hidden layers of each head that has none.

    Returns:
        A build function. Where a trunk cannot be made again it refuses, with the way out.

    Raises:
        ValueError: If `build` is no such function, or the factor not above 0.

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
    if not takes_width(build):
        _refuse_trained(build, tasks)

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
    model = widened(build, hidden=hidden)(tasks)
    configs = [layer.get_config() for layer in _shared_layers(model)]
    widths = [config[key] for config in configs for key in _WIDTHS if is_whole(config.get(key))]
    known = {tuple(widths): int(model.count_params())}

    def counted(factor: float) -> int:
        wanted = tuple(scaled(width, factor) for width in widths)
        if wanted not in known:
            known[wanted] = int(_remade(model, factor).count_params())
        return known[wanted]

    return counted


def _refuse_trained(build: Callable[..., Any], tasks: Sequence[Any]) -> None:
    """Refuses a trunk whose kernels no seed draws: trained weights have the width that they have."""
    kernels = []
    for seed in (0, 1):
        keras.utils.set_random_seed(seed)
        model = Build(build, "widened")(tasks)
        kernels.append([layer.get_weights()[0] for layer in _shared_layers(model) if layer.get_weights()])
    if not kernels[0]:
        got = words("a trunk without such a layer")
        raise ValueError(
            refusal("widened", "build", "must have trainable layers of a width that tasks share", got, _FIX)
        )
    # One that starts at zero, as an embedding may, is not drawn, and has learned nothing either.
    if any(np.ptp(one) and np.array_equal(one, other) for one, other in zip(*kernels, strict=True)):
        rule = "must make a trunk that starts from drawn weights"
        raise ValueError(refusal("widened", "build", rule, words("one that comes with its weights"), _FIX))


def _shared_layers(model: Any) -> list[Any]:
    """The trainable layers of a width that every task's output depends on and that are of no head."""
    behind = [{id(layer) for layer in layers_behind(model, name)} for name in model.tasks]
    every = set.intersection(*behind)
    heads = tuple(f"{name}_" for name in model.tasks)

    def is_trunk(layer: Any) -> bool:
        own = layer.name in model.tasks or layer.name.startswith(heads) or getattr(layer, "serves_outputs_apart", False)
        return id(layer) in every and not own and layer.trainable and bool(layer.weights)

    found = [layer for layer in model.layers if is_trunk(layer) and not isinstance(layer, keras.Model)]
    return [layer for layer in found if any(is_whole(layer.get_config().get(key)) for key in _WIDTHS)]


def _wider(model: Any, factor: float) -> Any:
    """A model of the same form with other widths, compiled alike; new weights are drawn."""
    balancer = type(model.balancer).from_config(model.balancer.get_config())
    return compile_like(_remade(model, factor), model, balancer=balancer)


def _remade(model: Any, factor: float) -> Any:
    """A model of the same form with other widths, not compiled."""
    names = {layer.name for layer in _shared_layers(model)}
    config = model.get_config()
    for layer in config["layers"]:
        # Shapes follow from the new widths.
        layer.pop("build_config", None)
        if layer["config"].get("name") in names:
            sizes = {key: scaled(value, factor) for key, value in layer["config"].items() if key in _WIDTHS}
            layer["config"] = {**layer["config"], **sizes}
    known = {type(layer).__name__: type(layer) for layer in model.layers}
    try:
        with keras.saving.CustomObjectScope(known):
            made = type(model).from_config(config)
        same = all(made.output[name].shape == tensor.shape for name, tensor in model.output.items())
    except (ValueError, TypeError, NotImplementedError) as error:
        told = str(error).strip().splitlines()[0]
        raise ValueError(refusal("widened", "build", "must make a trunk of any width", words(told), _FIX)) from error
    if not same:
        raise ValueError(refusal("widened", "build", "must make heads apart from its trunk", words("others"), _FIX))
    return made


def scaled(width: int, factor: float) -> int:
    """A width times a factor, a multiple of the power of two, at most 4, that the width is a multiple of.

    >>> scaled(32, 1.3), scaled(10, 1.3), scaled(7, 0.1)
    (40, 12, 1)
    """
    step = math.gcd(width, 4)
    return max(1, round(width * factor / step)) * step
