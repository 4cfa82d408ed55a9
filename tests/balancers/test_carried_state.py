"""A balancer's state goes to one for other tasks: by task, and nothing else moves."""

import keras
import numpy as np
import pytest
from balancers.conformance import SIZE, called, cases, partly, prepared, tensors
from balancers.tables import TABLE, rows

from kmtl import balancers
from kmtl.tasks import Regression

NAMES = ["zebra", "ant", "mole"]


def carried(old, kept, added=()):
    """A balancer of the same options for some of the tasks and some new ones, with the state of the old."""
    new = balancers.remade(old, {name: name for name in kept}, "without")
    known = {task.name: task for task in old.tasks}
    new.prepare([*(known[name] for name in kept), *(Regression(name) for name in added)], size=SIZE)
    balancers.carry_state(old, new, {name: name for name in kept})
    return new


def own(balancer):
    """The state by path."""
    return {variable.path.split("/", 1)[1]: variable.numpy() for variable in balancer.variables}


@pytest.mark.parametrize("name", rows("slow"))
def test_a_task_that_goes_is_as_one_that_is_absent_from_then_on(name):
    old = prepared(name, "rrr")
    for each in partly(cases(3, 3)):
        called(old, *tensors(each))
    new = carried(old, NAMES[1:])
    draws = TABLE[name].settled < 3
    for each in cases(3, 2, seed=4):
        there = each._replace(present=np.array([False, True, True]))
        expected, direction = called(old, *tensors(there))
        weights, also = called(new, *tensors(each.of([1, 2])))
        if not draws:
            np.testing.assert_allclose(weights, np.asarray(expected)[1:], rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(also, direction, rtol=1e-4, atol=1e-5)
        assert np.isfinite(weights).all()


@pytest.mark.parametrize("name", rows("slow"))
def test_a_new_task_begins_anew_and_the_others_go_on(name):
    old = prepared(name, "rr")
    for each in partly(cases(2, 3)):
        called(old, *tensors(each))
    new, fresh = carried(old, NAMES[:2], ["bee"]), prepared(name, "rrr")
    for path, value in own(new).items():
        before, start = own(old)[path], own(fresh)[path]
        if value.ndim and value.shape[0] == 3:
            np.testing.assert_array_equal(value[:2, ..., :2] if value.shape == (3, 3) else value[:2], before)
            np.testing.assert_array_equal(value[2], start[2])
        else:
            np.testing.assert_array_equal(value, before)
    failures = float(new.failures)
    for each in cases(3, 2, seed=4):
        weights, direction = called(new, *tensors(each))
        assert np.isfinite(weights).all()
        assert np.isfinite(direction).all()
    assert float(new.failures) == failures


def test_options_follow_a_name_and_refuse_one_that_goes():
    tasks = [Regression(name) for name in NAMES]
    led = balancers.PCD(primary="ant", scale="paper")
    weighted = balancers.Static(weights={"ant": 3.0, "mole": 1.0})
    for balancer in (led, weighted):
        balancer.prepare(tasks)
        with pytest.raises(ValueError, match=r"^without: `name` must not be named by the balancer's option `\w+`, got"):
            balancers.remade(balancer, {"zebra": "zebra", "mole": "mole"}, "without")
    names = {"zebra": "zebra", "ant": "bee", "mole": "ant"}
    assert balancers.remade(led, names, "renamed").primary == "bee"
    assert balancers.remade(weighted, names, "renamed").given == {"bee": 3.0, "ant": 1.0}
    alike = balancers.PCD(primary="ant", scale="paper")
    alike.prepare([Regression("paper"), Regression("ant")])
    # An option that happens to read as a task's name is no task.
    assert balancers.remade(alike, {"ant": "ant"}, "without").scale == "paper"


def test_random_generators_and_a_memory_of_other_weights():
    old = prepared("pcgrad", "rrr")
    keras.random.uniform((), seed=old.seed_generator)
    assert np.array_equal(carried(old, NAMES[1:]).seed_generator.state, old.seed_generator.state)
    old = prepared("moco", "rrr")
    called(old, *tensors(cases(3, 1)[0]))
    new = balancers.remade(old, {name: name for name in NAMES}, "renamed")
    new.prepare(old.tasks, size=SIZE + 1)
    balancers.carry_state(old, new, {name: name for name in NAMES})
    assert not np.any(new.memory)
    np.testing.assert_array_equal(new.shares, old.shares)
