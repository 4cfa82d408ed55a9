"""Names of metrics, and which end of each is the better one."""

from typing import Any

# What tells a metric's better end: a piece of its name, or one whole word of it.
_HIGHER = ("accuracy", "precision", "recall", "sensitivity", "specificity", "similarity", "correlation", "io_u")
_HIGHER_WORDS = frozenset({"acc", "auc", "auroc", "dice", "f1", "fbeta", "iou", "map", "map50", "miou", "r2"})
_LOWER = ("loss", "error", "crossentropy", "hinge", "divergence", "poisson", "huber", "log_cosh", "delta_m")
_LOWER_WORDS = frozenset(
    {"bce", "ce", "crps", "kld", "logcosh", "mae", "mape", "mse", "msle", "nll", "pinball", "rmse"}
)

# Metrics that are in the label's unit.
_IN_UNIT = frozenset({"crps", "mae", "mean_absolute_error", "pinball", "rmse", "root_mean_squared_error"})


def better_end(name: str) -> str | None:
    """Tells whether more of a metric is better: `"max"`, `"min"`, or None where its name tells nothing.

    >>> better_end("top_k_accuracy"), better_end("rmse"), better_end("sharpness")
    ('max', 'min', None)
    """
    words = set(name.lower().split("_"))
    if words & _LOWER_WORDS or any(piece in name.lower() for piece in _LOWER):
        return "min"
    if words & _HIGHER_WORDS or any(piece in name.lower() for piece in _HIGHER):
        return "max"
    return None


def metric_name(metric: Any) -> str:
    """Names a metric as Keras does: a string is its own name.

    >>> import keras
    >>> metric_name("mae"), metric_name(keras.metrics.AUC(name="auc"))
    ('mae', 'auc')
    """
    if isinstance(metric, str):
        return metric
    return getattr(metric, "name", None) or metric.__name__


def is_in_unit(name: str) -> bool:
    """Whether a metric has the label's unit.

    >>> is_in_unit("mae"), is_in_unit("accuracy")
    (True, False)
    """
    return name in _IN_UNIT
