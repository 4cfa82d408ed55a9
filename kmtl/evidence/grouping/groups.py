"""Which tasks belong together: the best partition, or overlapping groups, by measured affinities."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kmtl._checks import Refusals, is_number, is_whole, known_keywords
from kmtl.evidence.grouping.branch_and_bound import branch_and_bound
from kmtl.evidence.grouping.group_effects import Effects, effects_of
from kmtl.evidence.grouping.grouping_draws import Draws, Grouping, next_best
from kmtl.evidence.grouping.groups_result import Alternative, Groups
from kmtl.evidence.grouping.partition_search import EXACT, Found, enumerated


@known_keywords
def groups(
    affinity: Any,
    n: int | None = None,
    budget: float | None = None,
    *,
    names: Sequence[str] | None = None,
    overlapping: bool = False,
    unrelated: float | None = None,
    resamples: int = 200,
    time_limit: float = 30.0,
    seed: int = 0,
) -> Groups:
    """Says which tasks to train together.

    With Z the affinities above the level of unrelated tasks, a task j in a group S scores, as in TAG,

        score_j(S) = mean over i in S, i != j, of Z_ij,   alone 0,

    and the groups are chosen that have the largest mean score. The mean favours small groups: a task that helps less
    than the others makes a group worse. So without a limit pairs are frequent; with `n` groups at most, tasks join
    those that they suit best. Of groupings that are worth the same, that of fewer groups is taken.

    Up to nine tasks all groupings are tried. Beyond, branch and bound proves the best one where it can: 40 tasks in
    clear groups take about a second; among affinities without structure the time runs out, the best one found is
    returned, and the result says how much better one could be.

    Each affinity is then drawn again within its interval, `resamples` times: the result tells in how many draws the
    groups are still the best ones, the interval of the gain, how much of it is the luck of choosing, and what is nearly
    as good. Of more than nine tasks a draw's best is that of a few climbs, so that the share is an upper limit.

    Source: Fifty et al., "Efficiently Identifying Task Groupings for Multi-Task Learning", NeurIPS 2021; Standley et
    al., "Which Tasks Should Be Learned Together in Multi-task Learning?", ICML 2020.

    Args:
        affinity: What `kmtl.evidence.affinity` returned; or an array `(K, K)`, in row i what task i does to task j,
            NaN where that is not known, which counts as unrelated. The diagonal is not read.
        n: How many groups at most; None allows as many as tasks.
        budget: What training them may cost at most, in trainings of one task alone over the same epochs. A group costs
            1 whatever its size, as its tasks share a trunk, so this is another way to say `n`; the smaller one holds.
        names: Of the tasks, for an array.
        overlapping: Whether a task may be in further groups, to help; one of them serves it. A group then costs no more
            to train, but tasks are trained that nobody asks for the outputs of.
        unrelated: Affinity of tasks that have nothing in common. None is 0 for gradients, lookahead, surrogates and
            arrays; 0 for labels and outputs, of which the sign is left out, as what is negatively related is related;
            and for representations, whose similarity is above 0 for any two models, the mean of all pairs: they then
            say who is closer than the others, and of two tasks nothing.
        resamples: How many draws.
        time_limit: Of branch and bound, in seconds.
        seed: Of the draws and climbs.

    Returns:
        The groups; print it. `recipe()` trains them.

    Raises:
        ValueError: With all offenders: not square, fewer than two tasks, no names, a budget below one training.

    >>> affinity = [[0, 0.6, -0.2], [0.4, 0, -0.2], [-0.1, -0.1, 0]]
    >>> found = groups(affinity, names=["digit", "angle", "noise"])
    >>> found.groups, found.serves
    ((('digit', 'angle'), ('noise',)), {'digit': 0, 'angle': 0, 'noise': 1})
    >>> round(found.gain, 3), found.is_proven
    (0.333, True)
    """
    effects = effects_of(affinity, names, unrelated)
    most = _most(n, budget, len(effects.names), resamples, time_limit, seed)
    found = _searched(effects.values, most, overlapping, time_limit, seed)
    chosen = Grouping.of(effects.values, found.labels, overlapping=overlapping)
    draws = None
    if effects.has_intervals:
        draws = Draws(effects, most, found.labels, overlapping=overlapping, count=resamples, seed=seed)
    return _result(effects, found, chosen, draws, _others(effects, most, found, overlapping))


def _most(n: Any, budget: Any, count: int, resamples: Any, time_limit: Any, seed: Any) -> int:
    """How many groups there may be; refuses what is no limit."""
    with Refusals("groups") as refusals:
        if n is not None and (not is_whole(n) or n < 1):
            refusals.add("n", "must be a whole number of groups of at least 1, or None", n)
        if budget is not None and (not is_number(budget) or budget < 1):
            fix = "One group of all tasks costs one training."
            refusals.add("budget", "must be a number of trainings of at least 1, or None", budget, fix)
        if not is_whole(resamples) or resamples < 2:
            refusals.add("resamples", "must be a whole number of at least 2", resamples)
        if not is_number(time_limit) or time_limit <= 0:
            refusals.add("time_limit", "must be a number of seconds above 0", time_limit)
        if not is_whole(seed) or seed < 0:
            refusals.add("seed", "must be a whole number from 0 on", seed)
    return min(count, count if n is None else int(n), count if budget is None else int(budget))


def _searched(values: Any, most: int, overlapping: bool, time_limit: float, seed: int) -> Found:
    """The best partition into the tasks that each group serves."""
    if len(values) <= EXACT:
        return enumerated(values, most, overlapping=overlapping)
    return branch_and_bound(values, most, overlapping=overlapping, time_limit=time_limit, seed=seed)


def _others(effects: Effects, most: int, found: Found, overlapping: bool) -> dict[str, Grouping]:
    """Other groupings to hold it against, as far as they are others."""
    count = len(effects.names)
    known = {
        "next best": next_best(effects.values, most, found.labels, overlapping=overlapping),
        "one group": np.zeros(count, int),
        "each alone": np.arange(count) if most == count else None,
    }
    others: dict[str, Grouping] = {}
    seen = [found.labels]
    for name, labels in known.items():
        if labels is not None and not any(np.array_equal(labels, one) for one in seen):
            seen.append(labels)
            is_next = name == "next best"
            others[name] = Grouping.of(effects.values, labels, overlapping=overlapping and is_next)
    return others


def _result(
    effects: Effects, found: Found, chosen: Grouping, draws: Draws | None, others: dict[str, Grouping]
) -> Groups:
    """The result."""
    names, scores = effects.names, chosen.scores(effects.values)
    halves = np.full(len(names), np.nan) if draws is None else draws.task_halves(chosen)
    gain = float(scores.mean())
    return Groups(
        groups=_named(names, chosen),
        serves=dict(zip(names, chosen.labels.tolist(), strict=True)),
        gain=gain,
        half=np.nan if draws is None else draws.half(chosen),
        luck=np.nan if draws is None else draws.luck / len(names),
        stability=np.nan if draws is None else draws.share_best(chosen),
        is_proven=found.is_proven,
        bound=found.bound / len(names),
        scores=dict(zip(names, scores.tolist(), strict=True)),
        halves=dict(zip(names, halves.tolist(), strict=True)),
        together=None if draws is None else draws.together,
        alternatives=tuple(_held(name, other, effects, chosen, draws) for name, other in others.items()),
        effects=effects,
    )


def _named(names: tuple[str, ...], grouping: Grouping) -> tuple[tuple[str, ...], ...]:
    """The groups by the names of their tasks."""
    return tuple(tuple(names[place] for place in np.flatnonzero(group)) for group in grouping.members)


def _held(name: str, other: Grouping, effects: Effects, chosen: Grouping, draws: Draws | None) -> Alternative:
    """Another grouping, held against the chosen one."""
    gain = float(other.scores(effects.values).mean())
    return Alternative(
        name=name,
        groups=_named(effects.names, other),
        gain=gain,
        half=np.nan if draws is None else draws.half(other),
        behind=float(chosen.scores(effects.values).mean()) - gain,
        behind_half=np.nan if draws is None else draws.half(chosen, other),
        stability=np.nan if draws is None else draws.share_best(other),
    )
