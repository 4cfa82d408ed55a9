"""All that a layer holds, given to another of the same settings."""

import tempfile
from typing import Any

import keras


def classes_of_layers(model: Any) -> dict[str, type]:
    """The classes of a model's layers by their names, those inside of other layers included."""
    return {type(layer).__name__: type(layer) for layer in model._flatten_layers()}


def same_lambda(layer: Any) -> Any:
    """Makes a `Lambda` once more, with the function itself, which a configuration holds in part at best."""
    options = {"output_shape": layer._output_shape, "mask": layer.mask, "arguments": layer.arguments}
    return keras.layers.Lambda(layer.function, name=layer.name, dtype=layer.dtype_policy, **options)


def copy_state(old: Any, new: Any) -> None:
    """Gives a built layer, or model, all that an alike one holds: weights, generators, vocabularies, what is frozen.

    Args:
        old: A built layer.
        new: One made of its config, and built.
    """
    pairs = list(zip(old._flatten_layers(), new._flatten_layers(), strict=True))
    for one, other in pairs:
        other.trainable = one.trainable
    for one, other in pairs:
        held: dict[str, Any] = {}
        one.save_own_variables(held)
        if held:
            other.load_own_variables(held)
        if hasattr(one, "save_assets") and hasattr(other, "load_assets"):
            with tempfile.TemporaryDirectory() as folder:
                one.save_assets(folder)
                other.load_assets(folder)
    for source, target in zip(old.variables, new.variables, strict=True):
        # Among them what Keras leaves out of its files: the state of random generators.
        target.assign(source)
        if target.trainable != source.trainable:
            target.trainable = source.trainable
