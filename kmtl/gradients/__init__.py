"""Per-task gradients of the shared weights, and what balancers make of them."""

from kmtl.gradients.activations import activation_gradients
from kmtl.gradients.backward import Backward, Cut
from kmtl.gradients.gate import Gate
from kmtl.gradients.lookahead import lookahead_function
from kmtl.gradients.measuring import (
    Gramians,
    first_batches,
    gramian_function,
    gramians_of,
    measure_gramians,
    measure_parts,
    over_batches,
)
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
from kmtl.gradients.sketches import sketch_function
from kmtl.gradients.vectors import (
    all_finite,
    flatten,
    gradients_of,
    gramian,
    unflatten,
    weighted_sum,
    zero_where_not_finite,
)

__all__ = [
    "Backward",
    "Balanced",
    "Cut",
    "Gate",
    "Gramians",
    "Known",
    "SecondPass",
    "activation_gradients",
    "all_finite",
    "exact_route",
    "first_batches",
    "flatten",
    "generator_states",
    "gradients_of",
    "gramian",
    "gramian_function",
    "gramians_of",
    "kept_weights_route",
    "lookahead_function",
    "measure_gramians",
    "measure_parts",
    "online_route",
    "over_batches",
    "sketch_function",
    "slice_route",
    "tracking_route",
    "unflatten",
    "weighted_sum",
    "zero_where_not_finite",
]
