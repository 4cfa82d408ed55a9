"""Linear estimators as a layer."""

from typing import Any

import keras
import numpy as np

from kmtl.training.classical import Classical

# What a class that no label had gets in place of a logit.
_NEVER = -1e9
_TOLERANCE = 1e-4


def linear_layer(classical: Classical, width: int) -> Any:
    """Makes the layer that gives what linear estimators give.

    It is tried on random rows, so that an estimator whose probabilities are no softmax or sigmoid of its scores, as
    those of one-against-the-rest, is not taken for one.

    Args:
        classical: The predictor.
        width: Of the rows that it reads.

    Returns:
        A `keras.layers.Dense` that does not train; None if the estimators have no `coef_` and `intercept_`, or give
        something else.

    >>> from sklearn.linear_model import LinearRegression
    >>> from kmtl.tasks import Regression
    >>> x = np.arange(4.0)[:, None]
    >>> layer = linear_layer(Classical.fitted(Regression("age"), LinearRegression(), x, 2 * x[:, 0] + 1), 1)
    >>> layer(np.array([[5.0]])).numpy().round(3).tolist()
    [[11.0]]
    """
    task = classical.task
    if not all(hasattr(one, "coef_") and hasattr(one, "intercept_") for one in classical.estimators):
        return None
    parts = [_scores(one) for one in classical.estimators]
    if any(kernel.shape[0] != width for kernel, _ in parts):
        return None
    kernel, bias = (np.concatenate(sides, axis=-1) for sides in zip(*parts, strict=True))
    if task.scores_classes:
        kernel, bias = _of_classes(kernel, bias, classical.estimators[0].classes_, task.units)
    if kernel.shape[1] != task.units:
        return None
    activation = task.final_activation if task.decides else None
    layer = keras.layers.Dense(
        task.units, activation=activation, trainable=False, dtype="float32", name=f"{task.name}_linear"
    )
    layer.build((None, width))
    layer.set_weights([kernel, bias])
    return layer if _gives_the_same(layer, classical, width) else None


def _scores(estimator: Any) -> tuple[Any, Any]:
    """Kernel `(width, scores)` and bias `(scores,)` of an estimator."""
    kernel = np.asarray(estimator.coef_, "float64").reshape(-1, np.shape(estimator.coef_)[-1]).T
    bias = np.broadcast_to(np.ravel(estimator.intercept_), kernel.shape[1:])
    return kernel, bias


def _of_classes(kernel: Any, bias: Any, classes: Any, number: int) -> tuple[Any, Any]:
    """A logit a class; of two classes scikit-learn tells one score, that of the second against the first."""
    if kernel.shape[1] == 1:
        kernel, bias = (np.concatenate([np.zeros_like(side), side], axis=-1) for side in (kernel, bias))
    made, logits = np.zeros((len(kernel), number)), np.full(number, _NEVER)
    if kernel.shape[1] == len(classes):
        made[:, np.asarray(classes, int)], logits[np.asarray(classes, int)] = kernel, bias
    return made, logits


def _gives_the_same(layer: Any, classical: Classical, width: int) -> bool:
    """Whether layer and estimators agree on random rows."""
    rows = np.random.default_rng(0).normal(size=(64, width)).astype("float32")
    wanted = classical.outputs(rows)
    found = keras.ops.convert_to_numpy(layer(rows))
    return bool(np.abs(found - wanted).max() <= _TOLERANCE * max(1.0, np.abs(wanted).max()))
