"""Recipes: every form of joint training, from one joint `fit` to ensembles, by one call."""

from kmtl.training.decision_forests import DecisionForest
from kmtl.training.heterogeneous import Heterogeneous
from kmtl.training.indirect import Indirect
from kmtl.training.joint import Joint, Separate
from kmtl.training.mixed_model import MixedModel
from kmtl.training.recipe import Recipe
from kmtl.training.trained import Stage, Trained
from kmtl.training.work import Work

__all__ = [
    "DecisionForest",
    "Heterogeneous",
    "Indirect",
    "Joint",
    "MixedModel",
    "Recipe",
    "Separate",
    "Stage",
    "Trained",
    "Work",
]
