"""The conformance table: what every balancer keeps. A new balancer adds one row."""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from kmtl import balancers
from kmtl.tasks import Classification, Regression

MODES = {
    "eager": lambda step: step,
    "graph": tf.function,
    "xla": lambda step: tf.function(step, jit_compile=True),
}


class EqualReference:
    """Ones."""

    def __init__(self, tasks):
        self.count = len(tasks)

    def weigh(self, losses, present):  # noqa: ARG002 - the contract's arguments
        return np.ones(self.count)


class UncertaintyReference:
    """`factor * exp(-s)`, and textbook Adam on `s`, in float64, one task at a time."""

    def __init__(self, tasks):
        self.factors = [0.5 if task.kind == "regression" else 1.0 for task in tasks]
        self.states = [{"s": 0.3, "first": 0.0, "second": 0.0, "step": 0} for _ in tasks]

    def weigh(self, losses, present):
        weights = [factor * np.exp(-state["s"]) for factor, state in zip(self.factors, self.states, strict=True)]
        for state, weight, loss, here in zip(self.states, weights, losses, present, strict=True):
            if here:
                gradient = 0.5 - weight * loss
                state["step"] += 1
                state["first"] = 0.9 * state["first"] + 0.1 * gradient
                state["second"] = 0.999 * state["second"] + 0.001 * gradient**2
                size = np.sqrt(state["second"] / (1 - 0.999 ** state["step"])) + 1e-8
                state["s"] = max(-2.0, state["s"] - 0.2 * state["first"] / (1 - 0.9 ** state["step"]) / size)
        return np.array(weights)


class PCGradReference:
    """The paper's algorithm on explicit vectors, under the orders that the seed draws."""

    def __init__(self, tasks):  # noqa: ARG002 - the contract's arguments
        self.seeds = keras.random.SeedGenerator(5)

    def weigh(self, gram, present):
        count = len(gram)
        noise = np.asarray(keras.random.uniform((count, count), seed=self.seeds))
        # Vectors with these inner products; a task's weights are its share in the sum of the projected ones.
        values, vectors = np.linalg.eigh(gram)
        rows = vectors * np.sqrt(np.maximum(values, 0))
        weights = np.zeros(count)
        for task in np.flatnonzero(present):
            projected, shares = rows[task].copy(), np.eye(count)[task]
            for other in np.argsort(noise[task]):
                inner = projected @ rows[other]
                if other != task and present[other] and inner < 0:
                    factor = inner / (rows[other] @ rows[other])
                    projected = projected - factor * rows[other]
                    shares[other] -= factor
            weights += shares
        return weights


class Row(NamedTuple):
    """One balancer in the table.

    Attributes:
        make: Makes it; keyword arguments go to the constructor.
        reference: The same in float64 NumPy, without the rescaling.
        settled: Number of tasks up to which its random draws do not show, if it makes any.
        positive: Whether weights are at least 0.
    """

    make: Callable[..., balancers.Balancer]
    reference: Callable[[Any], Any]
    settled: int = 5
    positive: bool = True


TABLE = {
    "equal": Row(balancers.Equal, EqualReference),
    "uncertainty": Row(
        lambda **options: balancers.Uncertainty(learning_rate=0.2, initial=0.3, floor=-2.0, **options),
        UncertaintyReference,
    ),
    "pcgrad": Row(lambda **options: balancers.PCGrad(seed=5, **options), PCGradReference, settled=2),
}


def tasks_of(count):
    """Tasks of both kinds, not in alphabetical order."""
    names = ["zebra", "ant", "mole", "bee", "cow"][:count]
    return [Regression(name) if place % 2 == 0 else Classification(name, 3) for place, name in enumerate(names)]


def prepared(row, count, **options):
    balancer = row.make(**options)
    balancer.prepare(tasks_of(count))
    return balancer


def inputs(balancer, count, steps, seed=0):
    """What the balancer needs, for some steps: losses over decades, or the Gramian of conflicting gradients."""
    generator = np.random.default_rng(seed)
    if balancer.needs == "losses":
        return [np.exp(generator.normal(0, 1.5, count)) for _ in range(steps)]
    gradients = [generator.normal(size=(count, 3)) * np.exp(generator.normal(size=(count, 1))) for _ in range(steps)]
    return [rows @ rows.T for rows in gradients] if balancer.needs == "gram" else gradients


def weigh(balancer, value, present=None):
    value = ops.cast(value, "float32")
    present = None if present is None else ops.array(present)
    if balancer.needs == "gradients":
        return balancer.combine(value, present=present)
    return balancer.weigh(**{balancer.needs: value}, present=present)


