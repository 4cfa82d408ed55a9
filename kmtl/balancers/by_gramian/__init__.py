"""Balancers that read the inner products of the tasks' gradients."""

from kmtl.balancers.by_gramian.aligned import Aligned
from kmtl.balancers.by_gramian.cagrad import CAGrad
from kmtl.balancers.by_gramian.cone import DualProj, UPGrad
from kmtl.balancers.by_gramian.equal_angle import IMTL, IMTLG, ConFIG
from kmtl.balancers.by_gramian.fair import FairGrad, NashMTL
from kmtl.balancers.by_gramian.gradnorm import GradNorm
from kmtl.balancers.by_gramian.min_norm import MGDA, SDMGrad
from kmtl.balancers.by_gramian.primary import PCD
from kmtl.balancers.by_gramian.projections import GradVac, PCGrad
from kmtl.balancers.by_gramian.unit import Unit

__all__ = [
    "IMTL",
    "IMTLG",
    "MGDA",
    "PCD",
    "Aligned",
    "CAGrad",
    "ConFIG",
    "DualProj",
    "FairGrad",
    "GradNorm",
    "GradVac",
    "NashMTL",
    "PCGrad",
    "SDMGrad",
    "UPGrad",
    "Unit",
]
