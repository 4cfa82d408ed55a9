"""Per-task gradients of the shared weights, and what balancers make of them."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kmtl import gradients
from kmtl._replicas import sum_over_replicas

SHAPES = [(3, 2), (), (4,)]


@pytest.fixture
def rows():
    """Gradients of three tasks for three variables."""
    generator = np.random.default_rng(0)
    return [[tf.constant(generator.normal(size=shape), "float32") for shape in SHAPES] for _ in range(3)]


def matrix(rows):
    return np.stack([np.concatenate([np.ravel(tensor) for tensor in row]) for row in rows])


@pytest.fixture
def model():
    """Two tasks on a shared layer, a layer of one task, an embedding, and one layer that nothing uses."""
    word, image = keras.Input((), dtype="int32", name="word"), keras.Input((3,), name="image")
    shared = keras.layers.Dense(4, name="shared")(image)
    embedded = keras.layers.Embedding(5, 4, name="embedding")(word)
    outputs = {
        "zebra": keras.layers.Dense(1, name="zebra")(keras.layers.Add()([shared, embedded])),
        "ant": keras.layers.Dense(2, name="ant")(keras.layers.Dense(4, name="own")(shared)),
    }
    return keras.Model([word, image], outputs)


def variables_of(model, *names):
    return [variable for name in names for variable in model.get_layer(name).trainable_variables]


def test_gradients_are_dense_and_zero_where_there_is_no_path(model):
    word, image = tf.constant([1, 3, 1]), tf.constant(np.random.default_rng(0).normal(size=(3, 3)), "float32")
    variables = variables_of(model, "shared", "embedding", "own")
    with tf.GradientTape(persistent=True) as tape:
        outputs = model([word, image])
        targets = {name: tf.reduce_sum(output) for name, output in outputs.items()}
    zebra = gradients.gradients_of(tape, targets["zebra"], variables)
    ant = gradients.gradients_of(tape, targets["ant"], variables)
    for found in (zebra, ant):
        assert [gradient.shape for gradient in found] == [variable.shape for variable in variables]
        assert all(isinstance(gradient, tf.Tensor) for gradient in found)
    column = model.get_layer("zebra").kernel.numpy()[:, 0]
    np.testing.assert_allclose(zebra[2], np.outer([0, 2, 0, 1, 0], column), rtol=1e-6)
    assert not np.any(ant[2])
    assert not any(np.any(gradient) for gradient in zebra[3:])
    assert np.any(ant[3])
    assert np.any(zebra[0])


def test_a_vector_and_back(rows):
    vector = gradients.flatten(rows[0])
    assert vector.dtype == "float32"
    np.testing.assert_array_equal(vector, matrix(rows)[0])
    for tensor, again in zip(rows[0], gradients.unflatten(vector, rows[1]), strict=True):
        assert tensor.shape == again.shape
        np.testing.assert_array_equal(again, tensor)


def test_a_vector_takes_the_dtypes_of_what_it_is_cut_like():
    like = [tf.ones((2,), "float16"), tf.ones((1, 2), "float64")]
    vector = gradients.flatten(like) * 3
    assert vector.dtype == "float32"
    assert [tensor.dtype for tensor in gradients.unflatten(vector, like)] == ["float16", "float64"]
    np.testing.assert_array_equal(gradients.unflatten(vector, like)[1], [[3.0, 3.0]])


def test_the_gramian_is_that_of_the_joined_vectors(rows):
    expected = matrix(rows) @ matrix(rows).T
    found = gradients.gramian(rows)
    assert found.dtype == "float32"
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_array_equal(found, np.transpose(found))


def test_a_gramian_of_half_precision_does_not_overflow():
    row = [tf.fill((100,), tf.constant(100.0, "float16"))]
    np.testing.assert_allclose(gradients.gramian([row, row]), np.full((2, 2), 1e6))


def test_a_weighted_sum_is_that_of_the_joined_vectors(rows):
    weights = np.array([0.5, 0.0, -2.0], "float32")
    found = gradients.weighted_sum(rows, tf.constant(weights))
    np.testing.assert_allclose(gradients.flatten(found), weights @ matrix(rows), rtol=1e-5, atol=1e-6)
    assert [tensor.shape for tensor in found] == SHAPES


def test_without_a_strategy_there_is_nothing_to_sum():
    value = tf.constant([1.0, 2.0])
    assert sum_over_replicas(value) is value


def test_a_strategy_of_one_device_sums_one_replica():
    strategy = tf.distribute.MirroredStrategy(["/cpu:0"])
    found = strategy.run(lambda: sum_over_replicas(tf.constant([1.0, 2.0])))
    np.testing.assert_array_equal(found, [1.0, 2.0])
