"""One model for every preference among its tasks, and back to a plain model for one of them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kmtl import _keras_private
from kmtl._checks import Refusals, refusal, require, whole, words
from kmtl.front import low_rank_adapter
from kmtl.front.film import FiLM
from kmtl.model.model import MultiTaskModel
from kmtl.sharing import Fork

PREFERENCE = "preference"
# Up to here scales and shifts do as well as adapters and cost less (Chen and Kwok, ICML 2024).
_FILM_TASKS = 5
_RANK = 4
_NORMALIZATIONS = (
    keras.layers.BatchNormalization,
    keras.layers.GroupNormalization,
    keras.layers.LayerNormalization,
)


def condition(model: Any, *, units: int = 64, rank: int | None = None) -> MultiTaskModel:
    """Gives a model an input that says how much each task matters.

    Up to five tasks: a `FiLM` layer comes behind each normalisation and, where a `kmtl.sharing.Fork` hands the features
    to the tasks, before each task's head. More tasks, or with `rank`: a `LowRankAdapter` stands beside each dense and
    convolutional layer that tasks share and that has no activation of its own. The new model starts as the old one
    and shares its layers, which must not be trained by themselves any more.

    Args:
        model: A `MultiTaskModel` of two tasks or more, made by layers of its own.
        units: Width of the hidden layer in each `FiLM`.
        rank: Rank of each task's change in a `LowRankAdapter`; None takes `FiLM` up to five tasks and 4 above.

    Returns:
        A `MultiTaskModel` with the further input `preference`, `(batch, tasks)`: rows of numbers from 0 to 1 that sum
        to 1, in the order of the tasks. It is not compiled.

    Raises:
        ValueError: If the model has one task, an input named `preference`, or no place for such a layer.

    >>> from kmtl.tasks import Classification, Regression
    >>> image = keras.Input((8,), name="image")
    >>> tasks = [Classification("digit", 10), Regression("angle")]
    >>> both = condition(MultiTaskModel.from_features(image, keras.layers.Dense(16)(image), tasks))
    >>> sorted(tensor.name for tensor in both.inputs)
    ['image', 'preference']
    """
    _check(model)
    preference = keras.Input((len(model.tasks),), name=PREFERENCE)
    added: dict[str, Any] = {}
    if rank is None and len(model.tasks) <= _FILM_TASKS:
        place, call = "a normalisation", _filming(added, preference, units, _forks(model))
    else:
        shared = {id(variable) for variable in model.shared_variables}
        place = "a Dense or convolutional layer without activation"
        call = _adapting(added, preference, whole("condition", "rank", _RANK if rank is None else rank, 1), shared)
    outputs = _keras_private.replay(model, call)
    if not added:
        fix = f"Put {place} into the trunk, as kmtl.trunks does."
        raise ValueError(refusal("condition", "model", "must have a place for preferences", words("none"), fix))
    inputs = {tensor.name: tensor for tensor in [*model.inputs, preference]}
    return MultiTaskModel(inputs, outputs, tasks=list(model.tasks.values()))


def _forks(model: Any) -> list[Fork]:
    """The forks that hand features to the tasks."""
    return [layer for layer in model.layers if isinstance(layer, Fork)]


def _copy_name(forks: Sequence[Fork], fork: Fork, task: str) -> str:
    """Names the copy of the features that a fork hands to a task: by the task, whose head may read several."""
    return task if sum(task in one.names for one in forks) == 1 else f"{fork.name}_{task}"


def _filming(added: dict[str, Any], preference: Any, units: int, forks: Sequence[Fork]) -> Any:
    """Returns what calls a layer and puts a `FiLM` behind it where there is a place for one."""

    def film(layer: Any, *args: Any, **kwargs: Any) -> Any:
        found = layer(*args, **kwargs)
        if isinstance(layer, Fork):
            films = {name: _film(added, layer, _copy_name(forks, layer, name), units) for name in found}
            return {name: films[name]([copy, preference]) for name, copy in found.items()}
        return _film(added, layer, layer.name, units)([found, preference]) if _has_place(layer) else found

    return film


def _adapting(added: dict[str, Any], preference: Any, rank: int, shared: set[int]) -> Any:
    """Returns what calls a layer and adds an adapter's output where tasks share its kernel."""

    def adapt(layer: Any, *args: Any, **kwargs: Any) -> Any:
        found = layer(*args, **kwargs)
        if id(getattr(layer, "kernel", None)) in shared and layer.name not in added:
            adapter = low_rank_adapter.beside(layer, rank)
            if adapter is not None:
                added[layer.name] = adapter
        if layer.name not in added:
            return found
        return keras.layers.Add()([found, added[layer.name]([args[0], preference])])

    return adapt


