"""What a task is: its label, its missing label, its loss, its metrics, its head."""

from kmtl.tasks.base import Task
from kmtl.tasks.classification import BinaryClassification, Classification, MultiLabel
from kmtl.tasks.dense_regression import DenseRegression
from kmtl.tasks.detection import Detection
from kmtl.tasks.final_activations import is_logits, takes_logits, with_activations
from kmtl.tasks.fused import FusedHeads
from kmtl.tasks.heads import build_heads, check_factors, features_by_task
from kmtl.tasks.heteroscedastic_regression import HeteroscedasticRegression
from kmtl.tasks.matching import matched_outputs, named_tasks
from kmtl.tasks.ordinal_regression import OrdinalRegression
from kmtl.tasks.poisson_regression import PoissonRegression
from kmtl.tasks.quantile_regression import QuantileRegression
from kmtl.tasks.regression import Regression
from kmtl.tasks.relation import Relation, RelationLoss, relation_logits
from kmtl.tasks.segmentation import Segmentation
from kmtl.tasks.standardization import Unstandardize
from kmtl.tasks.tagging import Tagging
from kmtl.tasks.task_space import TaskSpace, renamed
from kmtl.tasks.two_label_states import TwoLabelLikelihood, TwoLabelStates, marginal_logits
from kmtl.tasks.two_labels import TwoLabels

__all__ = [
    "BinaryClassification",
    "Classification",
    "DenseRegression",
    "Detection",
    "FusedHeads",
    "HeteroscedasticRegression",
    "MultiLabel",
    "OrdinalRegression",
    "PoissonRegression",
    "QuantileRegression",
    "Regression",
    "Relation",
    "RelationLoss",
    "Segmentation",
    "Tagging",
    "Task",
    "TaskSpace",
    "TwoLabelLikelihood",
    "TwoLabelStates",
    "TwoLabels",
    "Unstandardize",
    "build_heads",
    "check_factors",
    "features_by_task",
    "is_logits",
    "marginal_logits",
    "matched_outputs",
    "named_tasks",
    "relation_logits",
    "renamed",
    "takes_logits",
    "with_activations",
]
