"""The linear layer whose values a softmax or a sigmoid turns into a task's probabilities."""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras

from kmtl._keras_private import layer_behind
from kmtl.tasks.fused import FusedHeads
from kmtl.tasks.masked_logits import MaskedLogits
from kmtl.tasks.ordinal_links import ConditionalLink, CumulativeLink
from kmtl.tasks.upsampling import BilinearUpSampling

_ENDS = ("softmax", "sigmoid")
_KERNELS = (keras.layers.Dense, keras.layers.EinsumDense, keras.layers.Conv1D, keras.layers.Conv2D)
# A factor passes through all of these; logits behind the end of a text are no layer's.
_RESHAPING = (keras.layers.Reshape, keras.layers.Flatten, keras.layers.Identity, MaskedLogits)
# What the kind itself says becomes of its probabilities: see `kmtl.tasks.Task.tempered`.
_LINKS = (ConditionalLink,)
_ENLARGING = (keras.layers.UpSampling1D, keras.layers.UpSampling2D, keras.layers.Resizing, BilinearUpSampling)


def logits_layer(output: Any) -> Any:
    """Finds the layer with a kernel that makes the logits of an output.

    Args:
        output: A Keras tensor of probabilities.

    Returns:
        A `FusedHeads` or `CumulativeLink`, or a layer with `kernel` and `bias`; None where something else than an
        activation, a link, or an enlargement of maps, lies between the layer and the probabilities.
    """
    layer = layer_behind(output)
    if isinstance(layer, (FusedHeads, *_KERNELS)) and _activation(layer) in _ENDS:
        return layer
    if not _is_end(layer):
        return None
    layer = _before(layer)
    while isinstance(layer, (*_RESHAPING, *_ENLARGING, *_LINKS)):
        layer = _before(layer)
    if isinstance(layer, CumulativeLink):
        return layer
    return layer if isinstance(layer, _KERNELS) and _activation(layer) == "linear" else None


def divide_logits(layer: Any, name: str, divisor: float) -> None:
    """Divides the logits of a task by a number, in the weights of the layer that makes them.

    Args:
        layer: What `logits_layer` found.
        name: Of the task.
        divisor: Above 0.
    """
    if isinstance(layer, FusedHeads | CumulativeLink):
        layer.divide_logits(name, divisor)
        return
    for variable in [layer.kernel, *([] if layer.bias is None else [layer.bias])]:
        variable.assign(variable / divisor)


@contextlib.contextmanager
def activations_left_out(output: Any) -> Iterator[Any]:
    """Lets an output be its logits for a while, in what is called meanwhile.

    Args:
        output: A Keras tensor of probabilities, or of anything else, which stays as it is.

    Yields:
        The tensor to compute.
    """
    layer = layer_behind(output)
    if _is_end(layer):
        yield layer.input
        return
    has_end = isinstance(layer, (FusedHeads, *_KERNELS)) and _activation(layer) in _ENDS
    before = layer.activation if has_end else None
    try:
        if has_end:
            layer.activation = None if isinstance(layer, FusedHeads) else keras.activations.linear
        yield output
    finally:
        if has_end:
            layer.activation = before


def _is_end(layer: Any) -> bool:
    """Whether a layer is a softmax or a sigmoid and nothing else."""
    is_activation = isinstance(layer, keras.layers.Activation) and _activation(layer) in _ENDS
    return isinstance(layer, keras.layers.Softmax) or is_activation


def _activation(layer: Any) -> str:
    """Name of a layer's activation."""
    return str(getattr(keras.activations.get(layer.activation), "__name__", ""))


def _before(layer: Any) -> Any:
    """The layer that a layer of one use takes its input from; a mask may come beside it."""
    try:
        given = layer.input
    except (AttributeError, ValueError):  # of several uses Keras knows no one input
        return None
    return layer_behind(given[0] if isinstance(given, list) else given)
