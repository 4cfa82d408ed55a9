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
    Detection,
    HeteroscedasticRegression,
    MultiLabel,
    OrdinalRegression,
    PoissonRegression,
    QuantileRegression,
    Regression,
    Segmentation,
    Tagging,
    Task,
)

__version__ = "0.1.0"

__all__ = [
    "BinaryClassification",
    "Classification",
    "DenseRegression",
    "Detection",
    "HeteroscedasticRegression",
    "JointLoss",
    "JointMetric",
    "MultiLabel",
    "MultiTaskModel",
    "OrdinalRegression",
    "PoissonRegression",
    "QuantileRegression",
    "Regression",
    "Segmentation",
    "Tagging",
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
