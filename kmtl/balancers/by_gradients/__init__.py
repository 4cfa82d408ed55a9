"""Balancers that need the gradients themselves, or leave tasks out by them."""

from kmtl.balancers.by_gradients.base import GradientBalancer, RememberingBalancer
from kmtl.balancers.by_gradients.db_mtl import DBMTL, MemorylessDBMTL
from kmtl.balancers.by_gradients.excess import ExcessMTL
from kmtl.balancers.by_gradients.graddrop import GradDrop
from kmtl.balancers.by_gradients.moco import MoCo
from kmtl.balancers.by_gradients.robust import Krum, TrimmedMean

__all__ = [
    "DBMTL",
    "ExcessMTL",
    "GradDrop",
    "GradientBalancer",
    "Krum",
    "MemorylessDBMTL",
    "MoCo",
    "RememberingBalancer",
    "TrimmedMean",
]
