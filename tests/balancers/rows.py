"""What a row of the conformance table says of a balancer; the tables stand beside it, one a family."""

from collections.abc import Callable
from typing import Any, NamedTuple

from kmtl import balancers


class Row(NamedTuple):
    """One balancer in the table.

    Attributes:
        make: Makes it; keyword arguments go to the constructor.
        reference: Takes the list of tasks and makes the same in float64 NumPy: an object with
            `weigh(present, losses=None, gram=None, gradients=None)` that returns the weights `(K,)` of
            `scale="paper"` (a direction `(P,)` if it needs gradients), called once a step.
        settled: Number of tasks up to which its random draws do not show, if it makes any.
        repeats: Whether the reference repeats the draws; if not it holds up to `settled` tasks only.
        symmetric: Whether a permutation of the tasks permutes the weights; not where a task's place or name leads.
        positive: Whether weights are at least 0 on every input.
        scale_invariant: Whether the direction is unchanged when losses are multiplied by positive numbers, one a task.
        non_conflict: Number of tasks up to which the direction never ascends a task (0: no promise; 99: any number).
        learns: Whether its weights depend on earlier steps, so that one step alone says little.
    """

    make: Callable[..., balancers.Balancer]
    reference: Callable[[Any], Any]
    settled: int = 99
    repeats: bool = True
    symmetric: bool = True
    positive: bool = True
    scale_invariant: bool = False
    non_conflict: int = 0
    learns: bool = False
