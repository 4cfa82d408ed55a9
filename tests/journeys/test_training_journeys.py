"""Journeys of a new user about training: a frozen application, an old list model, own losses, alternating, a search."""

import keras
import keras_tuner
import numpy as np
import pytest
import tensorflow as tf

import kmtl

pytestmark = pytest.mark.long


@pytest.fixture
def tasks():
    return [kmtl.Classification("corner", classes=4), kmtl.Regression("size", unit="px")]


@pytest.fixture
def image():
    return keras.Input((16, 16, 3), name="image")


def flat(image, units=16):
    return keras.layers.Dense(units, activation="relu", name="shared")(keras.layers.Flatten()(image))


def test_an_application_frozen_then_tuned(tasks, pictures, labels):
    """The heads learn on a frozen encoder; unfrozen, it moves, with statistics of its normalisation as they were."""
    image = keras.Input((32, 32, 3), name="image")
    encoder = keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=(32, 32, 3), alpha=0.35)
    features = kmtl.trunks.backbone(encoder, image, pooling="average", trainable=False)
    model = kmtl.MultiTaskModel.from_features(image, features, tasks)
    model.compile(keras.optimizers.Adam(1e-3), run_eagerly=True)
    large = tf.image.resize(pictures, (32, 32)).numpy()[:8]
    few = {name: values[:8] for name, values in labels.items()}

    def values():
        return [weight.numpy() for weight in encoder.weights]

    before = values()
    model.fit(large, few, verbose=0)
    assert all(np.array_equal(old, new) for old, new in zip(before, values(), strict=True))
    encoder.trainable = True
    for layer in encoder.layers:
        layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
    model.fit(large, few, initial_epoch=1, epochs=2, verbose=0)
    moved = {
        weight.path.rsplit("/", 1)[-1]
        for weight, old, new in zip(encoder.weights, before, values(), strict=True)
        if not np.array_equal(old, new)
    }
    assert "kernel" in moved
    assert not moved & {"moving_mean", "moving_variance", "gamma", "beta"}


def test_a_model_whose_outputs_are_a_list(tasks, image, pictures, labels):
    hidden = flat(image)
    old = keras.Model(image, [keras.layers.Dense(4, "softmax")(hidden), keras.layers.Dense(1)(hidden)])
    with pytest.raises(ValueError, match="dict"):
        kmtl.MultiTaskModel.from_model(old, tasks)
    named = dict(zip(["corner", "size"], old.outputs, strict=True))
    model = kmtl.MultiTaskModel.from_model(keras.Model(old.input, named), tasks)
    model.compile("adam")
    model.fit(pictures, labels, verbose=0)
    np.testing.assert_array_equal(old.predict(pictures, verbose=0)[1], model.predict(pictures, verbose=0)["size"])


@keras.saving.register_keras_serializable(package="journey")
def asymmetric(labels, outputs):
    error = labels - outputs
    return keras.ops.mean(keras.ops.where(error > 0, 3.0, 1.0) * keras.ops.square(error), axis=-1)


def test_a_loss_and_a_metric_of_ones_own(tasks, image, pictures, labels):
    """They see labelled rows only, are named in the logs, and come back with the saved model."""
    model = kmtl.MultiTaskModel.from_features(image, flat(image), tasks)
    rmse = keras.metrics.RootMeanSquaredError(name="rmse")
    model.compile("adam", loss={"size": asymmetric}, metrics={"size": ["mae", rmse]}, run_eagerly=True)
    model.fit(pictures, labels, verbose=0)
    logs = model.evaluate(pictures, labels, verbose=0, return_dict=True)
    there = ~np.isnan(labels["size"])
    error = labels["size"][there] - model.predict(pictures, verbose=0)["size"][there, 0]
    assert logs["size_rmse"] == pytest.approx(np.sqrt(np.mean(error**2)), rel=1e-4)
    # A loss sees both sides in units of the labels' spread.
    scaled = error / float(model.scalers["size"].scale[0])
    assert logs["size_loss"] == pytest.approx(np.mean(np.where(scaled > 0, 3, 1) * scaled**2), rel=1e-4)
    model.save("own.keras")
    again = keras.saving.load_model("own.keras").evaluate(pictures, labels, verbose=0, return_dict=True)
    assert again == pytest.approx(logs, rel=1e-5)


def test_alternating_between_tasks_and_freezing_a_head(tasks, image, pictures, labels):
    """One dataset a task, in turn: a step moves the head of its task alone; a frozen head stands still."""
    model = kmtl.MultiTaskModel.from_features(image, flat(image), tasks)
    model.compile(keras.optimizers.SGD(0.01))
    model.adapt(pictures, labels)
    alone = [
        kmtl.data.from_arrays(pictures, {name: labels[name]}, tasks, batch_size=16).repeat()
        for name in ("corner", "size")
    ]
    heads = {name: model.task_variables(name)[0] for name in ("corner", "size")}
    for stream, name in zip(alone, ("corner", "size"), strict=True):
        before = {key: variable.numpy() for key, variable in heads.items()}
        model.train_on_batch(*next(iter(stream)))
        moved = {key for key, variable in heads.items() if not np.array_equal(before[key], variable.numpy())}
        assert moved == {name}
    in_turn = tf.data.Dataset.choose_from_datasets(alone, tf.data.Dataset.range(2).repeat())
    head = next(layer for layer in model.layers if any(heads["size"] is weight for weight in layer.weights))
    head.trainable = False
    before = heads["size"].numpy()
    model.fit(in_turn, steps_per_epoch=4, verbose=0)
    np.testing.assert_array_equal(before, heads["size"].numpy())


def test_a_search_by_hand(tasks, image, pictures, labels):
    def build(hp):
        model = kmtl.MultiTaskModel.from_features(image, flat(image, hp.Choice("units", [4, 8])), tasks)
        model.compile("adam", loss_weights={"size": hp.Float("size_weight", 0.1, 1.0)})
        return model

    objective = keras_tuner.Objective("val_size_mae", "min")
    tuner = keras_tuner.RandomSearch(build, objective=objective, max_trials=2, directory="tuner", seed=1)
    with pytest.warns(DeprecationWarning, match="currentThread|getName"):
        # KerasTuner 1.4.8 uses names that Python deprecates.
        tuner.search(pictures, labels, validation_data=(pictures, labels), verbose=0)
    assert 0.1 <= tuner.get_best_hyperparameters()[0].get("size_weight") <= 1.0
