"""Every balancer in a real model: labels hidden, a task that goes away and comes back, numbers that go wrong."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from balancers.tables import rows
from toys import build, examples

import kmtl

NAMES = ["species", "alive", "box", "age"]
X, Y = examples(32, hidden=0.5, seed=4)


def model_of(balancer, **options):
    model = build()
    model.compile(keras.optimizers.Adam(0.01), balancer=balancer, **options)
    model.adapt(X, Y)
    return model


def without(labels, name):
    return {**labels, name: np.full_like(labels[name], np.nan if labels[name].dtype.kind == "f" else -1)}


@pytest.fixture(scope="module")
def shared():
    """One model for every balancer, its scales learned."""
    model = build()
    model.adapt(X, Y)
    return model


@pytest.mark.parametrize("name", rows("slow"))
def test_half_of_the_labels_are_enough(name, shared):
    model = shared
    model.compile(keras.optimizers.SGD(0.01), balancer=name, run_eagerly=True)
    before = model.get_weights()
    logs = model.train_on_batch(X[:6], {task: label[:6] for task, label in Y.items()}, return_dict=True)
    seen = {task for task in NAMES if not np.isnan(logs[f"{task}_loss"])}
    assert all(np.isfinite(logs[f"{task}_weight"]) for task in seen)
    assert np.isfinite(logs["loss"])
    assert all(np.isfinite(value).all() for value in model.get_weights())
    assert any(not np.array_equal(old, new) for old, new in zip(before, model.get_weights(), strict=True))
    assert not model.balancer.excluded.numpy().any()
    assert model.balancer.skipped.numpy() == 0


def states_of(balancer, place):
    """What the balancer remembers of one task: the rows of its states that belong to it."""
    count = len(NAMES)
    found = {}
    for variable in balancer.variables:
        value = variable.numpy()
        if variable.name != "seed_generator_state" and value.ndim and value.shape[0] == count:
            found[variable.path] = value[place]
    return found


# One of each way in which a balancer remembers; all of them stand on arrays in `tests/balancers`.
@pytest.mark.parametrize("name", ["famo", "gradnorm", "db_mtl"])
def test_a_task_comes_back_with_its_state_as_it_was(name):
    model = model_of(name, run_eagerly=True)
    for _ in range(2):
        model.train_on_batch(X, Y)
    before = states_of(model.balancer, 1)
    gone = without(Y, "alive")
    for _ in range(3):
        model.train_on_batch(X[:6], {task: label[:6] for task, label in gone.items()})
    for path, value in states_of(model.balancer, 1).items():
        np.testing.assert_array_equal(value, before[path], err_msg=path)
    model.reset_metrics()
    logs = model.train_on_batch(X, Y, return_dict=True)
    assert np.isfinite(logs["alive_weight"])


WAYS = {
    "losses": "uncertainty",
    "exact": "upgrad",
    "gradients": "graddrop",
    "features": kmtl.balancers.MGDA(level="features").get_config(),
    "online": kmtl.balancers.MGDA(solve="online").get_config(),
    "sliced": kmtl.balancers.MGDA(gram_fraction=0.5).get_config(),
    "looks again": "famo",
}


@pytest.mark.parametrize("way", WAYS)
def test_a_task_whose_loss_is_infinite_sits_out_and_is_told(way):
    given = WAYS[way]
    balancer = given if isinstance(given, str) else kmtl.balancers.MGDA.from_config(given)
    model = model_of(balancer, run_eagerly=True)
    labels = {task: label.copy() for task, label in Y.items()}
    # Its square is beyond float32.
    labels["age"][np.flatnonzero(~np.isnan(labels["age"]))[0]] = 1e30
    head = [variable.numpy() for variable in model.task_variables("age")]
    trunk = [variable.numpy() for variable in model.shared_variables]
    data = tf.data.Dataset.from_tensor_slices((X, labels)).batch(32)
    with pytest.warns(RuntimeWarning, match=r"sat out, its loss or gradient not finite: 'age' 1; steps skipped: 0"):
        logs = model.fit(data, check=False, verbose=0).history
    for old, new in zip(head, model.task_variables("age"), strict=True):
        np.testing.assert_array_equal(new.numpy(), old)
    assert any(not np.array_equal(old, new.numpy()) for old, new in zip(trunk, model.shared_variables, strict=True))
    assert all(np.isfinite(value).all() for value in model.get_weights())
    # A sum that lacks a task which had labels would look better than any other.
    assert np.isnan(logs["loss"][0])
    assert np.isfinite([logs[f"{task}_loss"][0] for task in NAMES[:3]]).all()
    assert np.isnan(logs["age_loss"][0])
    assert sum(logs[f"{task}_weight"][0] for task in NAMES[:3]) == pytest.approx(3, rel=1e-4)


@pytest.mark.parametrize("way", ["losses", "exact", "features"])
def test_a_step_in_which_nothing_is_finite_is_skipped(way):
    given = WAYS[way]
    balancer = given if isinstance(given, str) else kmtl.balancers.MGDA.from_config(given)
    model = model_of(balancer, run_eagerly=True)
    labels = without(without(Y, "species"), "alive")
    for name in ("age", "box"):
        labels[name] = np.full_like(labels[name], 1e30)
    before, slots = model.get_weights(), [value.numpy() for value in model.optimizer.variables]
    data = tf.data.Dataset.from_tensor_slices((X, labels)).batch(32)
    with pytest.warns(RuntimeWarning, match=r"'box' 1, 'age' 1; steps skipped: 1\."):
        model.fit(data, check=False, verbose=0)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)
    for old, new in zip(slots, model.optimizer.variables, strict=True):
        np.testing.assert_array_equal(new.numpy(), old)


def test_a_gradient_that_is_not_finite_takes_its_task_out_where_gradients_are_told_apart():
    class Steep(keras.layers.Layer):
        """The square root, whose slope at 0 is infinite; the loss is finite."""

        def call(self, inputs):
            return keras.ops.sqrt(keras.ops.relu(inputs) * 0.0)

    image = keras.Input((6,))
    features = keras.layers.Dense(5)(image)
    copies = kmtl.sharing.Fork(["steep", "flat"])(features)
    outputs = {"steep": Steep()(keras.layers.Dense(1)(copies["steep"])), "flat": keras.layers.Dense(1)(copies["flat"])}
    chosen = [kmtl.Regression(name, standardize=False) for name in outputs]
    model = kmtl.MultiTaskModel(image, outputs, tasks=chosen)
    labels = {"steep": X[:, 0], "flat": X[:, 1]}
    for balancer in ("upgrad", kmtl.balancers.UPGrad(level="features")):
        model.compile(keras.optimizers.SGD(0.1), balancer=balancer, run_eagerly=True)
        before = model.get_weights()
        model.train_on_batch(X, labels)
        assert model.balancer.excluded.numpy().tolist() == [1, 0]
        assert all(np.isfinite(value).all() for value in model.get_weights())
        assert not np.array_equal(before[0], model.get_weights()[0])
    model.compile(keras.optimizers.SGD(0.1), run_eagerly=True)
    before = model.get_weights()
    model.train_on_batch(X, labels)
    assert model.balancer.skipped.numpy() == 1
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)
