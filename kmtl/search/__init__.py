"""The right loss weights, by search or out of a dynamic run; `front` is `kmtl.front.train`."""

from kmtl.front import train as front
from kmtl.search.from_dynamic import from_dynamic
from kmtl.search.objectives import Constrained, DeltaM
from kmtl.search.roles import as_chief, as_worker
from kmtl.search.space import Space
from kmtl.search.weight_search import WeightSearch
from kmtl.search.weights import weights

__all__ = [
    "Constrained",
    "DeltaM",
    "Space",
    "WeightSearch",
    "as_chief",
    "as_worker",
    "from_dynamic",
    "front",
    "weights",
]
