"""Losses and metrics of Keras by the labels that they take: one-hot, a class's number, or numbers."""

from typing import Any

import keras
from keras import ops

from kmtl._checks import Refusals, words
from kmtl._keras_private import loss_arguments, metric_function
from kmtl.tasks.metric_directions import metric_name

_METRICS, _LOSSES = keras.metrics, keras.losses
# They compare a score a class with a label that is one-hot.
_ONE_HOT = (
    *(_METRICS.CategoricalAccuracy, _METRICS.TopKCategoricalAccuracy, _METRICS.CategoricalCrossentropy),
    *(_METRICS.CategoricalHinge, _METRICS.KLDivergence, _METRICS.FBetaScore, _METRICS.OneHotIoU),
    *(_METRICS.OneHotMeanIoU, _LOSSES.CategoricalCrossentropy, _LOSSES.CategoricalFocalCrossentropy),
    *(_LOSSES.CategoricalHinge, _LOSSES.KLDivergence),
)
# The same of one score, and of one-hot labels one against the rest.
_YES_OR_NO = (
    *(_METRICS.AUC, _METRICS.Precision, _METRICS.Recall, _METRICS.TruePositives, _METRICS.TrueNegatives),
    *(_METRICS.FalsePositives, _METRICS.FalseNegatives, _METRICS.PrecisionAtRecall, _METRICS.RecallAtPrecision),
    *(_METRICS.SensitivityAtSpecificity, _METRICS.SpecificityAtSensitivity),
)
_ONE_HOT_FUNCTIONS = frozenset(
    {_METRICS.categorical_accuracy, _METRICS.top_k_categorical_accuracy, _LOSSES.categorical_crossentropy}
    | {_LOSSES.categorical_focal_crossentropy, _LOSSES.categorical_hinge, _LOSSES.kl_divergence}
)
# They compare a score a class with the class's number.
_NUMBERED = (
    *(_METRICS.SparseCategoricalAccuracy, _METRICS.SparseTopKCategoricalAccuracy),
    *(_METRICS.SparseCategoricalCrossentropy, _LOSSES.SparseCategoricalCrossentropy),
)
_NUMBERED_FUNCTIONS = frozenset(
    {_METRICS.sparse_categorical_accuracy, _METRICS.sparse_top_k_categorical_accuracy}
    | {_LOSSES.sparse_categorical_crossentropy}
)
# They compare classes, unless they are told that they get scores.
_DECIDED = (_METRICS.IoU, _METRICS.MeanIoU)
# They decide at a threshold.
_DECIDING_FUNCTIONS = frozenset({_METRICS.binary_accuracy})


def takes_one_hot(measure: Any) -> bool:
    """Whether a loss or metric takes a score a class and one-hot labels.

    >>> takes_one_hot(keras.metrics.F1Score()), takes_one_hot(keras.losses.get("mse"))
    (True, False)
    """
    return isinstance(measure, (*_ONE_HOT, *_YES_OR_NO)) or _function(measure) in _ONE_HOT_FUNCTIONS


def _function(measure: Any) -> Any:
    """The function that a loss or metric is, or averages."""
    own = isinstance(measure, keras.metrics.Metric | keras.losses.Loss)
    return (metric_function(measure) or getattr(measure, "fn", None)) if own else measure


def one_hot(labels: Any, classes: int) -> Any:
    """Labels with an axis of classes behind, float32.

    >>> one_hot(ops.array([1, 0]), 2).numpy().tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    return ops.one_hot(ops.cast(labels, "int32"), classes, dtype="float32")


def ignored_class(loss: Any) -> int | None:
    """The class whose labels a loss leaves out, or None.

    >>> ignored_class(keras.losses.SparseCategoricalCrossentropy(ignore_class=0))
    0
    """
    found: int | None = loss_arguments(loss).get("ignore_class", getattr(loss, "ignore_class", None))
    return found


def check_metric(refusals: Refusals, argument: str, task: Any, metric: Any) -> bool:
    """Records a metric of Keras's that gives a number, but not of what a task's output is.

    Args:
        refusals: Where to record.
        argument: What the user calls the metrics.
        task: The task.
        metric: Keras metric.

    Returns:
        Whether it is one that may be tried.
    """
    function = _function(metric)
    by_class = isinstance(metric, (*_ONE_HOT, *_NUMBERED)) or function in _ONE_HOT_FUNCTIONS | _NUMBERED_FUNCTIONS
    # F1 of several yes-or-no answers is that of each.
    several = not task.scores_classes and isinstance(metric, _METRICS.FBetaScore) and task.decides
    fix = f"Use {', '.join(map(repr, task.default_metrics))}." if task.default_metrics else ""
    rule = f"of {task.name!r} must measure {task.meaning}"
    if type(metric) is _METRICS.Accuracy:
        got = words(f"{metric_name(metric)}, which counts outputs that equal their label")
        refusals.add(argument, rule, got, fix)
    elif by_class and not task.scores_classes and not several:
        refusals.add(argument, rule, words(f"{metric_name(metric)}, which wants a score a class"), fix)
    elif task.scores_classes and type(metric) in _DECIDED and metric.sparse_y_pred:
        got = words(f"{metric_name(metric)}, which wants the class that was decided")
        refusals.add(argument, rule, got, "Give it sparse_y_pred=False: it then takes the class of the highest score.")
    elif not task.classes and (function in _DECIDING_FUNCTIONS or isinstance(metric, _YES_OR_NO)):
        refusals.add(argument, rule, words(f"{metric_name(metric)}, which wants yes-or-no labels"), fix)
    else:
        return True
    return False
