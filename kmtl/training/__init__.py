"""Recipes: every form of joint training, from one joint `fit` to ensembles, by one call."""

from kmtl.training.alternating import Alternating
from kmtl.training.bagging import Bagging
from kmtl.training.boosting import Boosting
from kmtl.training.classical import Classical
from kmtl.training.co_training import CoTraining
from kmtl.training.decision_forests import DecisionForest
from kmtl.training.distilled import Distilled
from kmtl.training.fine_tuned import FineTuned
from kmtl.training.grouped import Grouped
from kmtl.training.heterogeneous import Heterogeneous
from kmtl.training.indirect import Indirect
from kmtl.training.joint import Joint, Separate
from kmtl.training.label_affinity import label_affinity
from kmtl.training.label_fusion import LabelFusion
from kmtl.training.message_passing import MessagePassing
from kmtl.training.mixed_model import MixedModel
from kmtl.training.output_sum import OutputSum
from kmtl.training.recipe import Recipe
from kmtl.training.regularized import regularized
from kmtl.training.semi_supervised import SemiSupervised
from kmtl.training.stacking import Stacking
from kmtl.training.stretched import stretched
from kmtl.training.trained import Stage, Trained
from kmtl.training.widened import widened, width_for
from kmtl.training.work import Work

__all__ = [
    "Alternating",
    "Bagging",
    "Boosting",
    "Classical",
    "CoTraining",
    "DecisionForest",
    "Distilled",
    "FineTuned",
    "Grouped",
    "Heterogeneous",
    "Indirect",
    "Joint",
    "LabelFusion",
    "MessagePassing",
    "MixedModel",
    "OutputSum",
    "Recipe",
    "SemiSupervised",
    "Separate",
    "Stacking",
    "Stage",
    "Trained",
    "Work",
    "label_affinity",
    "regularized",
    "stretched",
    "widened",
    "width_for",
]
