"""One model for every preference among its tasks, and back to a plain model for one of them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kmtl import hooks
from kmtl._checks import Refusals, refusal, require, words
from kmtl.model import MultiTaskModel
from kmtl.search.film import FiLM
from kmtl.sharing import Fork
from kmtl.tasks import FusedHeads

PREFERENCE = "preference"
_NORMALIZATIONS = (
    keras.layers.BatchNormalization,
    keras.layers.GroupNormalization,
    keras.layers.LayerNormalization,
)


def conditioned(model: Any, *, units: int = 64) -> MultiTaskModel:
    """Gives a model an input that says how much each task matters.

    A `FiLM` layer comes behind each normalisation and, where a `kmtl.sharing.Fork` hands the features to the tasks,
    before each task's head. It starts as the identity, so that the new model starts as the old one. It shares the old
    model's layers, which must not be trained by themselves any more.

    Args:
        model: A `MultiTaskModel` of two tasks or more, made by layers of its own.
        units: Width of the hidden layer in each `FiLM`.

    Returns:
        A `MultiTaskModel` with the further input `preference`, `(batch, tasks)`: rows of numbers from 0 to 1 that sum
        to 1, in the order of the tasks. It is not compiled.

    Raises:
        ValueError: If the model has one task, an input named `preference`, or no place for a `FiLM`.

    >>> from kmtl.tasks import Classification, Regression
    >>> image = keras.Input((8,), name="image")
    >>> tasks = [Classification("digit", 10), Regression("angle")]
    >>> both = conditioned(MultiTaskModel.from_features(image, keras.layers.Dense(16)(image), tasks))
    >>> sorted(tensor.name for tensor in both.inputs)
    ['image', 'preference']
    """
    _check(model)
    preference = keras.Input((len(model.tasks),), name=PREFERENCE)
    films: dict[int, FiLM] = {}

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        found = layer(*args, **kwargs)
        if isinstance(layer, Fork):
            return {name: _film(films, layer, name, units)([copy, preference]) for name, copy in found.items()}
        if _has_place(layer):
            return _film(films, layer, layer.name, units)([found, preference])
        return found

    outputs = hooks.replayed(model, call)
    if not films:
        fix = "Put a normalisation into the trunk, or build the model by MultiTaskModel.from_features."
        got = words("a model without normalisation and without a fork")
        raise ValueError(refusal("conditioned", "model", "must have a place for FiLM", got, fix))
    inputs = {tensor.name: tensor for tensor in [*model.inputs, preference]}
    return MultiTaskModel(inputs, outputs, tasks=list(model.tasks.values()))


def _check(model: Any) -> None:
    """Refuses a model that cannot be conditioned."""
    with Refusals("conditioned") as refusals:
        if not isinstance(model, MultiTaskModel):
            fix = "Adopt it: kmtl.MultiTaskModel.from_model(model, tasks)."
            refusals.add("model", "must be a kmtl.MultiTaskModel", words(type(model).__name__), fix)
        elif len(model.tasks) < 2:
            refusals.add("model", "must have two tasks or more", list(model.tasks))
        elif any(tensor.name == PREFERENCE for tensor in model.inputs):
            refusals.add("model", "must not have an input of that name", PREFERENCE, "Rename the Input.")


def _has_place(layer: Any) -> bool:
    """Whether a layer can take a scale and a shift into its own weights: a normalisation with both."""
    return isinstance(layer, _NORMALIZATIONS) and bool(layer.scale and layer.center)


def _film(films: dict[int, FiLM], layer: Any, name: str, units: int) -> FiLM:
    """Returns the layer's FiLM, the same one for each of its calls."""
    key = hash((id(layer), name))
    if key not in films:
        axis = getattr(layer, "axis", -1)
        axis = axis if isinstance(axis, int) else axis[0]
        films[key] = FiLM(units, axis=axis, name=f"{name}_film")
    return films[key]


