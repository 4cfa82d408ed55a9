"""Trunks of all forms made again with other widths: what was adapted, frozen or trained keeps what it holds."""

import keras
import numpy as np
import pytest

import kmtl
from kmtl.evidence.recommendation.candidates import form, hidden_layers, unwidened
from kmtl.training import widened, width_for

TASKS = [kmtl.Classification("kind", 3), kmtl.Regression("size")]
RANDOM = np.random.default_rng(0)
ROWS = RANDOM.normal(5.0, 3.0, (64, 4)).astype("float32")
LABELS = {"kind": np.arange(64) % 3, "size": ROWS[:, 0]}


def build_of(trunk, shape=(4,)):
    """A build function whose features a function makes of the input."""

    def build(tasks):
        given = keras.Input(shape, name="row")
        model = kmtl.MultiTaskModel.from_features(given, trunk(given), tasks)
        model.compile("adam")
        return model

    return build


def inner(name="base", units=8):
    given = keras.Input((4,))
    hidden = keras.layers.BatchNormalization()(keras.layers.Dense(units, activation="relu")(given))
    return keras.Model(given, hidden, name=name)


def sequential(units=8):
    inside = keras.Sequential([keras.layers.Dense(units, activation="relu"), keras.layers.Dropout(0.1)])
    return keras.Sequential([keras.Input((4,)), inside, keras.layers.Dense(units)], name="base")


KERNEL = RANDOM.normal(size=(4, 8)).astype("float32")


def with_its_weights(*, trainable):
    model = inner()
    model.set_weights([KERNEL, *model.get_weights()[1:]])
    model.trainable = trainable
    return model


@pytest.mark.parametrize("make", [inner, sequential], ids=["functional", "sequential"])
def test_a_model_inside_the_model_is_widened(make):
    build = build_of(lambda row: make()(row))
    plain = build(TASKS).count_params()
    factor = width_for(build, TASKS, 4 * plain)
    wide = widened(build, factor)(TASKS)
    assert 2 * plain < wide.count_params() <= 4 * plain
    dense = [layer for layer in wide.get_layer("base")._flatten_layers() if isinstance(layer, keras.layers.Dense)]
    assert {layer.units for layer in dense} == {round(8 * factor / 4) * 4}
    assert np.isfinite(wide.fit(ROWS, LABELS, verbose=0).history["loss"][0])


@pytest.mark.parametrize("trainable", [True, False], ids=["trained", "frozen"])
def test_a_model_inside_that_comes_with_its_weights_keeps_them(trainable):
    def trunk(row):
        return keras.layers.Dense(16, name="own")(with_its_weights(trainable=trainable)(row))

    wide = widened(build_of(trunk), 2.0)(TASKS)
    assert wide.get_layer("own").units == 32
    np.testing.assert_array_equal(wide.get_layer("base").get_weights()[0], KERNEL)
    assert wide.get_layer("base").trainable == trainable


def test_alone_it_is_refused():
    with pytest.raises(ValueError, match=r"must have trainable layers of a width.*not trained before.*width=1.0"):
        widened(build_of(lambda row: with_its_weights(trainable=True)(row)), 2.0)(TASKS)


def test_what_was_adapted_and_frozen_keeps_what_it_holds():
    normalization = keras.layers.Normalization(name="adapted")
    normalization.adapt(ROWS)

    def trunk(row):
        fixed = keras.layers.Dense(8, name="fixed", trainable=False, kernel_initializer="ones")(normalization(row))
        return keras.layers.Dense(8, name="own")(fixed)

    wide = widened(build_of(trunk), 2.0)(TASKS)
    assert wide.get_layer("own").units == 16
    np.testing.assert_allclose(wide.get_layer("adapted").mean, [ROWS.mean(axis=0)], rtol=1e-5)
    np.testing.assert_array_equal(wide.get_layer("fixed").get_weights()[0], np.ones((4, 8)))
    # The user's own layer is not the copy's.
    assert wide.get_layer("adapted") is not normalization


def test_what_is_fixed_behind_a_wider_layer_is_refused():
    def trunk(row):
        hidden = keras.layers.Dense(8)(row)
        return keras.layers.Dense(8, name="fixed", trainable=False)(hidden)

    with pytest.raises(ValueError, match=r"no layer of fixed weights behind.*'fixed' behind one.*width=1.0"):
        widened(build_of(trunk), 2.0)(TASKS)


def test_wrapped_layers_and_functions_come_along():
    seven = 7.0

    def trunk(row):
        shifted = keras.layers.Lambda(lambda values: values - seven, name="shift")(row)
        steps = keras.layers.Reshape((4, 1))(shifted)
        return keras.layers.Bidirectional(keras.layers.GRU(4), name="both")(steps)

    wide = widened(build_of(trunk), 2.0)(TASKS)
    assert wide.get_layer("both").forward_layer.units == wide.get_layer("both").backward_layer.units == 8
    assert wide.forks[0].input.shape == (None, 16)
    np.testing.assert_array_equal(wide.get_layer("shift")(ROWS), ROWS - 7.0)


def test_a_size_of_a_picture_is_no_width():
    def trunk(picture):
        inside = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Resizing(4, 4), keras.layers.Conv2D(4, 3)])
        return keras.layers.GlobalAveragePooling2D()(inside(picture))

    wide = widened(build_of(trunk, (8, 8, 1)), 2.0)(TASKS)
    inside = next(layer for layer in wide.layers if isinstance(layer, keras.Sequential))
    assert (inside.layers[0].width, inside.layers[1].filters) == (4, 8)


def test_the_seed_rules_what_is_drawn_whether_or_not_it_was_made_before():
    build = widened(build_of(lambda row: inner()(row)), 2.0)
    made = []
    for _ in range(2):
        keras.utils.set_random_seed(5)
        made.append(build(TASKS).get_weights())
    assert all(np.array_equal(one, other) for one, other in zip(*made, strict=True))


def test_heads_get_a_hidden_layer_where_it_takes_at_most_half_of_the_weights():
    """Behind a flattened map of 512 numbers a hidden layer a head has 65,664 weights more."""

    def flat(picture):
        return keras.layers.Flatten()(keras.layers.Conv2D(8, 1)(picture))

    build = build_of(flat, (8, 8, 1))
    extra = widened(build, hidden=128)(TASKS).count_params() - build(TASKS).count_params()
    assert hidden_layers(build, TASKS, 2 * extra) == (128,)
    assert hidden_layers(build, TASKS, 2 * extra - 1) == ()
    total = sum(build([task]).count_params() for task in TASKS)
    made = form(build, TASKS, total // 2, "half")
    assert 0 < made.weights <= total // 2
    assert all(not task.hidden for task in made.build(TASKS).tasks.values())
    plain = unwidened(build, TASKS, total)
    assert (plain.name, plain.weights) == ("joint, as built", build(TASKS).count_params())
    assert unwidened(build, TASKS, 4 * extra).name == "joint, hidden layers"