def sequence(balancer, values, presents, mode="eager"):
    """The weights of several steps, as one array."""
    step = MODES[mode](lambda value, present: weigh(balancer, value, present))
    pairs = zip(values, presents, strict=True)
    return np.stack([np.asarray(step(tf.constant(v, "float32"), tf.constant(p))) for v, p in pairs])


def presences(count, steps, seed=1):
    """Who is there: at first all, then some, then nobody, then some again."""
    drawn = np.random.default_rng(seed).random((steps, count)) < 0.6
    drawn[0], drawn[min(2, steps - 1)] = True, False
    return drawn


@pytest.fixture(params=TABLE)
def row(request):
    return TABLE[request.param]


def test_every_balancer_has_a_row():
    assert sorted(TABLE) == balancers.names()
    for name, row in TABLE.items():
        assert type(row.make()) is type(balancers.get(name))


@pytest.mark.parametrize("count", [1, 2, 5])
def test_one_finite_float32_weight_a_task(row, count):
    balancer = prepared(row, count)
    for value in inputs(balancer, count, 3):
        weights = weigh(balancer, value)
        assert weights.shape == ((count,) if balancer.needs != "gradients" else (value.shape[1],))
        assert weights.dtype == "float32"
        assert np.isfinite(weights).all()
        assert not row.positive or np.min(weights) >= 0


def test_weights_sum_to_the_number_of_tasks_that_are_there(row):
    balancer = prepared(row, 5)
    there = presences(5, 6)
    weights = sequence(balancer, inputs(balancer, 5, 6), there)
    np.testing.assert_allclose(weights.sum(axis=1), there.sum(axis=1), rtol=1e-5, atol=1e-7)
    assert not weights[~there].any()
    assert weights[there].all()


def test_the_papers_scale_differs_by_a_factor_only(row):
    scaled, paper = prepared(row, 4), prepared(row, 4, scale="paper")
    there = presences(4, 4)
    values = inputs(scaled, 4, 4)
    left, right = sequence(scaled, values, there), sequence(paper, values, there)
    for one, other, here in zip(left, right, there, strict=True):
        if here.any():
            np.testing.assert_allclose(one[here], other[here] * here.sum() / other[here].sum(), rtol=1e-5)
    assert not right[~there].any()


def test_a_lone_task_is_left_alone(row):
    balancer = prepared(row, 1)
    for value in inputs(balancer, 1, 3):
        np.testing.assert_allclose(weigh(balancer, value), [1.0], rtol=1e-6)


def test_a_permutation_of_the_tasks_permutes_the_weights(row):
    order = np.random.default_rng(3).permutation(row.settled)
    straight, turned = row.make(), row.make()
    tasks = tasks_of(row.settled)
    straight.prepare(tasks)
    turned.prepare([tasks[place] for place in order])
    for value in inputs(straight, row.settled, 4):
        permuted = value[order] if value.ndim == 1 else value[np.ix_(order, order)]
        np.testing.assert_allclose(weigh(turned, permuted), np.asarray(weigh(straight, value))[order], rtol=1e-5)


@pytest.mark.parametrize("gone", [0, 1, 2])
def test_an_absent_task_is_as_if_it_were_not_there(row, gone):
    keep = [place for place in range(3) if place != gone]
    whole, part = prepared(row, 3), row.make()
    part.prepare([tasks_of(3)[place] for place in keep])
    there = np.arange(3) != gone
    for value in inputs(whole, 3, 3):
        smaller = value[keep] if value.ndim == 1 else value[np.ix_(keep, keep)]
        weights = np.asarray(weigh(whole, value, there))
        assert weights[gone] == 0
        np.testing.assert_allclose(weights[keep], weigh(part, smaller), rtol=1e-5)


@pytest.mark.parametrize("garbage", [0.0, np.nan, np.inf, 1e30])
def test_what_an_absent_task_brings_reaches_neither_weights_nor_state(row, garbage):
    there = np.array([True, False, True])
    clean, dirty = prepared(row, 3), prepared(row, 3)
    first, second, third = inputs(clean, 3, 3)
    for balancer in (clean, dirty):
        weigh(balancer, first)
    before = weigh(clean, second, there)
    soiled = second.copy()
    soiled[1] = garbage
    if soiled.ndim == 2:
        soiled[:, 1] = garbage
    np.testing.assert_array_equal(weigh(dirty, soiled, there), before)
    for one, other in zip(clean.variables, dirty.variables, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())
    np.testing.assert_array_equal(weigh(dirty, third), weigh(clean, third))