def folded(model: Any, origin: Any, base: Any, preference: Sequence[float] | Mapping[str, float]) -> Any:
    """Writes a conditioned model's weights for one preference into a plain model.

    A scale and a shift behind a normalisation go into its own; those before a dense layer `W x + c` into

        W' = W diag(s),    c' = c + W t

    so that the plain model gives what the conditioned one gives at that preference, up to rounding, with its own number
    of weights.

    Args:
        model: What `conditioned` made, trained.
        origin: The model that it was made of.
        base: Another model of the same form, whose weights are replaced. Layers are matched by their order, since the
            names that Keras gives count on.
        preference: One number a task, in order or by name, at least 0, not all 0; they are divided by their sum.

    Returns:
        `base`.

    Raises:
        ValueError: If the preference or the base does not fit, or a head does not begin with a dense layer.
    """
    shares = checked_preference("folded", list(model.tasks), preference)
    twins = _twins(origin, base)
    films = {layer.name.removesuffix("_film"): layer for layer in model.layers if isinstance(layer, FiLM)}
    for name, film in films.items():
        scale, shift = (np.asarray(values)[0] for values in film.coefficients(np.asarray([shares], "float32")))
        if name in twins and _has_place(twins[name]):
            _into_normalization(twins[name], scale, shift)
        else:
            _into_head(base, name, scale, shift)
    return base


def _twins(origin: Any, base: Any) -> dict[str, Any]:
    """The layers of `base` by the names of those of `origin`, with their weights."""
    pairs = list(zip(_layers(origin), _layers(base), strict=False))
    same = len(list(_layers(origin))) == len(list(_layers(base)))
    for one, other in pairs:
        shapes = [[tuple(weight.shape) for weight in layer.weights] for layer in (one, other)]
        same = same and type(one) is type(other) and shapes[0] == shapes[1]
    rule = "must have the layers of the model that was conditioned"
    require(same, "folded", "base", rule, words("others"), "Let the build function make the same model each time.")
    base.set_weights(origin.get_weights())
    return {one.name: other for one, other in pairs}


def checked_preference(owner: str, tasks: Sequence[str], preference: Any) -> list[float]:
    """Returns shares of 1 in the order of the tasks, or refuses what is no preference."""
    rule = f"must give each of {list(tasks)} a number of at least 0, not all 0"
    if isinstance(preference, Mapping):
        require(set(preference) == set(tasks), owner, "preference", rule, dict(preference))
        preference = [preference[name] for name in tasks]
    numbers = np.asarray(preference, "float64")
    good = numbers.shape == (len(tasks),) and bool(
        np.all(numbers >= 0) and np.isfinite(numbers.sum()) and numbers.sum()
    )
    require(good, owner, "preference", rule, preference)
    return (numbers / numbers.sum()).tolist()


def _layers(model: Any) -> Iterator[Any]:
    """The layers of a model and of the models inside it."""
    for layer in model.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from _layers(layer)


def _into_normalization(layer: Any, scale: Any, shift: Any) -> None:
    """Scales and shifts what a normalisation gives."""
    layer.gamma.assign(layer.gamma * scale)
    layer.beta.assign(layer.beta * scale + shift)


def _into_head(base: Any, task: str, scale: Any, shift: Any) -> None:
    """Scales and shifts what a task's head reads, by the dense layer that reads it."""
    fork = next(one for one in base.layers if isinstance(one, Fork) and task in one.names)
    layer = hooks.first_reader(base, fork, task)
    if isinstance(layer, FusedHeads):
        _into_slice(layer, layer.names.index(task), scale, shift)
        return
    fix = "Begin it with a Dense layer, or leave the fork out."
    got = words(f"a {type(layer).__name__}")
    require(
        isinstance(layer, keras.layers.Dense), "folded", "base", f"must begin the head of {task!r} densely", got, fix
    )
    require(layer.use_bias, "folded", "base", f"must have a bias in the first layer of {task!r}", words("none"))
    kernel = np.asarray(layer.kernel)
    layer.bias.assign(layer.bias + shift @ kernel)
    layer.kernel.assign(scale[:, None] * kernel)


def _into_slice(layer: FusedHeads, place: int, scale: Any, shift: Any) -> None:
    """The same for one task's slice of a fused kernel."""
    kernel = np.array(layer.kernels[0])
    apart = kernel.reshape(kernel.shape[0], len(layer.names), -1)
    bias = np.array(layer.biases[0])
    bias[place] += shift @ apart[:, place]
    apart[:, place] *= scale[:, None]
    layer.kernels[0].assign(kernel)
    layer.biases[0].assign(bias)
