"""How far two outputs of one task are from each other, whatever its kind."""

from typing import Any

from keras import ops

from kmtl._types import Tensor
from kmtl.tasks import Task
from kmtl.tasks.standardization import standardized


def squared_distance(task: Task, one: Any, other: Any, scaler: Any = None) -> Tensor:
    """Squared distance of outputs, a number a row, `(batch,)`.

    Of probabilities of classes the sum over the classes (Brier's), from 0 to 2; of values the mean over the elements,
    in standard deviations of the label where the task is standardised. Over places of a map or sequence it is averaged.

    Args:
        task: The task.
        one: Outputs `(batch, *output_shape)`.
        other: The like.
        scaler: The task's `Unstandardize` layer, if it has one.

    >>> from kmtl.tasks import Classification
    >>> squared_distance(Classification("kind", 2), ops.array([[1.0, 0.0]]), ops.array([[0.5, 0.5]])).numpy().tolist()
    [0.5]
    """
    pair = [ops.cast(outputs, "float32") for outputs in (one, other)]
    probabilities = [task.class_probabilities(outputs) for outputs in pair]
    if probabilities[0] is None:
        pair = pair if scaler is None else list(standardized([scaler], *pair))
        squares = ops.square(pair[0] - pair[1])
    else:
        squares = ops.sum(ops.square(probabilities[0] - probabilities[1]), axis=-1)
    return _mean_of_rows(squares)


def divergence(task: Task, given: Any, wanted: Any, temperature: float = 1.0) -> Tensor | None:
    r"""Kullback-Leibler divergence of softened probabilities of classes, a number a row, `(batch,)`.

        T^2 sum_c q_c log(q_c / p_c)    with    q_c ~ wanted_c^(1/T), p_c ~ given_c^(1/T)

    Probabilities to the power `1/T` are what a softmax of logits over `T` gives; `T^2` keeps the gradient's size.

    Source: Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015.

    Args:
        task: The task.
        given: Outputs `(batch, *output_shape)` that are to move.
        wanted: Outputs that they are to be like.
        temperature: `T`, above 0.

    Returns:
        None for a task without probabilities of classes.

    >>> from kmtl.tasks import Classification
    >>> one, other = ops.array([[0.5, 0.5]]), ops.array([[1.0, 0.0]])
    >>> round(float(divergence(Classification("kind", 2), one, other)[0]), 4)  # the logarithm of 2
    0.6931
    """
    found = [task.class_probabilities(ops.cast(outputs, "float32")) for outputs in (given, wanted)]
    if found[0] is None:
        return None
    soft = [ops.log_softmax(ops.log(ops.maximum(values, 1e-7)) / temperature, axis=-1) for values in found]
    terms = ops.exp(soft[1]) * (soft[1] - soft[0])
    return _mean_of_rows(temperature**2 * ops.sum(terms, axis=-1))


def _mean_of_rows(values: Any) -> Tensor:
    """Mean over all axes but the first."""
    axes = tuple(range(1, len(values.shape)))
    return ops.mean(values, axis=axes) if axes else values
