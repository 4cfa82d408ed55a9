"""The search for groups, held against every grouping there is, written down by its definition."""

import itertools
import time

import numpy as np
import pytest

from kmtl.evidence.grouping import branch_and_bound, partition_search
from kmtl.evidence.grouping.partition_search import climbed, enumerated, partitions
from kmtl.evidence.grouping.partition_values import best_mean, cell_values, helpers, in_order, masks_of, total_of

BELL = [1, 1, 2, 5, 15, 52, 203, 877, 4140, 21147]


def effects_of(count, seed, *, shift=0.0):
    effects = np.random.default_rng(seed).normal(size=(count, count)) + shift
    np.fill_diagonal(effects, 0)
    return effects


def planted(count, cells, noise, seed):
    labels = np.arange(count) % cells
    effects = np.where(labels[:, None] == labels, 0.5, 0.0) + noise * effects_of(count, seed)
    np.fill_diagonal(effects, 0)
    return effects, labels


def score(effects, task, group):
    """TAG's score, as it is defined."""
    return float(np.mean([effects[other, task] for other in group if other != task])) if len(group) > 1 else 0.0


def best_of_all(effects, most, *, overlapping):
    """The largest sum of scores over all choices of subsets that cover the tasks, or cut them into parts."""
    tasks, best = range(len(effects)), -np.inf
    subsets = [group for size in range(1, len(effects) + 1) for group in itertools.combinations(tasks, size)]
    for number in range(1, most + 1):
        for chosen in itertools.combinations(subsets, number):
            listed = [task for group in chosen for task in group]
            if set(listed) == set(tasks) and (overlapping or len(listed) == len(tasks)):
                scores = [max(score(effects, task, group) for group in chosen if task in group) for task in tasks]
                best = max(best, sum(scores))
    return best


def test_all_partitions_are_there_once():
    for count in range(1, 10):
        assert len(partitions(count, count)) == BELL[count]
        assert len({tuple(one) for one in partitions(count, 3)}) == len(partitions(count, 3))
    numbers = partitions(5, 5).max(axis=1)
    assert (np.diff(numbers) >= 0).all()
    assert all((in_order(one) == one).all() for one in partitions(6, 4))


@pytest.mark.parametrize("overlapping", [False, True])
def test_a_cell_is_worth_the_sum_of_its_tasks_scores_in_the_best_group(overlapping):
    effects, tasks = effects_of(5, 0), range(5)
    for cell in ((0,), (1, 3), (0, 2, 4), (0, 1, 2, 3, 4)):
        rest = [task for task in tasks if task not in cell]
        further = [more for size in range(len(rest) + 1) for more in itertools.combinations(rest, size)]
        wanted = [
            sum(score(effects, task, (*cell, *more)) for task in cell) for more in (further if overlapping else [()])
        ]
        mask = np.isin(np.arange(5), cell)
        assert cell_values(effects, mask[None], overlapping=overlapping)[0] == pytest.approx(max(wanted))
        if overlapping:
            held = helpers(effects, mask)
            assert not (held & mask).any()
            group = np.flatnonzero(mask | held)
            assert sum(score(effects, task, group) for task in cell) == pytest.approx(max(wanted))
    assert cell_values(effects, np.zeros((1, 5), bool), overlapping=overlapping)[0] == 0


