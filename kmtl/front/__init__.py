"""Every trade-off between tasks, from one training."""

from kmtl.front.conditioning import condition, fold
from kmtl.front.film import FiLM
from kmtl.front.front import train
from kmtl.front.low_rank_adapter import LowRankAdapter
from kmtl.front.pareto import hypervolume, lattice, non_dominated
from kmtl.front.plot_front import plot_front
from kmtl.front.result import Front
from kmtl.front.trade_off import Point

__all__ = [
    "FiLM",
    "Front",
    "LowRankAdapter",
    "Point",
    "condition",
    "fold",
    "hypervolume",
    "lattice",
    "non_dominated",
    "plot_front",
    "train",
]
