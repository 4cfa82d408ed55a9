"""Balancers that read the losses: one backward pass."""

from kmtl.balancers.by_losses.averages import DWA
from kmtl.balancers.by_losses.chebyshev import STCH
from kmtl.balancers.by_losses.famo import FAMO
from kmtl.balancers.by_losses.heuristics import LabelCount, RelativeLoss
from kmtl.balancers.by_losses.imtl import IMTLL
from kmtl.balancers.by_losses.logarithms import GLS, SI
from kmtl.balancers.by_losses.optimal import UWSO
from kmtl.balancers.by_losses.prioritizing import DTP
from kmtl.balancers.by_losses.uncertainty import Liebel, Uncertainty

__all__ = [
    "DTP",
    "DWA",
    "FAMO",
    "GLS",
    "IMTLL",
    "SI",
    "STCH",
    "UWSO",
    "LabelCount",
    "Liebel",
    "RelativeLoss",
    "Uncertainty",
]
