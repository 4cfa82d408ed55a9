"""What recipes work with: refusals before any training, stages on disk, steps that are counted exactly and timed."""

import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from recipe_rows import TASKS, build, rows, train

import kmtl
from kmtl import training
from kmtl.training.rows_in_memory import rows_of
from kmtl.training.same_build import difference
from kmtl.training.shared_trunk import shared_trunk, trunk_in
from kmtl.training.step_seconds import step_seconds


class Twice(training.Recipe):
    """Two stages, and an array between them."""

    def __init__(self, number=1.0):
        self.number = number

    def run(self, work):
        model = work.model()
        work.fit("first", model, epochs=0.5)
        drawn = work.keep("drawn", lambda: {"values": np.random.default_rng().random(3)})
        work.notes["drawn"] = drawn["values"]
        work.fit("second", model, epochs=0.5)
        return model


def endless():
    """The rows over and over."""
    return tf.data.Dataset.from_tensor_slices(rows()).batch(8).repeat()


def test_finished_stages_are_read_and_not_done_again(tmp_path):
    first = train(Twice(), folder=tmp_path)
    assert [stage.name for stage in first.stages] == ["first", "second"]
    calls = []

    class Hears(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            del logs
            calls.append(1)

    again = train(Twice(), folder=tmp_path, callbacks=lambda: [Hears()])
    assert not calls
    np.testing.assert_array_equal(first.notes["drawn"], again.notes["drawn"])
    for one, other in zip(first.model.get_weights(), again.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert {key: len(log) for key, log in again.history.items()} == dict.fromkeys(first.history, 2)


def test_a_folder_of_another_training_is_refused(tmp_path):
    train(training.Joint(), folder=tmp_path)
    with pytest.raises(ValueError, match=r"Joint: `folder` must hold this training, got seed 0 there and 1 here"):
        train(training.Joint(), folder=tmp_path, seed=1)
    with pytest.raises(ValueError, match=r"recipe .*'epochs': 1.0.* there and .*'epochs': 2.0.* here"):
        train(training.Joint(epochs=2.0), folder=tmp_path)


def test_a_stage_of_another_model_is_refused(tmp_path):
    train(training.Joint(), folder=tmp_path)

    def wider(tasks):
        image = keras.Input((4, 4, 1), name="image")
        model = type(build(tasks)).from_features(image, keras.layers.Dense(7)(keras.layers.Flatten()(image)), tasks)
        model.compile("adam")
        return model

    with pytest.raises(ValueError, match=r"`folder` must hold this training, got a model of .* variables"):
        train(training.Joint(), folder=tmp_path, build=wider)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"epochs": 0}, "`epochs` must be a whole number of at least 1"),
        ({"seed": -1}, "`seed` must be a whole number from 0 on"),
        (
            {"train": {"kind": rows()}},
            r"`train` must be one set of data, got 1 by name. Put them",
        ),
        ({"train": (rows()[0], {"kind": rows()[1]["kind"]})}, "speed"),
        ({"build": "no function"}, "`build` must be a function"),
        ({"train": endless()}, r"`train` must have an end, got an endless set. Take the batches of an epoch"),
    ],
)
def test_what_cannot_be_trained_is_told_first(given, message):
    with pytest.raises(ValueError, match=message):
        train(training.Joint(), **given)


def test_a_set_for_a_task_that_is_not_there_is_told():
    with pytest.raises(ValueError, match=r"Alternating: `train` must use task names as keys, got 'sped'. Did you mean"):
        train(training.Alternating(), train={"kind": rows(), "sped": rows()})


def test_steps_are_exact_whatever_an_execution_holds():
    def several(tasks):
        model = build(tasks, run_eagerly=False)
        model.compile(keras.optimizers.SGD(0.1), steps_per_execution=2)
        return model

    # Three batches an epoch, two an execution: Keras alone would take four.
    found = train(training.Joint(), build=several)
    assert int(found.model.optimizer.iterations) == 2 * 3
    assert found.cost == 1.0


def test_builds_that_differ_are_told_apart():
    keras.utils.set_random_seed(0)
    one = build(TASKS)
    keras.utils.set_random_seed(0)
    assert not difference(one, build(TASKS))
    assert "starts with other values" in difference(one, build(TASKS))
    other = build(TASKS)
    other.compile(keras.optimizers.Adam(0.5))
    assert "learning_rate" in difference(one, other)


def test_the_same_trunk_is_found_in_a_model_of_one_task():
    keras.utils.set_random_seed(1)
    joint = build(TASKS)
    keras.utils.set_random_seed(1)
    alone = build([TASKS[1].alone()])
    trunk = shared_trunk("test", joint)
    x = rows()[0]
    np.testing.assert_array_equal(trunk([x]), trunk_in("test", alone, trunk)([x]))

    def other(tasks):
        image = keras.Input((4, 4, 1))
        features = keras.layers.Dense(len(tasks) + 3)(keras.layers.Flatten()(image))
        model = type(joint).from_features(image, features, tasks)
        model.compile("adam")
        return model

    with pytest.raises(ValueError, match="`build` must make the same trunk for one task as for all"):
        trunk_in("test", other([TASKS[1]]), shared_trunk("test", other(TASKS)))


def test_rows_keep_what_belongs_together():
    weights = np.arange(5, dtype="float32")
    data = tf.data.Dataset.from_tensor_slices((np.arange(5.0), {"age": 10 * np.arange(5.0)}, weights)).batch(2)
    taken = rows_of(data).take([4, 1])
    assert taken.x.tolist() == [4.0, 1.0]
    assert taken.y["age"].tolist() == [40.0, 10.0]
    assert taken.weights.tolist() == [4.0, 1.0]
    passes = [np.concatenate([x for x, *_ in taken.dataset(seed=3).as_numpy_iterator()]) for _ in range(2)]
    assert all(sorted(one.tolist()) == [1.0, 4.0] for one in passes)


class Busy(keras.layers.Layer):
    """Keeps the processor busy for so long."""

    seconds = 0.02

    def call(self, values):
        end = time.process_time() + self.seconds
        while time.process_time() < end:
            pass
        return values


def test_the_seconds_of_a_step_are_those_of_its_work():
    def made():
        row = keras.Input((2,), name="row")
        model = kmtl.MultiTaskModel.from_features(row, Busy()(row), [kmtl.Regression("size")])
        model.compile("sgd", run_eagerly=True)
        return model

    data = kmtl.data.from_arrays(np.ones((8, 2), "float32"), {"size": np.arange(8.0)}, [kmtl.Regression("size")])
    assert Busy.seconds < step_seconds(made, data) < 10 * Busy.seconds
