"""Logits behind the end of a text."""

from typing import Any

import keras
from keras import ops

# A probability of 1 - 2e-9 a class, and small enough for 8 bits to hold the other logits beside it.
_CERTAIN = 20.0


@keras.saving.register_keras_serializable(package="kmtl")
class MaskedLogits(keras.layers.Layer):
    """Makes logits certain of one class where Keras's mask says that there is no token; elsewhere they pass.

    Shapes: `(batch, tokens, classes)` in and out; the mask ends here, since a softmax would take it for another.

    Args:
        place: Number of the class.
        **kwargs: Keras layer options.

    >>> MaskedLogits(1)(ops.array([[[3.0, 0.0], [9.0, 1.0]]]), mask=ops.array([[True, False]])).numpy().tolist()
    [[[3.0, 0.0], [0.0, 20.0]]]
    """

    def __init__(self, place: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.place = place
        self.supports_masking = True

    def call(self, inputs: Any, mask: Any = None) -> Any:
        """Replaces the logits that the mask leaves out."""
        if mask is None:
            return inputs
        certain = ops.one_hot(self.place, inputs.shape[-1], dtype=inputs.dtype) * _CERTAIN
        return ops.where(ops.expand_dims(mask, -1), inputs, certain)

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> None:
        """No mask goes on."""
        del inputs, previous_mask

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The input's shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        return {**super().get_config(), "place": self.place}
