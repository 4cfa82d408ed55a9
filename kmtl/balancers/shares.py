"""A softmax that some tasks sit out."""

from typing import Any

from keras import ops


def shares(logits: Any, present: Any) -> Any:
    """Softmax over the tasks present, `(K,)`; 0 for the others, whatever their logit; all 0 if nobody is there.

    Args:
        logits: `(K,)`. One that is not finite makes the shares of all NaN; minus infinity is a share of 0.
        present: Booleans `(K,)`.

    >>> shares(ops.array([0.0, float("nan"), 0.0]), ops.array([True, False, True])).numpy().tolist()
    [0.5, 0.0, 0.5]
    """
    largest = ops.max(ops.where(present, logits, -float("inf")))
    # Without a task there is no largest.
    centred = ops.where(present, logits, 0.0) - ops.where(ops.any(present), largest, 0.0)
    powers = ops.where(present, ops.exp(centred), 0.0)
    total = ops.sum(powers)
    return powers / ops.where(ops.any(present), total, 1.0)
