"""The trunk of a model: what its tasks share, found again in models of one task."""

from typing import Any

import keras

from kmtl._checks import refusal, words
from kmtl._keras_private import layer_behind, shared_tensors

_FIX = "Build it by kmtl.MultiTaskModel.from_features(inputs, features, tasks), with one tensor of features."


def shared_trunk(owner: str, model: Any) -> Any:
    """Finds the trunk of a model of several tasks.

    Args:
        owner: Who asks, for the message.
        model: A `MultiTaskModel` of two tasks or more.

    Returns:
        A functional `keras.Model` from its inputs to the features that all heads read, of the same layers.

    Raises:
        ValueError: If the tasks share no one tensor of features.
    """
    forks = [fork for fork in model.forks if fork in model.layers and set(fork.names) == set(model.tasks)]
    ends = [fork.input for fork in forks] or shared_tensors(
        model, lambda layer: getattr(layer, "serves_outputs_apart", False)
    )
    if len(ends) != 1:
        got = words(f"{len(ends)} such tensors")
        rule = "must make a model whose tasks read one tensor of shared features"
        raise ValueError(refusal(owner, "build", rule, got, _FIX))
    return keras.Model(model.inputs, ends[0])


def trunk_in(owner: str, alone: Any, trunk: Any) -> Any:
    """Finds the same trunk in a model of one task that the same function built.

    Layers are matched by their order: the names that Keras gives count on from model to model.

    Args:
        owner: Who asks, for the message.
        alone: A model of one task.
        trunk: The trunk of the model of all tasks.

    Returns:
        A functional `keras.Model` from its inputs to its features.

    Raises:
        ValueError: If it begins with other layers.
    """
    layers = alone.layers[: len(trunk.layers)]
    same = len(layers) == len(trunk.layers) and all(
        type(one) is type(other) and _shapes(one) == _shapes(other)
        for one, other in zip(layers, trunk.layers, strict=True)
    )
    if not same:
        got = words(f"another one for {list(alone.tasks)}")
        rule = "must make the same trunk for one task as for all"
        raise ValueError(refusal(owner, "build", rule, got, "Let what depends on the tasks be in their heads."))
    end = layer_behind(trunk.output)
    place = next(place for place, layer in enumerate(trunk.layers) if layer is end)
    return keras.Model(alone.inputs, layers[place].output)


def _shapes(layer: Any) -> list[tuple[int, ...]]:
    """Shapes of a layer's weights."""
    return [tuple(weight.shape) for weight in layer.weights]
