"""What a temperature makes of probabilities."""

from typing import Any

import numpy as np


def tempered(probabilities: Any, temperature: float) -> Any:
    """Probabilities of logits that were divided by a temperature: `p_c^(1/T)`, normalised.

    Args:
        probabilities: `(rows, classes)`.
        temperature: Above 0; 1 changes nothing, more is less sure.

    >>> tempered(np.array([[0.8, 0.2]]), 2.0).round(3).tolist()
    [[0.667, 0.333]]
    """
    logits = np.log(np.maximum(probabilities, np.finfo("float32").tiny)) / temperature
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)
