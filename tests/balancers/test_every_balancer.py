"""The conformance table: what the weights of every balancer keep. A new balancer adds one row to its family's table."""

import numpy as np
import pytest
from balancers.conformance import (
    SIZE,
    Bench,
    aligned,
    bench,
    case,
    cases,
    kinds_of,
    partly,
    tasks_of,
    tensors,
    weighted,
    worst_ascent,
)
from balancers.tables import TABLE, rows

from kmtl import balancers

OF_GRADIENTS = [name for name in TABLE if balancers.get(name).needs != "losses"]
#: Tasks whose third gradient lies between the first two and is short: equal projections on it ask for ascent.
BETWEEN = np.array([[1.0, 0.5, 0.0], [1.0, -0.5, 0.0], [0.1, 0.0, 0.02]]) @ np.eye(3, SIZE)


def test_every_balancer_has_a_row():
    assert sorted(TABLE) == balancers.names()
    for name, row in TABLE.items():
        assert type(row.make()) is type(balancers.get(name))


@pytest.mark.parametrize("name", rows("long"))
def test_one_finite_float32_weight_a_task(name):
    row, ready = TABLE[name], bench(name, "rcrcr", scale="paper")
    ready.reset()
    for each in cases(5, 3):
        weights, directions = ready.go_on([each])
        assert weights.shape == (1, 5)
        assert directions.shape == (1, SIZE)
        assert weights.dtype == "float32"
        assert np.isfinite(directions).all()
        assert not row.positive or np.min(weights) >= 0


@pytest.mark.parametrize("name", rows("slow"))
def test_weights_sum_to_the_number_of_tasks_there_without_another_trace(name):
    found, ready = partly(cases(3, 8)), bench(name)
    weights, directions = ready.run(found)
    there = np.stack([each.present for each in found])
    np.testing.assert_allclose(np.abs(weights).sum(axis=1), there.sum(axis=1), rtol=1e-5, atol=1e-7)
    assert not weights[~there].any()
    assert not directions[~there.any(axis=1)].any()
    assert ready.traces == 1


@pytest.mark.parametrize("name", rows("slow"))
def test_a_lone_task_is_left_alone(name):
    found = cases(1, 3)
    weights, directions = bench(name, "r", "eager").run(found)
    np.testing.assert_allclose(np.abs(weights), 1.0, rtol=1e-5)
    # A memory of gradients turns the later directions.
    turned = balancers.get(name).needs == "gradients" and TABLE[name].learns
    for each, direction in list(zip(found, directions, strict=True))[: 1 if turned else 3]:
        assert aligned(direction, each.gradients[0]) > 1 - 1e-6


@pytest.mark.parametrize("name", [name for name, row in TABLE.items() if row.settled > 1 and row.symmetric])
def test_a_permutation_of_the_tasks_permutes_the_weights(name):
    kinds = kinds_of(name)
    order = {5: [2, 3, 4, 1, 0], 4: [2, 0, 3, 1], 3: [1, 2, 0], 2: [1, 0]}[len(kinds)]
    found = cases(len(kinds), 4)
    ready = bench(name, kinds, scale="paper")
    weights, directions = ready.run(found)
    turned, same = ready.run([each.of(order) for each in found])
    np.testing.assert_allclose(turned, weights[:, order], rtol=1e-3, atol=1e-4 * np.abs(weights).max())
    np.testing.assert_allclose(same, directions, rtol=1e-3, atol=1e-3 * np.abs(directions).max())


@pytest.mark.parametrize("name", TABLE)
def test_identical_tasks_pull_as_one(name):
    gradient = np.arange(1.0, SIZE + 1)
    weights, directions = bench(name).run([case([gradient] * 3)] * 3)
    for weight, direction in zip(weights, directions, strict=True):
        assert aligned(direction, gradient) > 1 - 1e-6
        if balancers.get(name).needs != "gradients" and TABLE[name].positive:
            np.testing.assert_allclose(direction, 3 * gradient, rtol=1e-5)
        if TABLE[name].settled >= 3 and not TABLE[name].learns:
            assert weight.sum() > 0


@pytest.mark.parametrize(
    "name", [name for name, row in TABLE.items() if row.settled >= 3 and row.symmetric and weighted(name)]
)
def test_orthogonal_gradients_of_one_length_are_summed(name):
    weights, directions = bench(name).run([case(2.0 * np.eye(3, SIZE))] * 3)
    np.testing.assert_allclose(weights, 1.0, rtol=1e-4)
    for direction in directions:
        assert aligned(direction, np.eye(3, SIZE).sum(axis=0)) > 1 - 1e-6


