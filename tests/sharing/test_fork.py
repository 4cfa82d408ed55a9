"""A fork in a plain Keras model, and what it leaves alone."""

import keras
import numpy as np
import pytest
from keras import ops

import kmtl
from kmtl.sharing import Fork

GENERATOR = np.random.default_rng(3)
X = GENERATOR.normal(size=(16, 4)).astype("float32")
Y = {"zebra": 100 * X[:, :1], "ant": X[:, 1:3]}


def plain(balancer=None, **options):
    """A Keras model of two outputs of unlike scale, a fork behind its trunk."""
    keras.utils.set_random_seed(7)
    image = keras.Input((4,))
    features = keras.layers.Dense(5, activation="tanh", name="trunk")(image)
    copies = Fork(["zebra", "ant"], balancer=balancer, name="fork")(features)
    outputs = {
        "zebra": keras.layers.Dense(1, name="zebra")(copies["zebra"]),
        "ant": keras.layers.Dense(2, name="ant")(copies["ant"]),
    }
    model = keras.Model(image, outputs)
    model.compile(keras.optimizers.SGD(0.01), loss={"zebra": "mse", "ant": "mse"}, **options)
    return model


def fitted(model, epochs=2):
    model.fit(X, Y, batch_size=16, epochs=epochs, verbose=0, shuffle=False)
    return model


OTHER_WAYS = [{"jit_compile": True}, {"steps_per_execution": 2}]


@pytest.mark.parametrize("options", [{}, *(pytest.param(o, marks=pytest.mark.long) for o in OTHER_WAYS)])
def test_it_balances_in_plain_fit(options):
    alone, twin = plain(kmtl.balancers.Unit(factor="one", scale="paper"), **options), plain()
    kernel = alone.get_layer("trunk").kernel.numpy()
    features = np.tanh(X @ kernel)
    total = np.zeros_like(features)
    for name in Y:
        head = twin.get_layer(name).kernel.numpy()
        row = 2 / Y[name].size * (features @ head - Y[name]) @ head.T
        total += row / np.linalg.norm(row)
    fitted(alone, epochs=1)
    expected = kernel - 0.01 * X.T @ (total * (1 - features**2))
    np.testing.assert_allclose(alone.get_layer("trunk").kernel.numpy(), expected, rtol=1e-4, atol=1e-6)


def test_without_a_balancer_it_changes_nothing():
    image = keras.Input((4,))
    keras.utils.set_random_seed(7)
    features = keras.layers.Dense(5, activation="tanh")(image)
    outputs = {"zebra": keras.layers.Dense(1)(features), "ant": keras.layers.Dense(2)(features)}
    bare = keras.Model(image, outputs)
    bare.compile(keras.optimizers.SGD(0.01), loss={"zebra": "mse", "ant": "mse"})
    for one, other in zip(fitted(bare).get_weights(), fitted(plain()).get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_prediction_does_not_balance():
    model = plain("mgda")
    copies = model.get_layer("fork")(ops.ones((2, 5)), training=False)
    assert copies["zebra"] is copies["ant"]


def test_it_is_saved_with_its_balancer_and_its_state(tmp_path):
    model = fitted(plain(kmtl.balancers.GradVac(beta=0.5, seed=1)))
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    # Keras leaves the state of random generators out of its files.
    state, found = (
        [item.numpy() for item in one.get_layer("fork").balancer.variables if item.name != "seed_generator_state"]
        for one in (model, again)
    )
    assert again.get_layer("fork").balancer.beta == 0.5
    for one, other in zip(state, found, strict=True):
        np.testing.assert_array_equal(one, other)
    assert any(value.any() for value in state)


def test_what_it_cannot_do_is_refused():
    with pytest.raises(ValueError, match=r"Fork: `balancer` must need gradients"):
        Fork(["a", "b"], balancer="uncertainty")
    with pytest.raises(ValueError, match=r"Fork: `names` must differ"):
        Fork(["a", "a"])


def test_a_method_that_needs_losses_says_so_where_they_are_unknown():
    with pytest.raises(ValueError, match="losses"):
        fitted(plain("gradnorm"))
