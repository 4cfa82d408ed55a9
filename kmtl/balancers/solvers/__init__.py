"""The small problems behind the Gramian methods, solved in the graph: fixed shapes, float32, no other library."""

from kmtl.balancers.solvers.fairness import fair_weights
from kmtl.balancers.solvers.quadratic import lower_bounded_weights
from kmtl.balancers.solvers.simplex import conflict_averse_shifts, min_norm_weights

__all__ = ["conflict_averse_shifts", "fair_weights", "lower_bounded_weights", "min_norm_weights"]
