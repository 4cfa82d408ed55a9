"""How tasks share a model."""

from kmtl.sharing.averaged_heads import AveragedHeads
from kmtl.sharing.cascade import Cascade
from kmtl.sharing.classifier_and_detector import classifier_and_detector
from kmtl.sharing.concept_expansion import ConceptExpansion
from kmtl.sharing.cross_stitch import CrossStitch
from kmtl.sharing.feature_fusion import FeatureFusion
from kmtl.sharing.fork import Fork
from kmtl.sharing.input_dropout import InputDropout
from kmtl.sharing.mixture import GatedMixture, StackedMixture
from kmtl.sharing.pair_features import PairFeatures, PairSimilarity, pair_distance
from kmtl.sharing.pair_relation import PairRelation
from kmtl.sharing.present_rows import present_rows
from kmtl.sharing.shared_and_own import shared_and_own_heads
from kmtl.sharing.siamese_pair import Contrastive, SiamesePair
from kmtl.sharing.two_label_head import Marginals, TwoLabelHead

__all__ = [
    "AveragedHeads",
    "Cascade",
    "ConceptExpansion",
    "Contrastive",
    "CrossStitch",
    "FeatureFusion",
    "Fork",
    "GatedMixture",
    "InputDropout",
    "Marginals",
    "PairFeatures",
    "PairRelation",
    "PairSimilarity",
    "SiamesePair",
    "StackedMixture",
    "TwoLabelHead",
    "classifier_and_detector",
    "pair_distance",
    "present_rows",
    "shared_and_own_heads",
]