def _check(model: Any) -> None:
    """Refuses a model that cannot be conditioned."""
    with Refusals("condition") as refusals:
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


def _film(added: dict[str, Any], layer: Any, name: str, units: int) -> FiLM:
    """Returns the layer's FiLM, the same one for each of its calls."""
    if name not in added:
        axis = getattr(layer, "axis", -1)
        added[name] = FiLM(units, axis=axis if isinstance(axis, int) else axis[0], name=f"{name}_film")
    return added[name]


def fold(model: Any, origin: Any, base: Any, preference: Sequence[float] | Mapping[str, float]) -> Any:
    """Writes a conditioned model's weights for one preference into a plain model.

    A scale and a shift behind a normalisation go into its own; those before a dense layer `W x + c` into

        W' = W diag(s),    c' = c + W t

    and the change of a `LowRankAdapter` into its layer's kernel, so that the plain model gives what the conditioned one
    gives at that preference, up to rounding, with its own number of weights.

    Args:
        model: What `condition` made, trained.
        origin: The model that it was made of.
        base: Another model of the same form, whose weights are replaced. Layers are matched by their order, since the
            names that Keras gives count on.
        preference: One number a task, in order or by name, at least 0, not all 0; they are divided by their sum.

    Returns:
        `base`.

    Raises:
        ValueError: If the preference or the base does not fit, or a head does not begin with a dense layer.
    """
    shares = preference_shares("fold", list(model.tasks), preference)
    twins = _twins(origin, base)
    films = {layer.name.removesuffix("_film"): layer for layer in model.layers if isinstance(layer, FiLM)}
    forks = _forks(origin)
    copies = {_copy_name(forks, fork, task): (fork, task) for fork in forks for task in fork.names}
    for name, film in films.items():
        scale, shift = (np.asarray(values)[0] for values in film.coefficients(np.asarray([shares], "float32")))
        if name in twins and _has_place(twins[name]):
            _into_normalization(twins[name], scale, shift)
        else:
            fork, task = copies[name]
            _into_head(base, twins[fork.name], task, scale, shift)
    for layer in model.layers:
        if isinstance(layer, low_rank_adapter.LowRankAdapter):
            kernel = twins[layer.name.removesuffix("_adapter")].kernel
            kernel.assign(np.asarray(kernel) + layer.change(shares))
    return base


def _twins(origin: Any, base: Any) -> dict[str, Any]:
    """The layers of `base` by the names of those of `origin`, with their weights."""
    pairs = list(zip(_layers(origin), _layers(base), strict=False))
    same = len(list(_layers(origin))) == len(list(_layers(base)))
    for one, other in pairs:
        shapes = [[tuple(weight.shape) for weight in layer.weights] for layer in (one, other)]
        same = same and type(one) is type(other) and shapes[0] == shapes[1]
    rule = "must have the layers of the model that was conditioned"
    require(same, "fold", "base", rule, words("others"), "Let the build function make the same model each time.")
    base.set_weights(origin.get_weights())
    return {one.name: other for one, other in pairs}


def preference_shares(owner: str, tasks: Sequence[str], preference: Any) -> list[float]:
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


def _into_head(base: Any, fork: Fork, task: str, scale: Any, shift: Any) -> None:
    """Scales and shifts what a head reads, by the dense layer, or on a map the 1x1 convolution, that reads it."""
    layer = _keras_private.first_reader(base, fork, task)
    if getattr(layer, "serves_outputs_apart", False):
        layer.fold_into_input(task, scale, shift)
        return
    fix = "Begin it with a Dense layer, or leave the fork out."
    got = words(f"a {type(layer).__name__}")
    known = isinstance(layer, keras.layers.Dense | keras.layers.Conv2D)
    dense = known and layer.kernel.shape[:-2] in ((), (1, 1))
    require(dense, "fold", "base", f"must begin the head of {task!r} densely", got, fix)
    require(layer.use_bias, "fold", "base", f"must have a bias in the first layer of {task!r}", words("none"))
    kernel = np.asarray(layer.kernel)
    layer.bias.assign(layer.bias + shift @ kernel.reshape(kernel.shape[-2:]))
    layer.kernel.assign(scale[:, None] * kernel)
