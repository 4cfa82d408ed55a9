"""The right loss weights, and the whole trade-off between tasks from one training."""

from kmtl.search.adapters import LowRankAdapter
from kmtl.search.conditioning import conditioned, folded
from kmtl.search.dynamic import from_dynamic
from kmtl.search.film import FiLM
from kmtl.search.front import front
from kmtl.search.pictures import plot_front
from kmtl.search.points import hypervolume, lattice, non_dominated
from kmtl.search.result import Front, Point

__all__ = [
    "FiLM",
    "Front",
    "LowRankAdapter",
    "Point",
    "conditioned",
    "folded",
    "from_dynamic",
    "front",
    "hypervolume",
    "lattice",
    "non_dominated",
    "plot_front",
]
