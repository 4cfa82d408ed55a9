"""The right loss weights, and the whole trade-off between tasks from one training."""

from kmtl.search.adapters import LowRankAdapter
from kmtl.search.conditioning import conditioned, folded
from kmtl.search.dynamic import from_dynamic
from kmtl.search.film import FiLM
from kmtl.search.found import WeightSearch
from kmtl.search.front import front
from kmtl.search.objectives import Constrained, DeltaM
from kmtl.search.pictures import plot_front
from kmtl.search.points import hypervolume, lattice, non_dominated
from kmtl.search.report import Report, report
from kmtl.search.result import Front, Point
from kmtl.search.weights import weights
from kmtl.search.workers import as_chief, as_worker

__all__ = [
    "Constrained",
    "DeltaM",
    "FiLM",
    "Front",
    "LowRankAdapter",
    "Point",
    "Report",
    "WeightSearch",
    "as_chief",
    "as_worker",
    "conditioned",
    "folded",
    "from_dynamic",
    "front",
    "hypervolume",
    "lattice",
    "non_dominated",
    "plot_front",
    "report",
    "weights",
]