@pytest.mark.parametrize("name", OF_GRADIENTS)
def test_a_task_without_a_gradient_is_as_if_it_were_absent(name):
    there = np.array([True, False, True])
    found = cases(3, 3)
    for each in found:
        each.gradients[1] = 0.0
    weights, directions = bench(name).run(found)
    absent = bench(name).run([each._replace(present=there) for each in found])
    np.testing.assert_array_equal(directions, absent[1])
    assert not weights[:, 1].any() or balancers.get(name).needs == "gradients"
    np.testing.assert_array_equal(weights[:, there], absent[0][:, there])


@pytest.mark.parametrize("name", rows("slow"))
def test_an_absent_task_is_as_if_it_were_not_there_on_either_scale(name):
    if TABLE[name].settled >= 5:
        there = np.array([True, False, True, False, True])
        paper, sums = bench(name, "rcrcr", scale="paper"), bench(name)
    else:
        there = np.array([True, False, True])[: TABLE[name].settled + 1]
        paper, sums = Bench(name, "r" * len(there), "eager", scale="paper"), Bench(name, "r" * sum(there), "eager")
    found = cases(len(there), 3)
    whole, along = paper.run([each._replace(present=there) for each in found])
    part, alone = sums.run([each.of(there) for each in found])
    assert not whole[:, ~there].any()
    sizes = np.abs(whole).sum(axis=1, keepdims=True)
    assert sizes.all()
    np.testing.assert_allclose(whole[:, there] * sum(there) / sizes, part, rtol=1e-4, atol=1e-5)
    for one, other in zip(along, alone, strict=True):
        assert aligned(one, other) > 1 - 1e-5


@pytest.mark.parametrize("name", [name for name, row in TABLE.items() if row.settled >= 3])
def test_scaled_losses_leave_the_direction_only_where_the_row_says_so(name):
    factors = np.array([30.0, 0.02, 1.0])
    found = cases(3, 4)
    _, directions = bench(name).run(found)
    _, scaled = bench(name).run([each.times(factors) for each in found])
    cosines = [aligned(one, other) for one, other in zip(directions, scaled, strict=True)]
    if TABLE[name].scale_invariant:
        assert min(cosines) > 1 - 1e-4
    else:
        assert min(cosines) < 0.99


def conflict_checks():
    """Counts up to which a row promises, and the first for which it does not."""
    for name, row in TABLE.items():
        promised = [count for count in (2, 3, 5) if count <= row.non_conflict]
        denied = [count for count in (2, 3, 5) if count > row.non_conflict][:1]
        yield from ((name, count, count in promised) for count in promised + denied)


@pytest.mark.parametrize(("name", "count", "promised"), list(conflict_checks()))
def test_a_direction_ascends_no_task_only_where_the_row_says_so(name, count, promised):
    ready = bench(name, "rcrcr", scale="paper") if count == 5 else bench(name)
    drawn = cases(max(count, 3), 20 if promised else 200, seed=7, decades=2.0)
    # Two tasks are three of which one is absent.
    there = np.arange(max(count, 3)) < count
    draws = [case(BETWEEN)] * (count == 3) + [each._replace(present=there) for each in drawn]
    ready.reset()
    ascents = (worst_ascent(ready.go_on([each])[1][0], each.of(there)) for each in draws)
    if promised:
        assert min(ascents) > -1e-4
    else:
        assert any(ascent < -1e-2 for ascent in ascents)


@pytest.mark.parametrize("name", [name for name in OF_GRADIENTS if balancers.get(name).needs == "gram"])
def test_a_gramian_balancer_combines_gradients_by_its_weights(name):
    each = cases(3, 1)[0]._replace(present=np.array([True, False, True]))
    _, expected = bench(name).run([each])
    each.gradients[1] = np.nan
    losses, gradients, _, present, _ = tensors(each)
    ready = bench(name)
    ready.reset()
    found = ready.balancer.combine(gradients, losses=losses, present=present)
    np.testing.assert_allclose(found, expected[0], rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("name", TABLE)
def test_float32_agrees_with_float64_numpy(name):
    kinds = "rcrcr" if TABLE[name].repeats else kinds_of(name)
    found = partly(cases(len(kinds), 8))
    reference, ready = TABLE[name].reference(tasks_of(kinds)), bench(name, kinds, scale="paper")
    weights, directions = ready.run(found)
    for each, weight, direction in zip(found, weights, directions, strict=True):
        known = {"losses": each.losses, "gram": each.gram, "gradients": each.gradients}
        expected = reference.weigh(each.present, **known)
        if hasattr(reference, "after_update"):
            reference.after_update(each.after, each.present)
        got = direction if ready.balancer.needs == "gradients" else weight
        if each.present.any():
            expected = expected if ready.balancer.needs == "gradients" else expected * each.present
            np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
