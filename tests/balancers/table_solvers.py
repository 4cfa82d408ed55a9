"""Rows of the balancers that solve an optimisation problem in the Gramian."""

import numpy as np
from balancers.rows import Row
from balancers.solvers import references

from kmtl.balancers.by_gramian import MGDA, CAGrad, DualProj, FairGrad, NashMTL, SDMGrad, UPGrad


def solved(solve):
    """A reference without state: weights of the rows that are there."""

    class Reference:
        def __init__(self, tasks):
            self.count = len(tasks)

        def weigh(self, present, losses=None, gram=None, gradients=None):  # noqa: ARG002 - the contract's arguments
            weights = np.zeros(self.count)
            if present.any():
                weights[present] = solve(gradients[present])
            return weights

    return Reference


def mean_of(rows):
    return np.full(len(rows), 1 / len(rows))


def clipped_bargain(rows):
    weights = references.fair(rows, 1.0)
    return weights / max(1.0, np.linalg.norm(weights @ rows))


def near_the_mean(rows):
    mean = mean_of(rows)
    return (references.min_norm(rows, 0.3 * mean @ rows) + 0.3 * mean) / 1.3


TABLE = {
    "mgda": Row(MGDA, solved(references.min_norm), non_conflict=99),
    "sdmgrad": Row(SDMGrad, solved(near_the_mean)),
    "cagrad": Row(CAGrad, solved(lambda rows: references.conflict_averse(rows, 0.5) / 1.25)),
    "nash": Row(NashMTL, solved(clipped_bargain), scale_invariant=True, non_conflict=99),
    "fairgrad": Row(FairGrad, solved(lambda rows: references.fair(rows, 2.0)), non_conflict=99),
    "upgrad": Row(UPGrad, solved(lambda rows: references.upgrad(rows, mean_of(rows))), non_conflict=99),
    "dualproj": Row(DualProj, solved(lambda rows: references.lower_bounded(rows, mean_of(rows))), non_conflict=99),
}