def test_a_batch_without_any_label_moves_no_state_of_a_task(row):
    balancer = prepared(row, 3)
    values = inputs(balancer, 3, 3)
    weigh(balancer, values[0])
    own = [v for v in balancer.variables if v.name != "seed_generator_state"]
    before = [variable.numpy().copy() for variable in own]
    assert not np.any(weigh(balancer, values[1], np.zeros(3, bool)))
    for variable, old in zip(own, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), old)


def test_float32_agrees_with_float64_numpy(row):
    count, steps = 4, 8
    balancer = prepared(row, count, scale="paper")
    reference = row.reference(tasks_of(count))
    values, there = inputs(balancer, count, steps), presences(count, steps)
    found = sequence(balancer, values, there)
    for value, here, weights in zip(values, there, found, strict=True):
        expected = reference.weigh(value, here) * here
        np.testing.assert_allclose(weights, expected, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("mode", ["graph", "xla"])
def test_graph_and_xla_agree_with_eager(row, mode):
    # XLA draws its random numbers by another algorithm.
    count = row.settled if mode == "xla" else 5
    eager, other = prepared(row, count), prepared(row, count)
    values, there = inputs(eager, count, 4), presences(count, 4)
    found = sequence(other, values, there, mode)
    np.testing.assert_allclose(found, sequence(eager, values, there), rtol=2e-6, atol=1e-7)


def test_the_second_step_traces_nothing_anew(row):
    balancer = prepared(row, 3)
    traced = []

    @tf.function
    def step(value, present):
        traced.append(1)
        return weigh(balancer, value, present)

    for value in inputs(balancer, 3, 3):
        step(tf.constant(value, "float32"), tf.constant([True, False, True]))
    assert len(traced) == 1


def test_a_config_makes_the_same_balancer(row):
    balancer = prepared(row, 3, scale="paper", name="chosen")
    again = balancers.get(keras.saving.serialize_keras_object(balancer))
    assert type(again) is type(balancer)
    assert again.get_config() == balancer.get_config()
    again.prepare(tasks_of(3))
    values, there = inputs(balancer, 3, 3), presences(3, 3)
    np.testing.assert_array_equal(sequence(again, values, there), sequence(balancer, values, there))


def test_restored_state_goes_on_where_it_stopped(row):
    first, second = prepared(row, 3), prepared(row, 3)
    values = inputs(first, 3, 6)
    for value in values[:3]:
        weigh(first, value)
    store = {}
    first.save_own_variables(store)
    second.load_own_variables({})
    second.load_own_variables({key: variable.numpy() for key, variable in store.items()})
    for old, new in zip(first.variables, second.variables, strict=True):
        if old.name == "seed_generator_state":
            new.assign(old)
    for value in values[3:]:
        np.testing.assert_array_equal(weigh(second, value), weigh(first, value))


def test_a_balancer_brings_nothing_to_train(row):
    balancer = prepared(row, 3)
    assert balancer.trainable_variables == []
    assert all(variable.aggregation == "only_first_replica" for variable in balancer.weights)


@pytest.mark.parametrize("name", [name for name in TABLE if balancers.get(name).needs == "gram"])
def test_a_gramian_balancer_combines_gradients_by_its_weights(name):
    balancer, twin = prepared(TABLE[name], 3), prepared(TABLE[name], 3)
    gradients = np.random.default_rng(8).normal(size=(3, 7)).astype("float32")
    there = np.array([True, True, False])
    gradients[2] = np.nan
    known = np.nan_to_num(gradients)
    expected = np.asarray(weigh(twin, known @ known.T, there)) @ known
    found = balancer.combine(ops.array(gradients), present=ops.array(there))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in TABLE if balancers.get(name).needs == "gram"])
def test_a_task_without_a_gradient_is_as_if_it_were_absent(name):
    balancer, twin = prepared(TABLE[name], 3), prepared(TABLE[name], 3)
    for value in inputs(balancer, 3, 3):
        value[1] = value[:, 1] = 0.0
        weights = np.asarray(weigh(balancer, value))
        assert weights[1] == 0
        np.testing.assert_array_equal(weights, weigh(twin, value, np.array([True, False, True])))
        assert weights.sum() == pytest.approx(2.0)


def test_the_state_belongs_to_its_tasks(row):
    balancer = prepared(row, 3)
    balancer.prepare(tasks_of(3))
    with pytest.raises(ValueError, match=r"`tasks` must be 3 again, got 2\. Make a new one"):
        balancer.prepare(tasks_of(2))


def test_a_scale_is_one_of_two(row):
    with pytest.raises(ValueError, match=r"`scale` must be 'sum' or 'paper', got 'summ'\. Did you mean 'sum'\?"):
        row.make(scale="summ")
