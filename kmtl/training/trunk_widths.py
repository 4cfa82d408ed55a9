"""The layers of a model's trunk that have a width, and the model made again with other widths of them."""

import math
from collections.abc import Callable, Collection, Sequence
from typing import Any

import keras
import numpy as np

from kmtl._checks import is_whole, refusal, words
from kmtl._keras_private import classes_of_layers, copy_state, same_lambda
from kmtl.model.graph import layers_behind

FIX = "Give it a parameter that multiplies the widths of its trunk: build(tasks, width=1.0)."
# What tells how wide a layer of Keras or of ours is, in its configuration.
_WIDTHS = ("units", "filters", "output_dim", "width")
# Shapes follow from the new widths.
_SHAPES = ("build_config", "build_input_shape")
# Under this name a `Lambda` is made again with its function as it is, which no configuration holds whole.
_WITH_FUNCTION = "kmtl>with_function"


def trunk_layers(model: Any) -> list[Any]:
    """The trainable layers, and models inside the model, of a width that every task depends on and that are of no head.

    Args:
        model: A `MultiTaskModel`.
    """
    behind = [{id(layer) for layer in layers_behind(model, name)} for name in model.tasks]
    every = set.intersection(*behind)
    heads = tuple(f"{name}_" for name in model.tasks)

    def is_trunk(layer: Any) -> bool:
        own = layer.name in model.tasks or layer.name.startswith(heads) or getattr(layer, "serves_outputs_apart", False)
        return id(layer) in every and not own and layer.trainable and bool(layer.weights)

    return [layer for layer in model.layers if is_trunk(layer) and _widths(_config(layer))]


def widths_of(model: Any, places: Collection[int]) -> list[int]:
    """The widths that `remade` scales, in order.

    Args:
        model: The model.
        places: As of `drawn_places`.
    """
    layers = trunk_layers(model)
    return [width for place in sorted(places) for width in _widths(_config(layers[place]))]


def drawn_places(model: Any, twin: Any) -> frozenset[int]:
    """Which of the trunk's layers start from drawn weights: trained ones have the width that they have.

    Args:
        model: A model.
        twin: One of the same build function, other weights drawn.

    Raises:
        ValueError: If a layer of the model's own comes with its weights, or there is none of a width.
    """
    found = set()
    for place, (layer, other) in enumerate(zip(trunk_layers(model), trunk_layers(twin), strict=True)):
        if not _is_trained(layer, other):
            found.add(place)
        elif not isinstance(layer, keras.Model):
            rule = "must make a trunk that starts from drawn weights"
            raise ValueError(
                refusal(
                    "widened",
                    "build",
                    rule,
                    words("one that comes with its weights, or draws them by a seed of its own"),
                    FIX,
                )
            )
    if not found:
        got = words("a trunk without such a layer")
        rule = "must have trainable layers of a width that tasks share, and that were not trained before"
        raise ValueError(refusal("widened", "build", rule, got, FIX))
    return frozenset(found)


def remade(model: Any, places: Collection[int], factor: float) -> Any:
    """A model of the same form with other widths, newly drawn and not compiled.

    Args:
        model: The model.
        places: As of `drawn_places`.
        factor: What widths are multiplied by.

    Raises:
        ValueError: If a layer cannot be made again, or fits one width only.
    """
    names = {layer.name for place, layer in enumerate(trunk_layers(model)) if place in places}
    config = model.get_config()
    for entry in config["layers"]:
        entry.pop("build_config", None)
        if entry["config"].get("name") in names:
            entry["config"] = _changed(entry["config"], lambda width: scaled(width, factor))
        elif entry["class_name"] == "Lambda":
            entry["registered_name"] = _WITH_FUNCTION
    # Layers are known by their classes, registered or not.
    known = {**classes_of_layers(model), _WITH_FUNCTION: _lambdas(model)}
    try:
        with keras.saving.CustomObjectScope(known):
            made = type(model).from_config(config)
        same = all(made.output[name].shape == tensor.shape for name, tensor in model.output.items())
    except (ValueError, TypeError, NotImplementedError) as error:
        told = str(error).strip().splitlines()[0]
        raise ValueError(refusal("widened", "build", "must make a trunk of any width", words(told), FIX)) from error
    if not same:
        raise ValueError(refusal("widened", "build", "must make heads apart from its trunk", words("others"), FIX))
    return made


