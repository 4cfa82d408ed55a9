"""Recipes: every form of joint training, from one joint `fit` to ensembles, by one call."""

from kmtl.training.indirect import Indirect
from kmtl.training.joint import Joint, Separate
from kmtl.training.recipe import Recipe
from kmtl.training.trained import Stage, Trained
from kmtl.training.work import Work

__all__ = ["Indirect", "Joint", "Recipe", "Separate", "Stage", "Trained", "Work"]
