"""Recipes: every form of joint training, from one joint `fit` to ensembles, by one call."""

from kmtl.training.bagging import Bagging
from kmtl.training.boosting import Boosting
from kmtl.training.joint import Joint, Separate
from kmtl.training.label_fusion import LabelFusion
from kmtl.training.output_sum import OutputSum
from kmtl.training.recipe import Recipe
from kmtl.training.stacking import Stacking
from kmtl.training.trained import Stage, Trained
from kmtl.training.work import Work

__all__ = [
    "Bagging",
    "Boosting",
    "Joint",
    "LabelFusion",
    "OutputSum",
    "Recipe",
    "Separate",
    "Stacking",
    "Stage",
    "Trained",
    "Work",
]