def carry_state(old: Any, new: Any) -> None:
    """Gives a model that was made again what the layers hold whose shapes stay: statistics, frozen weights.

    Args:
        old: The model.
        new: What `remade` made of it.

    Raises:
        ValueError: If a frozen layer reads from one whose width changes.
    """
    others = {layer.name: layer for layer in new.layers}
    for one in old.layers:
        other = others[one.name]
        if _shapes(one) == _shapes(other):
            copy_state(one, other)
        elif isinstance(one, keras.Model):
            carry_state(one, other)
        elif one.weights and not one.trainable_weights:
            got = words(f"{one.name!r} behind one")
            rule = "must have no layer of fixed weights behind one whose width changes"
            raise ValueError(refusal("widened", "build", rule, got, FIX))


def scaled(width: int, factor: float) -> int:
    """A width times a factor, a multiple of the power of two, at most 4, that the width is a multiple of.

    >>> scaled(32, 1.3), scaled(10, 1.3), scaled(7, 0.1)
    (40, 12, 1)
    """
    step = math.gcd(width, 4)
    return max(1, round(width * factor / step)) * step


def _config(layer: Any) -> dict[str, Any]:
    """A layer's configuration; a model inside that has none keeps its widths."""
    try:
        return dict(layer.get_config())
    except NotImplementedError:
        return {}


def _is_width(config: dict[str, Any], key: str) -> bool:
    """Whether an entry of a layer's configuration tells a width: what has a height as well is a picture's size."""
    return key in _WIDTHS and is_whole(config[key]) and "height" not in config


def _widths(config: dict[str, Any]) -> list[int]:
    """The widths in a layer's configuration, inner layers' included."""
    found: list[int] = []

    def keep(width: int) -> int:
        found.append(width)
        return width

    _changed(config, keep)
    return found


def _changed(config: dict[str, Any], change: Callable[[int], int]) -> dict[str, Any]:
    """The configuration of a layer with other widths, inner layers' included; of a frozen one as it is."""
    if not config.get("trainable", True):
        return config
    return {
        key: change(value) if _is_width(config, key) else _changed_value(value, change)
        for key, value in config.items()
        if key not in _SHAPES
    }


def _changed_value(value: Any, change: Callable[[int], int]) -> Any:
    """A value of a configuration, with other widths where it holds layers."""
    if isinstance(value, dict) and isinstance(value.get("config"), dict):
        kept = {key: one for key, one in value.items() if key not in _SHAPES}
        return {**kept, "config": _changed(value["config"], change)}
    if isinstance(value, list | tuple):
        return type(value)(_changed_value(one, change) for one in value)
    return value


def _is_trained(layer: Any, twin: Any) -> bool:
    """Whether no seed draws a layer's kernels: one that starts at zero, as an embedding may, has learned nothing."""
    pairs = zip(layer.trainable_weights, twin.trainable_weights, strict=True)
    kernels = [(one.numpy(), other.numpy()) for one, other in pairs if len(one.shape) > 1]
    return any(np.ptp(one) > 0 and np.array_equal(one, other) for one, other in kernels)


def _shapes(layer: Any) -> Sequence[tuple[int, ...]]:
    """The shapes of all that a layer holds."""
    return [tuple(variable.shape) for variable in layer.variables]


def _lambdas(model: Any) -> Callable[..., Any]:
    """A class that makes the model's `Lambda` layers again, each with its own function."""
    layers = {layer.name: layer for layer in model.layers if isinstance(layer, keras.layers.Lambda)}

    class WithFunction(keras.layers.Lambda):
        """Made by the name of the layer that it stands for."""

        @classmethod
        def from_config(cls, config: dict[str, Any], *_: Any, **__: Any) -> Any:
            """The layer again."""
            return same_lambda(layers[config["name"]])

    return WithFunction
