"""Multi-task learning for Keras 3 on TensorFlow: one model, a shared trunk, many named heads."""

from kmtl import _backend  # noqa: F401, I001  # the first of all: it refuses other backends
from kmtl import (
    balancers,
    callbacks,
    data,
    distribution,
    evidence,
    export,
    front,
    metrics,
    search,
    sharing,
    tasks,
    training,
    trunks,
)
from kmtl.joint_terms import JointLoss, JointMetric
from kmtl.model.model import MultiTaskModel
from kmtl.search import from_data as weighting
from kmtl.tasks import (
    BinaryClassification,
    Classification,
    DenseRegression,
    MultiLabel,
    OrdinalRegression,
    Regression,
    Segmentation,
    Task,
)

__version__ = "0.1.0"

__all__ = [
    "BinaryClassification",
    "Classification",
    "DenseRegression",
    "JointLoss",
    "JointMetric",
    "MultiLabel",
    "MultiTaskModel",
    "OrdinalRegression",
    "Regression",
    "Segmentation",
    "Task",
    "balancers",
    "callbacks",
    "data",
    "distribution",
    "evidence",
    "export",
    "front",
    "metrics",
    "search",
    "sharing",
    "tasks",
    "training",
    "trunks",
    "weighting",
]
# What a notebook offers behind `kmtl.`: the public names.
__dir__ = __all__.copy
