"""GradDrop: one sign an element."""

import keras
import numpy as np
import pytest
from keras import ops

from kmtl.balancers.by_gradients import GradDrop
from kmtl.balancers.by_gradients.graddrop import graddrop_direction
from kmtl.tasks import Regression

ROWS = np.random.default_rng(0).normal(size=(4, 50)).astype("float32")


def test_where_all_signs_agree_it_is_the_sum():
    rows = np.abs(ROWS) * np.sign(ROWS[0])
    np.testing.assert_allclose(GradDrop(seed=1).combine(ops.array(rows)), rows.sum(axis=0), rtol=1e-5)


def test_every_element_keeps_one_sign_whole():
    found = np.asarray(GradDrop(seed=1).combine(ops.array(ROWS)))
    positive, negative = np.maximum(ROWS, 0).sum(axis=0), np.minimum(ROWS, 0).sum(axis=0)
    up, down = np.isclose(found, positive, atol=1e-6), np.isclose(found, negative, atol=1e-6)
    assert (up | down).all()
    assert up.any()
    assert down.any()


def test_signs_are_kept_as_often_as_they_weigh():
    # 3 against 1: the positive sign goes through in three of four draws.
    rows = ops.array(np.repeat([[3.0], [-1.0]], 40_000, axis=1).astype("float32"))
    found = np.asarray(GradDrop(seed=2).combine(rows))
    assert np.mean(found > 0) == pytest.approx(0.75, abs=0.01)


def test_an_element_without_gradient_is_harmless():
    rows = np.array([[0.0, 1.0], [0.0, -2.0]], "float32")
    assert np.asarray(GradDrop().combine(ops.array(rows)))[0] == 0.0


def test_what_leaks_is_never_dropped():
    rows = ops.array(ROWS)
    np.testing.assert_allclose(GradDrop(leak=1.0).combine(rows), ROWS.sum(axis=0), rtol=1e-5, atol=1e-6)
    draws = ops.array(np.random.default_rng(1).random(50).astype("float32"))
    none = np.asarray(graddrop_direction(rows, draws, ops.zeros((4,))))
    some = np.asarray(graddrop_direction(rows, draws, ops.array([0.0, 0.0, 0.25, 0.0])))
    dropped = ROWS[2] * (np.sign(ROWS[2]) != np.where(none > 0, 1, -1))
    np.testing.assert_allclose(some, none + 0.25 * dropped, atol=1e-6)


def test_leaks_go_by_name():
    tasks = [Regression("zebra"), Regression("ant")]
    balancer = GradDrop(leak={"ant": 1.0}, seed=3)
    balancer.prepare(tasks)
    rows = np.repeat([[100.0], [-1.0]], 50, axis=1).astype("float32")
    found = np.asarray(balancer.combine(ops.array(rows)))
    # The ant pulls at -1 in every element, whichever sign goes through.
    assert set(found.round(4).tolist()) <= {99.0, -1.0}
    assert balancer.leaks(2) == [0.0, 1.0]
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(balancer))
    assert again.get_config() == balancer.get_config()
    with pytest.raises(ValueError, match=r"^GradDrop: `leak` must use task names as keys, got 'bee'\. Known: "):
        GradDrop(leak={"bee": 0.5}).prepare(tasks)


@pytest.mark.parametrize("leak", [-0.1, 1.1, "all", {"ant": 2.0}, None])
def test_a_leak_is_a_share(leak):
    with pytest.raises(
        ValueError, match=r"^GradDrop: `leak` must be between 0 and 1, one number or \{task: number\}, got"
    ):
        GradDrop(leak=leak)


def test_a_seed_repeats_the_draws_and_time_changes_them():
    one, other = GradDrop(seed=7), GradDrop(seed=7)
    first = np.asarray(one.combine(ops.array(ROWS)))
    np.testing.assert_array_equal(first, other.combine(ops.array(ROWS)))
    assert np.any(first != np.asarray(one.combine(ops.array(ROWS))))


def test_a_task_that_sits_out_does_not_vote():
    rows = ROWS.copy()
    rows[3] = -1e6
    present = ops.array([True, True, True, False])
    found = GradDrop(seed=7).combine(ops.array(rows), present=present)
    np.testing.assert_allclose(found, GradDrop(seed=7).combine(ops.array(rows[:3])), rtol=1e-6)
