"""What steps of recipes have in common: losses that belong to no label, and variables of their own."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from kmtl._checks import Refusals, is_number
from kmtl._replicas import sum_over_replicas
from kmtl._types import Tensor


def factors_of(weight: Any, names: Sequence[str]) -> list[float]:
    """One factor a task, of one for all or `{task: factor}`, in which a task left out has 0.

    >>> factors_of({"age": 2.0}, ["digit", "age"])
    [0.0, 2.0]
    """
    return [float(weight.get(name, 0.0) if isinstance(weight, Mapping) else weight) for name in names]


def check_factors(refusals: Refusals, argument: str, weight: Any) -> None:
    """Records what is neither one factor nor factors by task."""
    factors = list(weight.values()) if isinstance(weight, Mapping) else [weight]
    if not factors or not all(is_number(factor) and factor >= 0 for factor in factors):
        refusals.add(argument, "must be a number of at least 0, or {task: such a number}", weight)


def weighed_sum(setup: Any, factors: Sequence[float], sums: Any, counts: Any) -> Tensor:
    """This replica's part of a loss of all tasks: each one's mean over the global batch, weighed and added up.

    The static loss weights multiply it: a task of weight 0 learns nothing here either.

    Args:
        setup: What `compile` decided.
        factors: Of each task, in order.
        sums: This replica's sum of each task, `(K,)`.
        counts: Over how many it is taken here, `(K,)`.
    """
    totals = sum_over_replicas(tf.stop_gradient(counts))
    weights = setup.loss_weights.value[: len(factors)] * tf.constant(factors)
    return tf.reduce_sum(weights * sums / tf.maximum(totals, 1.0))


def held(value: Any, name: str, *, aggregation: str = "only_first_replica") -> Any:
    """A variable of a step, which a backup holds with its `state`.

    Args:
        value: What it starts with, an array or another variable.
        name: Its name.
        aggregation: What becomes of what replicas assign; by default they agree.
    """
    start = keras.ops.convert_to_numpy(value)
    return keras.Variable(start, dtype=start.dtype.name, trainable=False, name=name, aggregation=aggregation)
