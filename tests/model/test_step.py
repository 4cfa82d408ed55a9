"""A step that a form of training replaces: other losses, fewer variables, a wrapper."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from toys import assert_same_weights, build, examples

import kmtl
from kmtl.model.step import Step

X, Y = examples(24, hidden=0.2)


def make(optimizer="sgd", **options):
    model = build()
    model.compile(optimizer, run_eagerly=True, **options)
    model.adapt(X, Y)
    return model


class Shrinking(Step):
    """Pulls one output towards 0."""

    extra_names = ("size",)

    def extra_losses(self, batch, outputs):
        del batch
        return {"size": tf.reduce_mean(tf.square(outputs["alive"]))}


class HeadsOnly(Step):
    """Moves the heads and nothing else."""

    @property
    def variables(self):
        return [variable for name in self.names for variable in self.model.task_variables(name)]


class OneHead(Step):
    """Moves all but one head."""

    @property
    def variables(self):
        left_out = {id(variable) for variable in self.model.task_variables("age")}
        return [variable for variable in self.model.trainable_variables if id(variable) not in left_out]


@pytest.mark.parametrize("balancer", ["equal", "upgrad", "uncertainty"])
def test_extra_losses_are_logged_by_name_and_never_balanced(balancer):
    plain, model = make(balancer=balancer), make(balancer=balancer)
    model.step = Shrinking(model, model.setup)
    size = float(np.mean(np.square(model.predict(X, verbose=0)["alive"])))
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(model(X, training=True)["alive"]))
    slopes = tape.gradient(loss, [variable.value for variable in model.trainable_variables])
    logs = [one.train_on_batch(X, Y, return_dict=True) for one in (plain, model)]
    assert logs[1]["size"] == pytest.approx(size, rel=1e-5)
    assert logs[1]["loss"] == pytest.approx(logs[0]["loss"] + size, rel=1e-5)
    for name in model.tasks:
        assert logs[1][f"{name}_weight"] == pytest.approx(logs[0][f"{name}_weight"], rel=1e-6)
    for one, other, slope in zip(plain.trainable_variables, model.trainable_variables, slopes, strict=True):
        expected = one.numpy() - (0.01 * slope.numpy() if slope is not None else 0.0)
        np.testing.assert_allclose(other.numpy(), expected, rtol=1e-4, atol=1e-6)
    assert "size" not in model.evaluate(X, Y, verbose=0, return_dict=True)
    assert "size" not in model.metrics_names


@pytest.mark.parametrize("balancer", ["equal", "upgrad"])
@pytest.mark.parametrize("kind", [HeadsOnly, OneHead])
def test_variables_that_are_left_out_stand_still_with_their_state(balancer, kind):
    model = make(keras.optimizers.Adam(0.01, weight_decay=0.1), balancer=balancer)
    model.train_on_batch(X, Y)
    plain = model.step
    model.step = kind(model, model.setup)
    moving = {id(variable) for variable in model.step.variables}
    assert 0 < len(moving) < len(model.trainable_variables)
    before = [variable.numpy() for variable in model.trainable_variables]
    slots = {slot.path: slot.numpy() for slot in model.optimizer.variables}
    model.train_on_batch(X, Y)
    for old, variable in zip(before, model.trainable_variables, strict=True):
        assert np.any(old != variable.numpy()) == (id(variable) in moving), variable.path
        name = variable.path.replace("/", "_")
        held = [slot for slot in model.optimizer.variables if name in slot.path]
        assert len(held) == 2
        for slot in held:
            assert np.any(slots[slot.path] != slot.numpy()) == (id(variable) in moving), slot.path
    model.step = plain
    model.train_on_batch(X, Y)
    assert all(np.any(old != new.numpy()) for old, new in zip(before, model.trainable_variables, strict=True))


def test_a_step_may_wrap_another_and_a_new_compile_takes_it_away():
    class Twice(Step):
        def __call__(self, batch):
            super().__call__(batch)
            super().__call__(batch)

    plain, model = make(), make()
    model.step = Twice(model, model.setup)
    plain.train_on_batch(X, Y)
    plain.train_on_batch(X, Y)
    model.train_on_batch(X, Y)
    assert_same_weights(plain, model)
    model.compile("sgd")
    assert type(model.step) is Step


def test_a_replaced_step_is_traced_anew():
    model = build()
    model.compile("sgd")
    model.fit(X, Y, epochs=1, verbose=0)
    model.step = Shrinking(model, model.setup)
    history = model.fit(X, Y, epochs=1, verbose=0)
    assert history.history["size"][0] > 0


def test_methods_that_nothing_would_call_are_refused():
    class Own(kmtl.MultiTaskModel):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            return x, y, y_pred, sample_weight, training

        def compute_metrics(self, x, y, y_pred, sample_weight=None):
            return x, y, y_pred, sample_weight

    given = build()
    model = Own(given.input, given.output, tasks=list(given.tasks.values()))
    with pytest.raises(
        ValueError, match=r"`compute_loss` must not be overridden.*\n.*`compute_metrics` must not"
    ) as error:
        model.compile("sgd")
    assert "add_loss" in str(error.value)


def test_compute_loss_is_the_weighted_sum_without_a_balancer():
    model = make(loss_weights={"age": 0.5}, balancer="uncertainty")
    logs = model.evaluate(X, Y, verbose=0, return_dict=True)
    labels = {name: tf.constant(value) for name, value in Y.items()}
    assert float(model.compute_loss(X, labels, model(X))) == pytest.approx(logs["loss"], rel=1e-5)
