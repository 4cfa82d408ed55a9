"""The part of a model that every task needs, as one graph for all signatures.

A signature has a graph of its own. Traced whole for each, a deep trunk would be written once a signature, and the graph
of many tasks could be larger than its weights.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from kmtl import _keras_private

Run = Callable[[dict[str, Any]], dict[str, Any]]


class Stem(NamedTuple):
    """What is computed once for every task.

    Attributes:
        tensors: The Keras tensors that it gives.
        function: A concrete function from the model's inputs, by name, to their different values.
        places: Which of these each tensor has.
    """

    tensors: list[Any]
    function: Any
    places: list[int]


def serves_outputs_apart(layer: Any) -> bool:
    """Whether a layer says that each of its outputs has weights of its own, as fused heads do."""
    return bool(getattr(layer, "serves_outputs_apart", False))


def stem(model: Any, specs: dict[str, Any]) -> Stem | None:
    """Traces what all outputs of a model need.

    Args:
        model: A functional model with a dict of outputs.
        specs: Specs of its inputs by name.

    Returns:
        The stem; None if the outputs share no layer, or if a layer behind it looks at a mask, which the edge of a graph
        would not let through.
    """
    tensors = _keras_private.shared_tensors(model, serves_outputs_apart)
    if len(model.output) < 2 or not tensors:
        return None
    trunk = keras.Model(model.inputs, {str(place): tensor for place, tensor in enumerate(tensors)})
    names = [tensor.name for tensor in model.inputs]
    masked: list[bool] = []
    places: list[int] = []

    def infer(given: dict[str, Any]) -> list[Any]:
        found = trunk([given[name] for name in names], training=False)
        values = [found[str(place)] for place in range(len(tensors))]
        different = list({id(value): value for value in values}.values())
        masked.extend([_keras_private.has_mask(value) for value in different])
        places.extend([[one is value for one in different].index(True) for value in values])
        return different

    function = tf.function(infer, input_signature=[specs]).get_concrete_function()
    return None if any(masked) else Stem(tensors, function, places)


class _Heads(keras.layers.Layer):
    """What lies on a path, called as one layer, so that every layer on it hears whether this is training.

    Args:
        path: The path.
        places: By the `id` of each tensor that it may begin at, which of the values given is its own.
    """

    def __init__(self, path: _keras_private.Path, places: dict[int, int]) -> None:
        super().__init__(name="heads", dtype="float32", autocast=False)
        # A method and a view: what Keras tracks becomes part of every export.
        self._compute, self._places = path.values, places.items()
        self.built = True

    def call(self, values: list[Any], training: bool = False) -> list[Any]:
        """Computes the tensors that the path leads to; the layers on it take `training` from this call."""
        del training
        return self._compute({tensor: values[place] for tensor, place in self._places})


def behind(stem: Stem | None, model: Any, outputs: Mapping[str, Any]) -> Run:
    """Returns what computes outputs of a model in inference mode, from what the stem gives.

    A model called in a signature would drag its training state along. A model made for each signature would cost as
    much as there are tasks each time: a fork has a tensor for every task, and fused heads read all of them.

    Args:
        stem: What is shared, or None.
        model: A functional model.
        outputs: Some of its outputs by name.
    """
    places = (
        {} if stem is None else {id(tensor): place for tensor, place in zip(stem.tensors, stem.places, strict=True)}
    )
    first = max(places.values(), default=-1) + 1
    places |= {id(tensor): first + place for place, tensor in enumerate(model.inputs)}
    path = _keras_private.path(list(outputs.values()), places)

    def run(inputs: dict[str, Any]) -> dict[str, Any]:
        # Equal values are one object, which fused heads look at.
        values = [*(stem.function(inputs) if stem else ()), *(inputs[tensor.name] for tensor in model.inputs)]
        with cut_heads(path):
            found = _Heads(path, places)(values, training=False)
        return {name: found[place] for place, name in enumerate(outputs)}

    return run


@contextlib.contextmanager
def cut_heads(path: _keras_private.Path, *, copied: bool = False) -> Iterator[None]:
    """Lets fused heads compute for a while only what a path leads to.

    Layers that no output needs are not on it anyway; a fused layer computes all of its tasks.

    Args:
        path: Calls of layers; models among them are left as they are.
        copied: Whether what is traced meanwhile reads copies of the slices that it needs, so that an artifact without
            the other tasks does not hold their weights.
    """
    with contextlib.ExitStack() as stack:
        for layer in path.layers:
            if serves_outputs_apart(layer):
                # Keras flattens a dict of outputs in the order of its sorted keys.
                names = sorted(layer.names)
                needed = [names[position] for position in path.read_positions(layer)]
                if len(needed) < len(names):
                    stack.enter_context(layer.only(needed, copied=copied))
        yield
