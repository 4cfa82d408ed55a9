"""What Keras carries along with a tensor, as attributes of it."""

from typing import Any

import tensorflow as tf


def has_mask(value: Any) -> bool:
    """Whether Keras carries a mask along with a tensor."""
    return getattr(value, "_keras_mask", None) is not None


def logits_behind(probabilities: Any) -> Any:
    """Finds the logits behind probabilities as Keras's cross-entropies find them.

    Args:
        probabilities: What a softmax or a sigmoid returned, with nothing in between.

    Returns:
        The logits; None if there are none to be found.
    """
    if hasattr(probabilities, "_keras_logits"):
        return probabilities._keras_logits
    kind = None if tf.executing_eagerly() else probabilities.op.type
    return probabilities.op.inputs[0] if kind in ("Softmax", "Sigmoid") else None


def put_logits_behind(probabilities: Any, logits: Any) -> None:
    """Lets Keras's cross-entropies find these logits behind probabilities; any operation in between loses them."""
    probabilities._keras_logits = logits
