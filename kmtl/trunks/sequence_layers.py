"""Layers over the tokens of a sequence to which padding is as if it were not there."""

from typing import Any

import keras
from keras import ops

from kmtl._checks import near, require

_KINDS = ("average", "max")


@keras.saving.register_keras_serializable(package="kmtl")
class MaskedConv1D(keras.layers.Conv1D):
    """A `keras.layers.Conv1D` that reads masked tokens as zeros, and hands the mask on.

    What it makes of a text then does not depend on what layers before it made of the padding. Arguments are those of
    `keras.layers.Conv1D`, of step 1 and `padding="same"`.

    >>> words = keras.layers.Embedding(9, 4, mask_zero=True)(ops.array([[3, 5, 0]]))
    >>> MaskedConv1D(8, 3, padding="same")(words).shape
    TensorShape([1, 3, 8])
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.supports_masking = True

    def call(self, inputs: Any, mask: Any = None) -> Any:
        """Convolves."""
        return super().call(inputs if mask is None else ops.where(ops.expand_dims(mask, -1), inputs, 0))


@keras.saving.register_keras_serializable(package="kmtl")
class PositionEmbedding(keras.layers.Layer):
    """Adds a learned vector to each place of a sequence, which attention alone cannot tell apart.

    Source: Gehring et al., Convolutional Sequence to Sequence Learning, ICML 2017.

    Shapes: `(batch, tokens, width)`, in and out; the mask goes on.

    >>> PositionEmbedding()(ops.zeros((2, 5, 8))).shape
    TensorShape([2, 5, 8])
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True

    def build(self, input_shape: Any) -> None:
        """Makes a vector a place."""
        self.places = self.add_weight(
            tuple(input_shape[1:]), keras.initializers.RandomNormal(stddev=0.02), name="places"
        )

    def call(self, inputs: Any) -> Any:
        """Adds the vectors."""
        return inputs + ops.cast(self.places, inputs.dtype)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """As it came."""
        return input_shape


@keras.saving.register_keras_serializable(package="kmtl")
class TokenPooling(keras.layers.Layer):
    """Makes one vector of the tokens of a sequence that its mask leaves; zeros where it leaves none.

    Keras's own `GlobalAveragePooling1D` makes NaN of an empty text, and its `GlobalMaxPooling1D` counts padding.

    Shapes: `(batch, tokens, width)` in, `(batch, width)` out.

    Args:
        kind: `"average"` or `"max"`.
        **kwargs: Keras layer options.

    >>> words = keras.layers.Embedding(9, 4, mask_zero=True)
    >>> TokenPooling()(words(ops.array([[0, 0]]))).numpy().tolist()
    [[0.0, 0.0, 0.0, 0.0]]
    """

    def __init__(self, kind: str = "average", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        require(kind in _KINDS, "TokenPooling", "kind", "must be known", kind, near(str(kind), _KINDS))
        self.kind = kind
        self.supports_masking = True

    def call(self, inputs: Any, mask: Any = None) -> Any:
        """Pools."""
        if mask is None:
            return ops.max(inputs, axis=1) if self.kind == "max" else ops.mean(inputs, axis=1)
        there = ops.expand_dims(mask, -1)
        if self.kind == "average":
            count = ops.maximum(ops.sum(ops.cast(there, "int32"), axis=1), 1)
            return ops.sum(ops.where(there, inputs, 0), axis=1) / ops.cast(count, inputs.dtype)
        highest = ops.max(ops.where(there, inputs, -float("inf")), axis=1)
        return ops.where(ops.any(there, axis=1), highest, 0)

    def compute_mask(self, _inputs: Any, _mask: Any = None) -> None:
        """None: a vector has no padding."""

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """Without the tokens."""
        return (input_shape[0], input_shape[-1])

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        return {**super().get_config(), "kind": self.kind}


@keras.saving.register_keras_serializable(package="kmtl")
class WithMask(keras.layers.Layer):
    """Puts a mask on a sequence whose maker was told of the padding and did not tell of it.

    Shapes: `[(batch, tokens, width), (batch, tokens)]` in, the first of them out.

    >>> sequence = WithMask()([ops.ones((1, 3, 2)), ops.array([[1, 1, 0]])])
    >>> TokenPooling()(sequence).shape
    TensorShape([1, 2])
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, inputs: Any) -> Any:
        """Returns the sequence."""
        return ops.copy(inputs[0])

    def compute_mask(self, inputs: Any, _mask: Any = None) -> Any:
        """Where the mask is not 0."""
        return ops.cast(inputs[1], "bool")

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Of the sequence."""
        return input_shape[0]
