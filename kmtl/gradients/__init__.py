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
from kmtl.gradients.graph import shared_among
from kmtl.gradients.measuring import Gramians, first_batches, measure_gramians
from kmtl.gradients.routes import (
    Balanced,
    Known,
    exact_route,
    kept_weights_route,
    online_route,
    slice_route,
    tracking_route,
)
from kmtl.gradients.second_pass import SecondPass, generator_states
from kmtl.gradients.vectors import (
    all_finite,
    flatten,
    gradients_of,
    gramian,
    unflatten,
    weighted_sum,
    zero_where_not_finite,
)

# Former names, for the model's step until it takes the new ones.
exact, kept, sliced, tracked, online = exact_route, kept_weights_route, slice_route, tracking_route, online_route
Again, drawn, cleaned = SecondPass, generator_states, zero_where_not_finite
measured, batched = measure_gramians, first_batches

__all__ = [
    "Backward",
    "Balanced",
    "Cut",
    "Gate",
    "Gramians",
    "Known",
    "SecondPass",
    "all_finite",
    "branch",
    "exact_route",
    "first_batches",
    "flatten",
    "generator_states",
    "gradients_of",
    "gramian",
    "is_first_machine",
    "is_many_machines",
    "is_replicated",
    "kept_weights_route",
    "measure_gramians",
    "of_first",
    "online_route",
    "replicas",
    "shared_among",
    "slice_route",
    "sum_over_replicas",
    "tracking_route",
    "unflatten",
    "weighted_sum",
    "zero_where_not_finite",
]
