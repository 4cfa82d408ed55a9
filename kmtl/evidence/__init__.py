"""Whether joint training helps: the joint model against each task alone."""

from kmtl.evidence.comparing import compare
from kmtl.evidence.comparison import Comparison, Run
from kmtl.evidence.pictures import plot_curves, plot_samples

__all__ = ["Comparison", "Run", "compare", "plot_curves", "plot_samples"]
