"""What a head gives before its last activation, as a tensor that can be added to another's."""

from collections.abc import Callable, MutableMapping
from typing import Any, NamedTuple

import keras

from kmtl._keras_private import layer_behind
from kmtl.tasks.base import Task
from kmtl.tasks.fused import FusedHeads
from kmtl.tasks.standardization import Unstandardize

_KERNELS = (keras.layers.Dense, keras.layers.EinsumDense, keras.layers.Conv1D, keras.layers.Conv2D)


class LinearOutput(NamedTuple):
    """The last linear value of a head.

    Attributes:
        tensor: KerasTensor: logits, the standardised value of a regression, or another value before its activation.
        end: From such a value to an output of the task, by new layers, the last of which bears the task's name.
    """

    tensor: Any
    end: Callable[[Any], Any]


def linear_output(task: Task, output: Any, copies: MutableMapping[int, Any]) -> LinearOutput | None:
    """Finds what a head gives before its last activation.

    Args:
        task: The task.
        output: KerasTensor that its head made.
        copies: Outputs of the layers that had to be made again without their activation, by `id` of the old layer;
            heads that are computed as one share theirs.

    Returns:
        None where the head ends in anything but a linear layer and an activation, or a way back to the label's unit.

    >>> from kmtl.tasks.classification import Classification
    >>> features = keras.Input((3,))
    >>> task = Classification("digit", 10)
    >>> found = linear_output(task, task.head(features), {})
    >>> keras.activations.serialize(layer_behind(found.tensor).activation), layer_behind(found.end(found.tensor)).name
    ('linear', 'digit')
    """
    layer = layer_behind(output)
    while isinstance(layer, keras.layers.Identity) or (_is_activation(layer) and _activation(layer) == "linear"):
        # By itself it is a cast: what it casts may be behind an activation.
        output = layer.input
        layer = layer_behind(output)
    if isinstance(layer, Unstandardize):
        return LinearOutput(layer.input, _again(layer, {"name": task.name}))
    if _is_activation(layer):
        return LinearOutput(layer.input, _again(layer, {"name": task.name}))
    if not isinstance(layer, (FusedHeads, *_KERNELS)):
        return None
    end = keras.layers.Activation(_activation(layer), dtype="float32", name=task.name)
    if _activation(layer) == "linear":
        return LinearOutput(output, end)
    if id(layer) not in copies:
        copies[id(layer)] = _linear(layer)
    found = copies[id(layer)]
    return LinearOutput(found[task.name] if isinstance(layer, FusedHeads) else found, end)


def _linear(layer: Any) -> Any:
    """What a layer gives without its activation: the output of another one that has its values."""
    linear = None if isinstance(layer, FusedHeads) else "linear"
    copy = _again(layer, {"name": f"{layer.name}_linear", "activation": linear})
    outputs = copy(layer.input)
    copy.set_weights(layer.get_weights())
    return outputs


def _again(layer: Any, changes: dict[str, Any]) -> Any:
    """A layer of the same config but for some entries."""
    return type(layer).from_config({**layer.get_config(), **changes})


def _is_activation(layer: Any) -> bool:
    """Whether a layer is an activation and nothing else."""
    return isinstance(layer, keras.layers.Activation | keras.layers.Softmax)


def _activation(layer: Any) -> Any:
    """A layer's activation as a config holds it."""
    softmax = isinstance(layer, keras.layers.Softmax)
    return "softmax" if softmax else keras.activations.serialize(keras.activations.get(layer.activation))
