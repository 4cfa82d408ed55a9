"""Rebuilds a model in float32: LiteRT does not convert half-precision graphs."""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras

_HALF = frozenset({"float16", "bfloat16"})
_LOW = _HALF | {"mixed_float16", "mixed_bfloat16"}


def in_float32(model: Any) -> Any:
    """Returns `model` if all of its layers compute in full precision, else a float32 copy with the same weights.

    Every layer is made anew from its config with each low-precision policy in it replaced, nested models and wrapped
    layers included. The copy is made under the global policy float32, because a layer that builds layers of its own
    gives them the global one.

    Args:
        model: A functional model. Mixed precision keeps its weights in float32, so that the copy has them exactly.

    Returns:
        A functional model with the same inputs and outputs.
    """
    if not any(layer.compute_dtype in _HALF for layer in _layers(model)):
        return model
    with _global_policy("float32"):
        copy = _Copies().graph(model.input, model.output)
    copy.set_weights(model.get_weights())
    return copy


def _layers(model: Any) -> Iterator[Any]:
    """Yields the layers of a model and of the models nested in it."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _layers(layer)
        else:
            yield layer


class _Copies(dict[Any, Any]):
    """Float32 copies by original, each made when first asked for, so that a layer used twice stays one layer."""

    def __missing__(self, layer: Any) -> Any:
        """Copies a layer, a nested model or an operation of the functional graph."""
        if isinstance(layer, keras.Sequential):
            copy = self.graph(layer.inputs[0], layer.outputs[0])
        elif isinstance(layer, keras.Model) and hasattr(layer, "operations"):
            copy = self.graph(layer.input, layer.output)
        else:
            copy = type(layer).from_config(to_float32(layer.get_config()))
        self[layer] = copy
        return copy

    def graph(self, inputs: Any, outputs: Any) -> Any:
        """Copies all that lies between some inputs and outputs."""
        part = keras.Model(inputs, outputs)
        anew = keras.tree.map_structure(_float32_input, inputs)
        return keras.models.clone_model(part, input_tensors=anew, clone_function=self.__getitem__)


def _float32_input(tensor: Any) -> Any:
    """Returns a new input; a `Sequential` that was built by half-precision data has one of half precision."""
    dtype = "float32" if tensor.dtype in _HALF else tensor.dtype
    return keras.Input(batch_shape=tensor.shape, dtype=dtype, name=tensor.name)


def to_float32(config: Any) -> Any:
    """Returns a layer's config with every half-precision dtype or policy in it made float32.

    >>> to_float32({"units": 3, "dtype": {"class_name": "DTypePolicy", "config": {"name": "mixed_float16"}}})["dtype"]
    {'class_name': 'DTypePolicy', 'config': {'name': 'float32'}}
    """
    if isinstance(config, list):
        return [to_float32(item) for item in config]
    if not isinstance(config, dict):
        return config
    if config.get("class_name") == "DTypePolicy":
        name = config["config"]["name"]
        return {**config, "config": {"name": "float32" if name in _LOW else name}}
    return {
        key: "float32" if key == "dtype" and _is_half(value) else to_float32(value) for key, value in config.items()
    }


def _is_half(value: Any) -> bool:
    """Tells a half-precision dtype or policy from what else a config may hold under that key."""
    return isinstance(value, str) and value in _LOW


@contextlib.contextmanager
def _global_policy(name: str) -> Iterator[None]:
    """Sets Keras's global policy for a while."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
