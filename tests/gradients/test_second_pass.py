"""The second look at a batch: the same draws, and nothing of it stays."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from toys import examples, tasks

import kmtl
from kmtl import gradients
from kmtl.balancers import FAMO

X, Y = examples(16)


def noisy_trunk():
    """An input, and features with dropout and moving statistics."""
    image = keras.Input((X.shape[1],), name="image")
    features = keras.layers.Dropout(0.5, seed=3)(keras.layers.Dense(5, activation="tanh")(image))
    return image, keras.layers.BatchNormalization(momentum=0.9, name="norm")(features)


@pytest.fixture(scope="module")
def trunk():
    return keras.Model(*noisy_trunk())


def test_it_draws_what_the_first_pass_drew_and_leaves_every_variable(trunk):
    (generator,) = [layer.seed_generator for layer in trunk.layers if isinstance(layer, keras.layers.Dropout)]

    def forward():
        return tf.reduce_sum(trunk(X, training=True) * np.arange(5.0), axis=1)

    again = gradients.SecondPass(forward, gradients.generator_states([generator.state]))
    first = forward()
    before = [variable.numpy() for variable in [*trunk.variables, generator.state]]
    np.testing.assert_array_equal(again.values(), first)
    np.testing.assert_array_equal(again.values(), first)
    for variable, value in zip([*trunk.variables, generator.state], before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value, err_msg=variable.path)
    assert not np.array_equal(forward(), first)


def test_a_step_that_moves_nothing_looks_the_same_again_and_counts_its_statistics_once():
    keras.utils.set_random_seed(3)
    image, features = noisy_trunk()
    model = kmtl.MultiTaskModel.from_features(image, features, tasks())
    model.compile(keras.optimizers.SGD(0.0), balancer=FAMO(), run_eagerly=True)
    model.adapt(X, Y)
    model.train_on_batch(X, Y)
    # Every loss is what it was before the step, to the last bit: under another mask none would be.
    np.testing.assert_array_equal(model.balancer.logits.numpy(), 0.0)
    assert model.balancer.adam.steps.numpy().tolist() == [1.0] * 4
    norm = model.get_layer("norm")
    # Counted twice, the variance would have left 0.81 of its start.
    assert np.all(norm.moving_variance.numpy() >= 0.9)
    assert np.any(norm.moving_mean.numpy())
