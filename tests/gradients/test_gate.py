"""What stops the gradient of a task that sits out, on arrays."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kmtl.gradients import Gate

GENERATOR = np.random.default_rng(4)


def slopes(value, healthy):
    """Gradient of a weighted sum of what a gate lets through, and the weights, which it is for a healthy task."""
    gate = Gate()
    value = tf.constant(value, "float32")
    weights = tf.constant(GENERATOR.normal(size=value.shape), "float32")
    with tf.GradientTape() as tape:
        tape.watch(value)
        total = tf.reduce_sum(weights * gate(value))
    gate.healthy = tf.constant(healthy)
    return tape.gradient(total, value).numpy(), weights.numpy()


@pytest.mark.parametrize("shape", [(4,), (4, 3), (4, 1, 3), (4, 5, 6, 3), (4, 2, 2, 2, 1)])
def test_a_single_task_sits_out_whole(shape):
    """A map `(batch, height, width, classes)` has the rank of a group of sequences, and is none."""
    value = GENERATOR.normal(size=shape)
    found, weights = slopes(value, [True])
    np.testing.assert_array_equal(found, weights)
    assert not slopes(value, [False])[0].any()


@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 3), (4, 3, 5, 2), (3, 3, 2, 2, 3)])
def test_of_a_group_the_tasks_that_sit_out_do(shape):
    """The group's axis is the second, whatever axes are as long as it."""
    found, weights = slopes(GENERATOR.normal(size=shape), [True, False, True])
    np.testing.assert_array_equal(found[:, [0, 2]], weights[:, [0, 2]])
    assert not found[:, 1].any()


@pytest.mark.parametrize("is_graph", [True, False])
@pytest.mark.parametrize("shape", [(2, 3), (2, 4, 3), (2, 5, 4, 3)])
def test_a_cross_entropy_is_taken_from_the_logits_behind_a_probability(shape, is_graph):
    """From the probability itself, which is 0 here, it would be cut off at 16 and have no slope."""
    logits = np.zeros(shape, "float32")
    logits[..., 0] = 300.0
    labels = np.ones(shape[:-1], "int32")

    def look(healthy):
        gate, raw = Gate(), tf.constant(logits)
        with tf.GradientTape() as tape:
            tape.watch(raw)
            loss = keras.losses.sparse_categorical_crossentropy(labels, gate(keras.activations.softmax(raw)))
        gate.healthy = tf.constant([healthy])
        return loss, tape.gradient(loss, raw)

    run = tf.function(look) if is_graph else look
    loss, slope = run(True)
    np.testing.assert_allclose(loss, np.full(shape[:-1], 300.0), rtol=1e-6)
    np.testing.assert_allclose(slope, np.broadcast_to([1.0, -1.0, 0.0], shape), atol=1e-6)
    assert not np.any(run(False)[1])
