"""Whether joint training helps: the joint model against each task alone."""

from kmtl.evidence.advice import Advice, advise
from kmtl.evidence.compare import compare
from kmtl.evidence.comparison import Comparison
from kmtl.evidence.pictures import plot_curves, plot_samples
from kmtl.evidence.trainer import Run

__all__ = ["Advice", "Comparison", "Run", "advise", "compare", "plot_curves", "plot_samples"]
