"""The part of a model that every task needs, as one graph for all signatures.

A signature has a graph of its own. Traced whole for each, a deep trunk would be written once a signature, and the graph
of many tasks could be larger than its weights.
"""

import contextlib
from collections.abc import Callable, Iterator
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

    def values(self, inputs: dict[str, Any]) -> list[Any]:
        """Computes the value of each tensor; equal ones are one object, which fused heads look at."""
        found = list(self.function(inputs))
        return [found[place] for place in self.places]


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


def behind(stem: Stem | None, part: Any) -> Run:
    """Returns what computes the outputs of a model in inference mode, from what the stem gives.

    A model called in a signature would drag its training state along.

    Args:
        stem: What is shared, or None.
        part: A functional model with a dict of outputs, of the model that has the stem.
    """
    names = [tensor.name for tensor in part.inputs]
    given = {id(tensor): place for place, tensor in enumerate(stem.tensors if stem else ())}
    ready = {name: given[id(tensor)] for name, tensor in part.output.items() if id(tensor) in given}
    left = {name: tensor for name, tensor in part.output.items() if name not in ready}
    head = keras.Model([*stem.tensors, *part.inputs], left) if stem and left else part

    def run(inputs: dict[str, Any]) -> dict[str, Any]:
        values = stem.values(inputs) if stem else []
        with cut_heads(head):
            found = head([*values, *(inputs[name] for name in names)], training=False) if left else {}
        found |= {name: values[place] for name, place in ready.items()}
        return {name: found[name] for name in part.output}

    return run


@contextlib.contextmanager
def cut_heads(part: Any, *, copied: bool = False) -> Iterator[None]:
    """Lets fused heads compute for a while only what the outputs of a model need.

    Layers that no output needs are no part of a functional model anyway; a fused layer computes all of its tasks.

    Args:
        part: A functional model; models nested in it are left as they are.
        copied: Whether what is traced meanwhile reads copies of the slices that it needs, so that an artifact without
            the other tasks does not hold their weights.
    """
    with contextlib.ExitStack() as stack:
        for layer in part.layers:
            if serves_outputs_apart(layer):
                # Keras flattens a dict of outputs in the order of its sorted keys.
                names = sorted(layer.names)
                needed = [names[position] for position in _keras_private.read_positions(part, layer)]
                if len(needed) < len(names):
                    stack.enter_context(layer.only(needed, copied=copied))
        yield
