"""Under `equal`, kmtl takes the steps of stock Keras."""

import keras
import numpy as np
import pytest
from toys import assert_same_weights, examples, tasks

import kmtl

LOSSES = {"species": "sparse_categorical_crossentropy", "alive": "binary_crossentropy", "box": "mae", "age": "mse"}
METRICS = {"species": ["accuracy"], "alive": ["accuracy"], "box": ["mae"], "age": ["mae"]}
WEIGHTS = {"species": 1.0, "alive": 1.0, "box": 2.0, "age": 0.01}
X, Y = examples(80)


class Centred(keras.layers.Layer):
    """Adds a loss of its own."""

    def call(self, inputs):
        self.add_loss(0.1 * keras.ops.mean(keras.ops.square(inputs)))
        return inputs


def network(dropout=0.3, added=True):
    """Penalties, dropout and, if wanted, losses of activities; the heads' names sort otherwise than the tasks'."""
    keras.utils.set_random_seed(3)
    image = keras.Input((6,), name="image")
    activity = "l1" if added else None
    hidden = keras.layers.Dense(8, activation="relu", kernel_regularizer="l2", activity_regularizer=activity)(image)
    hidden = keras.layers.Dropout(dropout)(hidden)
    hidden = keras.layers.BatchNormalization()(Centred()(hidden) if added else hidden)
    ends = {
        "species": keras.layers.Dense(4, activation="softmax", name="z", dtype="float32"),
        "alive": keras.layers.Dense(1, activation="sigmoid", name="y", dtype="float32"),
        "box": keras.layers.Dense(2, name="b", dtype="float32"),
        "age": keras.layers.Dense(1, name="a", dtype="float32"),
    }
    return keras.Model(image, {name: layer(hidden) for name, layer in ends.items()})


def pair(optimizer, dropout=0.3, added=True, **options):
    """The same network under stock Keras and under kmtl."""
    stock = network(dropout, added)
    stock.compile(optimizer(), loss=LOSSES, loss_weights=WEIGHTS, metrics=METRICS, **options)
    given = [kmtl.Regression("box", shape=2, loss="mae") if task.name == "box" else task for task in tasks()]
    ours = kmtl.MultiTaskModel.from_model(network(dropout, added), given)
    ours.compile(optimizer(), loss_weights={"age": 0.01, "box": 2.0}, **options)
    return stock, ours


def fitted(models, **options):
    """Histories of both, each from the same seed."""
    histories = []
    for model in models:
        keras.utils.set_random_seed(7)
        histories.append(model.fit(X, Y, **{"batch_size": 8, "verbose": 0, **options}).history)
    return histories


def averaged():
    return keras.optimizers.Adam(0.01, clipnorm=0.5, use_ema=True, ema_momentum=0.9, ema_overwrite_frequency=3)


def accumulating():
    return keras.optimizers.AdamW(0.01, gradient_accumulation_steps=2)


@pytest.mark.parametrize(
    ("optimizer", "options"),
    [
        (averaged, {}),
        pytest.param(accumulating, {"steps_per_execution": 5}, marks=pytest.mark.long),
        # One without the other.
        pytest.param(accumulating, {}, marks=pytest.mark.slow),
        pytest.param(lambda: keras.optimizers.Adam(0.01), {"steps_per_execution": 5}, marks=pytest.mark.slow),
    ],
    ids=["clipping and averaging", "accumulating in executions", "accumulating", "steps per execution"],
)
def test_twenty_steps_are_equal_bit_by_bit(optimizer, options):
    models = pair(optimizer, **options)
    expected, found = fitted(models, epochs=2, shuffle=True)
    assert_same_weights(*models)
    for key, values in expected.items():
        np.testing.assert_allclose(found[key], values, rtol=1e-5, err_msg=key)


@pytest.mark.long
@pytest.mark.parametrize("policy", ["mixed_float16", pytest.param("mixed_bfloat16", marks=pytest.mark.slow)])
def test_steps_in_mixed_precision_are_equal(policy):
    keras.config.set_dtype_policy(policy)
    try:
        # Stock Keras cannot add up a float16 loss of a layer and the float32 ones.
        models = pair(lambda: keras.optimizers.SGD(0.01), added=False)
    finally:
        keras.config.set_dtype_policy("float32")
    expected, found = fitted(models, epochs=1)
    assert_same_weights(*models, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["loss"], expected["loss"], rtol=1e-4)
    assert type(models[0].optimizer) is type(models[1].optimizer)


@pytest.mark.long
def test_xla_takes_the_same_steps():
    models = pair(lambda: keras.optimizers.SGD(0.01), dropout=0.0, jit_compile=True)
    fitted(models, epochs=1)
    assert_same_weights(*models, rtol=1e-4, atol=1e-6)


def test_evaluation_is_equal():
    stock, ours = pair(lambda: keras.optimizers.SGD(0.01), run_eagerly=True)
    # Scales are learned by nobody here: the outputs are the user's own.
    assert ours.scalers == {}
    expected = stock.evaluate(X, Y, batch_size=16, verbose=0, return_dict=True)
    found = ours.evaluate(X, Y, batch_size=16, verbose=0, return_dict=True)
    assert set(found) == {*expected, "regularization"}
    for key, value in expected.items():
        np.testing.assert_allclose(found[key], value, rtol=1e-5, err_msg=key)


@pytest.mark.long
def test_sample_weights_are_equal():
    models = pair(lambda: keras.optimizers.SGD(0.01), dropout=0.0, run_eagerly=True)
    weights = {name: np.random.default_rng(place).random(80) for place, name in enumerate(LOSSES)}
    fitted(models, epochs=1, batch_size=40, sample_weight=weights)
    assert_same_weights(*models, rtol=1e-5, atol=1e-7)


def test_class_weights_are_those_of_stock_keras_with_one_task():
    table = {0: 0.2, 1: 3.0, 3: 1.5}
    stock, old = (keras.Model(old.input, old.output["species"]) for old in (network(0.0), network(0.0)))
    ours = kmtl.MultiTaskModel.from_model(old, [kmtl.Classification("species", 4)])
    stock.compile(keras.optimizers.SGD(0.1), loss="sparse_categorical_crossentropy", run_eagerly=True)
    ours.compile(keras.optimizers.SGD(0.1), run_eagerly=True)
    options = {"batch_size": 32, "verbose": 0, "shuffle": False}
    stock.fit(X, Y["species"], class_weight=table, **options)
    ours.fit(X, {"species": Y["species"]}, class_weight={"species": table}, **options)
    assert_same_weights(stock, ours, rtol=1e-5, atol=1e-7)


@pytest.mark.long
def test_the_validation_split_is_equal():
    models = pair(lambda: keras.optimizers.SGD(0.01), run_eagerly=True)
    expected, found = fitted(models, epochs=1, batch_size=28, validation_split=0.3)
    assert_same_weights(*models, rtol=1e-5, atol=1e-7)
    for key in ("val_loss", "val_species_loss", "val_age_mae"):
        np.testing.assert_allclose(found[key], expected[key], rtol=1e-5, err_msg=key)
