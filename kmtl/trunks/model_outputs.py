"""Calling a ready model on an image, and choosing one of its outputs."""

from collections.abc import Sequence
from typing import Any

import keras

from kmtl._checks import near, refusal, require, words


def chosen_output(owner: str, model: Any, image: Any, output: str | None) -> Any:
    """Returns the one chosen output of a model for an image.

    Args:
        owner: Who asks, for the messages.
        model: A model of one input, or of several.
        image: `(batch, height, width, channels)`, a dict of tensors by the names of the model's inputs, or None to
            continue from the model's own inputs.
        output: The key of an output or the name of a layer; None where there is but one output.

    Returns:
        The output, of any rank.

    Raises:
        ValueError: If the image does not fit, the model reads more than is given, or the choice is
            missing or unknown.
    """
    ready = getattr(model, "output", None)
    if output is not None and ready is not None and output not in _keys(ready):
        model, output = _part_until(owner, model, output), None
    return _choose(owner, _call(owner, model, image), output)


def _keys(outputs: Any) -> list[str]:
    """Returns the keys of a dict of outputs, and nothing for any other structure."""
    return list(outputs) if isinstance(outputs, dict) else []


def _part_until(owner: str, model: Any, name: str) -> Any:
    """Returns the part of a functional model that ends with the first call of the layer of this name."""
    layers = {layer.name: layer for layer in model.layers}
    rule = "must be a key of the model's outputs or the name of one of its layers"
    require(name in layers, owner, "output", rule, name, near(name, [*_keys(model.output), *layers]))
    try:
        return keras.Model(model.input, layers[name].output, name=model.name)
    except ValueError as error:
        fix = "Name a layer that was not called on another input before."
        raise ValueError(refusal(owner, "output", "must be a layer on the model's own path", name, fix)) from error


def _call(owner: str, model: Any, image: Any) -> Any:
    """Calls the model on the image, or returns the outputs that it already has."""
    inputs = getattr(model, "input", None)
    if image is None:
        fix = "Pass the image that it reads."
        require(inputs is not None, owner, "image", "must be given for a model without inputs of its own", image, fix)
        return model.output
    if inputs is None:
        return model(image)
    if isinstance(image, dict):
        return model(_by_name(owner, inputs, image))
    _check_fit(owner, tuple(_only_input(owner, inputs).shape), tuple(image.shape))
    return model(keras.tree.pack_sequence_as(inputs, [image]))


def _names(inputs: Any) -> list[str]:
    """Names of a model's inputs: the keys of a dict, else those of the tensors, in the order of the flat structure."""
    if isinstance(inputs, dict):
        return sorted(inputs)
    return [tensor.name for tensor in keras.tree.flatten(inputs)]


def _by_name(owner: str, inputs: Any, given: dict[str, Any]) -> Any:
    """Returns tensors in the structure of a model's inputs, or refuses others than it reads."""
    names = _names(inputs)
    fix = f"The model reads {names}."
    require(set(given) == set(names), owner, "image", "must hold each input of the model", sorted(given), fix)
    for name, tensor in zip(names, keras.tree.flatten(inputs), strict=True):
        _check_fit(owner, tuple(tensor.shape), tuple(given[name].shape))
    return keras.tree.pack_sequence_as(inputs, [given[name] for name in names])


def _only_input(owner: str, inputs: Any) -> Any:
    """Returns the one input, or refuses a model that reads more than an image."""
    flat, names = keras.tree.flatten(inputs), _names(inputs)
    fix = "Pass all of them as a dict by name; or none, to continue from the model's own inputs."
    require(len(flat) == 1, owner, "image", "must be all that the model reads", words(f"one of {names}"), fix)
    return flat[0]


def _check_fit(owner: str, wanted: Sequence[int | None], image: Sequence[int | None]) -> None:
    """Refuses an image whose shape the model was not built for."""
    fits = len(wanted) == len(image) and all(
        want is None or want == side for want, side in zip(wanted[1:], image[1:], strict=True)
    )
    fix = "Build the model with the image's shape, or resize the image first (keras.layers.Resizing)."
    if len(wanted) == len(image) == 4 and (image[3], wanted[3]) == (1, 3):
        fix = "Repeat the channel: keras.layers.Concatenate()([image, image, image])."
    require(fits, owner, "image", f"must have the shape {wanted} that the model reads", image, fix)


def _choose(owner: str, outputs: Any, output: str | None) -> Any:
    """Returns one tensor of the model's outputs."""
    if isinstance(outputs, dict) and output is not None:
        require(
            output in outputs, owner, "output", "must be a key of the model's outputs", output, near(output, outputs)
        )
        return outputs[output]
    fix = f"Choose one of: {', '.join(map(repr, _keys(outputs)))}." if isinstance(outputs, dict) else "Name its layer."
    flat = keras.tree.flatten(outputs)
    rule = "must choose one output, by key or by layer"
    require(len(flat) == 1 and output is None, owner, "output", rule, output, fix)
    return flat[0]
