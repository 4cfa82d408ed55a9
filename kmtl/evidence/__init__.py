"""Whether joint training helps: the joint model against each task alone."""

from kmtl.evidence.advice import Advice, advise
from kmtl.evidence.comparing import compare
from kmtl.evidence.comparison import Comparison, Run
from kmtl.evidence.pictures import plot_curves, plot_samples

__all__ = ["Advice", "Comparison", "Run", "advise", "compare", "plot_curves", "plot_samples"]
