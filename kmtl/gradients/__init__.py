"""Per-task gradients of the shared weights, and what balancers make of them."""

from kmtl._replicas import (
    branch,
    is_first_machine,
    is_many_machines,
    is_replicated,
    of_first,
    replicas,
    sum_over_replicas,
)
from kmtl.gradients.backward import Backward, Cut
from kmtl.gradients.gate import Gate
from kmtl.gradients.measuring import Gramians, batched, measured
from kmtl.gradients.routes import Balanced, Known, exact, kept, online, sliced, tracked
from kmtl.gradients.second_pass import Again, drawn
from kmtl.gradients.vectors import added, all_finite, cleaned, flat, gradients_of, gramian, unflat, weighted_sum

__all__ = [
    "Again",
    "Backward",
    "Balanced",
    "Cut",
    "Gate",
    "Gramians",
    "Known",
    "added",
    "all_finite",
    "batched",
    "branch",
    "cleaned",
    "drawn",
    "exact",
    "flat",
    "gradients_of",
    "gramian",
    "is_first_machine",
    "is_many_machines",
    "is_replicated",
    "kept",
    "measured",
    "of_first",
    "online",
    "replicas",
    "sliced",
    "sum_over_replicas",
    "tracked",
    "unflat",
    "weighted_sum",
]
