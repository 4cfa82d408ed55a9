"""State of the training that is saved with the model but is no weight of it."""

import keras
import numpy as np
import tensorflow as tf

from kmtl.model.saved_state import LossWeights, RandomState


class Store(dict):
    """What Keras hands to `save_own_variables`: values become arrays."""

    def __setitem__(self, key, value):
        super().__setitem__(key, value.numpy())


def test_weights_keep_the_order_of_the_tasks():
    held = LossWeights({"zebra": 1.0, "ant": 0.5, "mole": 2.0})
    assert list(held.as_dict().items()) == [("zebra", 1.0), ("ant", 0.5), ("mole", 2.0)]
    held.assign({"mole": 3, "zebra": np.float64(0.25)})
    assert held.as_dict() == {"zebra": 0.25, "ant": 0.5, "mole": 3.0}
    assert held.value.numpy().tolist() == [0.25, 0.5, 3.0]


def test_a_compiled_step_reads_the_weights_of_now():
    held = LossWeights({"zebra": 1.0, "ant": 0.5})
    traced = []

    @tf.function(jit_compile=True)
    def step(losses):
        traced.append(1)
        return tf.reduce_sum(held.value * losses)

    losses = tf.constant([1.0, 10.0])
    assert float(step(losses)) == 6.0
    held.assign({"ant": 2.0})
    assert float(step(losses)) == 21.0
    assert len(traced) == 1


def test_weights_are_saved_and_a_file_without_any_leaves_them():
    held, other = LossWeights({"zebra": 1.0, "ant": 0.5}), LossWeights({"zebra": 7.0, "ant": 7.0})
    store = Store()
    held.save_own_variables(store)
    other.load_own_variables({})
    assert other.as_dict() == {"zebra": 7.0, "ant": 7.0}
    other.load_own_variables(store)
    assert other.as_dict() == held.as_dict()


def test_weights_are_nothing_to_train():
    assert LossWeights({"zebra": 1.0}).trainable_variables == []


def dropping(seed):
    """A model with two generators."""
    layers = [keras.layers.Dropout(0.5, seed=seed), keras.layers.GaussianNoise(1.0, seed=seed + 1)]
    return keras.Sequential([keras.Input((50,)), *layers])


def noise(model):
    return np.asarray(model(np.ones((1, 50), "float32"), training=True))


def test_a_restored_generator_draws_what_the_saved_one_would_have_drawn():
    model, other = dropping(1), dropping(8)
    noise(model)
    store = Store()
    RandomState([model]).save_own_variables(store)
    assert sorted(store) == ["0", "1"]
    expected = noise(model)
    assert np.abs(noise(other) - expected).max() > 0
    RandomState([other]).load_own_variables(store)
    np.testing.assert_array_equal(noise(other), expected)


def test_the_generators_of_all_owners_are_held_but_not_owned():
    model, balancer = dropping(1), keras.layers.Dropout(0.5, seed=3)
    state = RandomState([model, balancer])
    assert len(state.states) == 3
    assert state.variables == []


def test_a_file_of_another_model_changes_no_generator():
    model = dropping(1)
    before = [state.numpy().copy() for state in RandomState([model]).states]
    for store in ({}, {"0": before[0] + 5}, {str(place): before[0] + 5 for place in range(3)}):
        RandomState([model]).load_own_variables(store)
    for state, old in zip(RandomState([model]).states, before, strict=True):
        np.testing.assert_array_equal(state.numpy(), old)
