"""Recipes: every form of joint training, from one joint `fit` to ensembles, by one call."""

from kmtl.training.distilled import Distilled
from kmtl.training.fine_tuned import FineTuned
from kmtl.training.joint import Joint, Separate
from kmtl.training.recipe import Recipe
from kmtl.training.semi_supervised import SemiSupervised
from kmtl.training.trained import Stage, Trained
from kmtl.training.work import Work

__all__ = ["Distilled", "FineTuned", "Joint", "Recipe", "SemiSupervised", "Separate", "Stage", "Trained", "Work"]
