"""How tasks share a model."""

from kmtl.sharing.fork import Fork
from kmtl.sharing.pair_features import PairFeatures, PairSimilarity, pair_distance
from kmtl.sharing.siamese_pair import Contrastive, SiamesePair

__all__ = ["Contrastive", "Fork", "PairFeatures", "PairSimilarity", "SiamesePair", "pair_distance"]