@pytest.mark.parametrize("overlapping", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_enumeration_finds_the_best_by_definition(seed, overlapping):
    effects = effects_of(4, seed, shift=0.3 * (seed % 2))
    for most in (1, 2, 3):
        found = enumerated(effects, most, overlapping=overlapping)
        assert found.total == pytest.approx(best_of_all(effects, most, overlapping=overlapping))
        assert len(set(found.labels.tolist())) <= most
        assert total_of(effects, found.labels, overlapping=overlapping) == pytest.approx(found.total)


@pytest.mark.parametrize("overlapping", [False, True])
def test_branch_and_bound_agrees_with_enumeration(overlapping):
    for seed in range(12):
        count, most = 4 + seed % 4, 1 + seed % 5
        effects = effects_of(count, seed, shift=0.2 * (seed % 3))
        tried = enumerated(effects, most, overlapping=overlapping)
        found = branch_and_bound.branch_and_bound(effects, most, overlapping=overlapping)
        assert found.is_proven
        assert found.total == pytest.approx(tried.total)
        assert found.bound == pytest.approx(found.total)
        np.testing.assert_array_equal(found.labels, tried.labels)


@pytest.mark.parametrize("overlapping", [False, True])
def test_the_bound_is_not_below_any_completion_and_climbs_are_not_needed_for_the_proof(overlapping, monkeypatch):
    # From the worst start there is: the search alone has to find it.
    monkeypatch.setattr(branch_and_bound, "shaken", lambda effects, *_, **__: np.arange(len(effects)) % 2)
    for seed in range(6):
        effects = effects_of(7, seed)
        found = branch_and_bound.branch_and_bound(effects, 3, overlapping=overlapping)
        assert found.is_proven
        assert found.total == pytest.approx(enumerated(effects, 3, overlapping=overlapping).total)


def test_many_tasks_in_clear_groups_are_proven_in_seconds():
    for count, cells in ((12, 4), (24, 5), (40, 8)):
        effects, labels = planted(count, cells, 0.1, count)
        start = time.process_time()
        found = branch_and_bound.branch_and_bound(effects, cells, time_limit=60.0)
        assert found.is_proven
        np.testing.assert_array_equal(found.labels, in_order(labels))
        assert time.process_time() - start < 10


def test_when_the_time_is_up_the_best_found_comes_back_with_a_bound():
    effects = effects_of(16, 0)
    found = branch_and_bound.branch_and_bound(effects, 4, time_limit=1e-9)
    assert not found.is_proven
    assert found.bound > found.total
    assert found.total >= total_of(effects, climbed(effects, 4)) - 1e-9
    longer = branch_and_bound.branch_and_bound(effects, 4, time_limit=1.0)
    assert found.total - 1e-9 <= longer.total <= longer.bound <= found.bound + 1e-9


def test_of_equal_groupings_the_one_of_fewest_groups_and_then_of_the_first_tasks_is_taken():
    assert enumerated(np.zeros((5, 5)), 5).labels.tolist() == [0] * 5
    assert branch_and_bound.branch_and_bound(np.zeros((11, 11)), 5).labels.tolist() == [0] * 11
    # Every pair is as good: two pairs of four tasks, and the first task goes with the second.
    effects = np.where(np.eye(4, dtype=bool), 0.0, 1.0)
    assert enumerated(effects, 4).labels.tolist() == [0, 0, 0, 0]
    effects[0, 1] = effects[1, 0] = effects[2, 3] = effects[3, 2] = 1.0 + 1e-15
    assert enumerated(effects, 4).labels.tolist() == [0, 0, 0, 0]
    ring = np.zeros((4, 4))
    for one, other in ((0, 1), (1, 2), (2, 3), (3, 0)):
        ring[one, other] = ring[other, one] = 1.0
    assert enumerated(ring, 4).labels.tolist() == [0, 0, 1, 1]


def test_a_climb_never_ends_below_its_start_and_keeps_the_limit():
    for seed in range(6):
        effects = effects_of(14, seed)
        start = in_order(np.random.default_rng(seed).integers(3, size=14))
        found = climbed(effects, 3, start=start)
        assert total_of(effects, found) >= total_of(effects, start) - 1e-9
        assert found.max() < 3
        np.testing.assert_array_equal(found, in_order(found))


def test_small_parts():
    assert masks_of([0, 1, 0]).tolist() == [[True, False, True], [False, True, False]]
    assert best_mean(np.array([0.0]), np.array([0]), np.array([[-1.0, -np.inf]])).tolist() == [0.0]
    assert best_mean(np.array([2.0]), np.array([1.0]), np.array([[3.0, 0.0]])).tolist() == [2.5]
    assert partition_search.EXACT == 9
