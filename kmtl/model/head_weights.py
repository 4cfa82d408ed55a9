"""The head of a task as weights that can be taken out and put back."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras


@dataclasses.dataclass(frozen=True)
class Head:
    """What only one task's output depends on.

    Attributes:
        task: Name of the task.
        layers: Layers that no other task uses.
        apart: Layers that serve several tasks, each by weights of its own, as fused heads do.
    """

    task: str
    layers: list[Any]
    apart: list[Any]

    def get_weights(self) -> list[Any]:
        """The weights as arrays, statistics of normalisation included."""
        own = [variable.numpy() for layer in self.layers for variable in layer.weights]
        return own + [part for layer in self.apart for part in layer.slices(self.task)]

    def set_weights(self, values: Sequence[Any]) -> None:
        """Puts back what `get_weights` returned.

        Args:
            values: Arrays, in its order.
        """
        left = list(values)
        for variable in [variable for layer in self.layers for variable in layer.weights]:
            variable.assign(left.pop(0))
        for layer in self.apart:
            count = len(layer.weights)
            layer.assign_slices(self.task, left[:count])
            left = left[count:]


def heads(model: Any) -> dict[str, Head]:
    """Finds the head of every task in a model's graph.

    A layer inside another model belongs to what that model belongs to.

    Args:
        model: A functional model with a dict of outputs keyed by task name.

    Returns:
        Heads by task, in the order of the outputs; a task that shares all of its layers has an empty one.
    """
    used = {name: keras.Model(model.input, tensor).layers for name, tensor in model.output.items()}
    counts: dict[int, int] = {}
    for layer in [layer for layers in used.values() for layer in layers]:
        counts[id(layer)] = counts.get(id(layer), 0) + 1
    found = {}
    for name, layers in used.items():
        apart = [layer for layer in layers if getattr(layer, "serves_outputs_apart", False)]
        own = [layer for layer in layers if counts[id(layer)] == 1 and layer.weights and layer not in apart]
        found[name] = Head(name, own, apart)
    return found
