"""How tasks share a model."""

from kmtl.sharing.averaged_heads import AveragedHeads
from kmtl.sharing.cascade import Cascade
from kmtl.sharing.concept_expansion import ConceptExpansion
from kmtl.sharing.cross_stitch import CrossStitch
from kmtl.sharing.feature_fusion import FeatureFusion
from kmtl.sharing.fork import Fork
from kmtl.sharing.input_dropout import InputDropout
from kmtl.sharing.mixture import GatedMixture, StackedMixture
from kmtl.sharing.present_rows import present_rows

__all__ = [
    "AveragedHeads",
    "Cascade",
    "ConceptExpansion",
    "CrossStitch",
    "FeatureFusion",
    "Fork",
    "GatedMixture",
    "InputDropout",
    "StackedMixture",
    "present_rows",
]
