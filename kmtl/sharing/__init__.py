"""How tasks share a model."""

from kmtl.sharing.fork import Fork
from kmtl.sharing.pair_features import PairFeatures, PairSimilarity, pair_distance
from kmtl.sharing.pair_relation import PairRelation
from kmtl.sharing.shared_and_own import shared_and_own_heads
from kmtl.sharing.siamese_pair import Contrastive, SiamesePair
from kmtl.sharing.two_label_head import Marginals, TwoLabelHead

__all__ = [
    "Contrastive",
    "Fork",
    "Marginals",
    "PairFeatures",
    "PairRelation",
    "PairSimilarity",
    "SiamesePair",
    "TwoLabelHead",
    "pair_distance",
    "shared_and_own_heads",
]
