"""A backup gives a fresh model everything back that the old one held, and callbacks what they had counted."""

import json

import keras
import numpy as np
import pytest
import states
from faults.interrupting import Interrupt, Interrupted, X, Y, model, network

import kmtl
from kmtl.callbacks import BackupAndRestore
from kmtl.callbacks.states import CallbackStates

LEFT, RIGHT = X[:, :3], X[:, 3:]


def own_state():
    """An optimizer and a balancer with much state."""
    optimizer = keras.optimizers.Adam(0.01, use_ema=True, gradient_accumulation_steps=2)
    return model(optimizer, balancer="famo", run_eagerly=True), X


def two_forks():
    """Two trunks with a fork each: the balancer of one is a copy of the model's own."""
    keras.utils.set_random_seed(1)
    left, right = keras.Input((3,), name="left"), keras.Input((3,), name="right")
    forks = [kmtl.sharing.Fork(["width", "kind"])(keras.layers.Dense(4)(side)) for side in (left, right)]
    outputs = {
        "width": keras.layers.Dense(1)(keras.layers.Concatenate()([fork["width"] for fork in forks])),
        "kind": keras.layers.Dense(3, "softmax")(keras.layers.Concatenate()([fork["kind"] for fork in forks])),
    }
    tasks = [kmtl.Regression("width", standardize=False), kmtl.Classification("kind", 3)]
    made = kmtl.MultiTaskModel({"left": left, "right": right}, outputs, tasks=tasks)
    balancer = kmtl.balancers.Unit(level="features", smoothing=0.9)
    made.compile("adam", balancer=balancer, run_eagerly=True)
    return made, {"left": LEFT, "right": RIGHT}


def late_variables():
    """Metrics without variables before the first batch, random weights, watched conflicts, a head's own optimizer."""
    made = network()
    metrics = {"width": [keras.metrics.MeanAbsoluteError(name="mae"), keras.metrics.R2Score(name="r2")]}
    optimizer = {"shared": "adam", "kind": keras.optimizers.SGD(0.1, momentum=0.9)}
    made.compile(optimizer, balancer="rlw", metrics=metrics, track_conflicts=True, run_eagerly=True)
    return made, X


def joint_terms():
    """A balanced loss over two tasks, so a row of the balancer's state, another that is not, and a metric of both."""

    def apart(labels, outputs):
        del labels
        return keras.ops.square(outputs["width"][:, 0] / 10 - outputs["kind"][:, 0])

    both = ["width", "kind"]
    joint = {
        "joint_losses": [
            kmtl.JointLoss("near", apart, both, balanced=True),
            kmtl.JointLoss("apart", apart, both, needs_labels=False, weight=0.1),
        ],
        "joint_metrics": [kmtl.JointMetric("gap", apart, both)],
    }
    return model(balancer="famo", run_eagerly=True, **joint), X


@pytest.mark.parametrize("make", [own_state, two_forks, late_variables, joint_terms])
def test_a_fresh_model_gets_everything_back(tmp_path, make):
    options = {"batch_size": 10, "epochs": 2, "verbose": 0}
    trained, x = make()
    trained.set_loss_weights({"width": 0.25})
    with pytest.raises(Interrupted):
        trained.fit(x, Y, callbacks=[Interrupt((0, 3)), BackupAndRestore(tmp_path, save_freq=1)], **options)
    fresh, _ = make()
    start, expected = states.values(fresh), states.values(trained)
    assert sum(not np.array_equal(start[path], expected[path]) for path in start) > 20
    with pytest.raises(Interrupted):
        fresh.fit(x, Y, callbacks=[BackupAndRestore(tmp_path, save_freq=1), Interrupt((0, 3))], **options)
    states.assert_equal(expected, states.values(fresh))


def stopping():
    return keras.callbacks.EarlyStopping("loss", patience=3, mode="min")


def lowering():
    return keras.callbacks.ReduceLROnPlateau("loss", patience=3, factor=0.5, mode="min")


def run(callback, losses, first=0):
    """Tells a callback of epochs; the model that it acts on."""
    for epoch, loss in enumerate(losses, start=first):
        callback.on_epoch_end(epoch, {"loss": loss})


@pytest.mark.parametrize("make", [stopping, lowering])
def test_patience_goes_on_where_it_was(tmp_path, make):
    acted = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    acted.compile(keras.optimizers.SGD(1.0))
    old, new = make(), make()
    for callback in (old, new):
        callback.set_model(acted)
    states_of_old = CallbackStates([old])
    states_of_old.begin()
    old.on_train_begin()
    run(old, [1.0, 2.0, 2.0])
    kept = json.loads(json.dumps(states_of_old.save(tmp_path)))
    new.on_train_begin()
    assert new.wait == 0
    CallbackStates([new]).load(tmp_path, kept)
    assert (new.wait, float(new.best)) == (2, 1.0)
    run(new, [2.0], first=3)
    assert acted.stop_training == (make is stopping)
    assert float(acted.optimizer.learning_rate) == (1.0 if make is stopping else 0.5)
