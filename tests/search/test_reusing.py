"""A model that is set back trains as a new one does, without tracing again."""

import keras
import keras_tuner
import numpy as np
import pytest
import tensorflow as tf

import kmtl
from kmtl.search.cross_validation import Split
from kmtl.search.hypermodel import Trainee, TrialTrainer
from kmtl.search.objectives import Custom
from kmtl.search.space import Space, TaskSpace
from kmtl.training.reusable import Reusable, form_of

TASKS = [kmtl.Regression("zoo", unit="mm"), kmtl.Classification("ant", 3)]


def build(hp, tasks=TASKS, rate=0.3, width=8):
    """Everything that has a state: statistics, dropped units, standardised labels, moments, a drawn width."""
    row = keras.Input((6,), name="row")
    width = hp.Choice("width", [width, 2 * width]) if hp else width
    hidden = keras.layers.BatchNormalization(momentum=0.5)(keras.layers.Dense(width, activation="relu")(row))
    hidden = keras.layers.Dropout(rate)(hidden)
    model = kmtl.MultiTaskModel.from_features(row, hidden, tasks)
    model.compile(keras.optimizers.Adam(0.02), balancer="famo")
    return model


def data():
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(96, 6)).astype("float32")
    labels = {"zoo": 50 + 9 * rows[:, 0], "ant": generator.integers(-1, 3, 96).astype("int32")}
    return tf.data.Dataset.from_tensor_slices((rows, labels)).batch(16)


def trainee(make=build, **options):
    space = TaskSpace(Space(low=0.1, high=10.0, learning_rate=(1e-3, 1e-1)), {task.name: 1.0 for task in TASKS})
    aim = Custom(lambda scores: scores["zoo"]["mae"])
    trainer = TrialTrainer(lambda tasks, hp: make(hp, tasks, **options), TASKS, seed=3)
    return Trainee(trainer, space, aim, {one.name: one for one in TASKS}, [Split(data(), data())])


def drawn(**values):
    hp = keras_tuner.HyperParameters()
    hp.values = dict(values)
    return hp


@pytest.mark.long
def test_a_trial_by_the_model_of_the_one_before_gives_the_numbers_of_a_new_model():
    kept, expected = trainee(), trainee()
    first, second = drawn(weight_ant=0.3, learning_rate=0.05, width=8), drawn(weight_ant=4, learning_rate=0.01, width=8)
    model = kept.build(first)
    kept.fit(first, model, 2, 0, [])
    step = model.train_function
    again = kept.build(second)
    assert again is model
    assert again.loss_weights["ant"] == pytest.approx(1.6)
    found = kept.fit(second, again, 3, 0, [])
    assert again.train_function is step
    fresh = expected.fresh(second)
    assert found == expected.fit(second, fresh, 3, 0, [])
    for one, other in zip(again.training_state, fresh.training_state, strict=True):
        np.testing.assert_array_equal(one, other)


def test_another_form_is_another_model():
    kept = trainee()
    model = kept.build(drawn(width=8))
    assert kept.build(drawn(width=16)) is not model
    narrow = Reusable(build(None))
    wide = Reusable(build(None, width=9))
    assert not narrow.restart_as(wide)
    assert not narrow.restart_as(Reusable(build(None, rate=0.4)))
    assert narrow.restart_as(Reusable(build(None)))
    for other in ({"optimizer": "sgd"}, {"balancer": "equal"}, {"optimizer": "adam", "steps_per_execution": 2}):
        changed = build(None)
        changed.compile(**{"optimizer": keras.optimizers.Adam(0.02), "balancer": "famo", **other})
        assert not narrow.restart_as(Reusable(changed))


@pytest.mark.long
def test_a_closure_over_what_was_drawn_is_not_mixed_up():
    def own(hp, tasks=TASKS):
        margin = hp.Choice("margin", [0.0, 100.0])

        def far(labels, predictions):
            return keras.ops.mean(keras.ops.square(labels - predictions), axis=-1) + margin

        model = build(None, tasks)
        model.compile("adam", loss={"zoo": far})
        return model

    kept = trainee(own)
    losses = []
    for margin in (0.0, 100.0):
        hp = drawn(margin=margin)
        losses.append(kept.fit(hp, kept.build(hp), 1, 0, [])["zoo_loss"])
    # Its configuration names the function alone.
    assert form_of(own(drawn(margin=0.0))) == form_of(own(drawn(margin=100.0)))
    assert losses[1] == pytest.approx(losses[0] + 100)


def test_a_layer_that_cannot_tell_its_settings_is_never_reused():
    class Scaled(keras.layers.Layer):
        def __init__(self, factor):
            super().__init__()
            self.factor = factor

        def call(self, inputs):
            return inputs * self.factor[0]

    def own():
        row = keras.Input((6,), name="row")
        model = kmtl.MultiTaskModel.from_features(row, Scaled(np.ones(1))(keras.layers.Dense(4)(row)), TASKS)
        model.compile("adam")
        return model

    assert form_of(own()) is None
    assert not Reusable(own()).restart_as(Reusable(own()))


def test_a_state_goes_on_where_it_stood():
    """A halving's promotion, without files: train, put aside, train something else, take up again."""
    reusable = Reusable(build(None))
    model = reusable.model
    model.fit(data(), epochs=2, verbose=0)
    put_aside = reusable.state()
    whole = model.fit(data(), epochs=4, initial_epoch=2, verbose=0).history
    reusable.restore(reusable.fresh)
    model.fit(data(), epochs=1, verbose=0)
    reusable.restore(put_aside)
    assert model.fit(data(), epochs=4, initial_epoch=2, verbose=0).history == whole
