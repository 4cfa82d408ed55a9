"""Trainings that are ended by Ctrl-C, once a line of the input: `python ctrl_c.py plain averages`.

Tells `begun` and each `step`; after every interruption it looks at what is left, and tells `whole` and the step.
"""

import signal
import sys
import tempfile
from pathlib import Path

import keras
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from faults.interrupting import BATCH, STEPS, X, Y, model

from kmtl.callbacks import BackupAndRestore

OPTIONS = {"batch_size": BATCH, "verbose": 0, "shuffle": False}


class Told(keras.callbacks.Callback):
    """Tells every batch."""

    def on_train_batch_end(self, batch, logs=None):
        print("step", int(self.model.optimizer.iterations), flush=True)


class StopAt(keras.callbacks.Callback):
    """Stops after so many steps."""

    def __init__(self, steps):
        super().__init__()
        self.steps = steps

    def on_train_batch_end(self, batch, logs=None):
        self.model.stop_training = self.model.optimizer.iterations == self.steps


def made(averages):
    return model(keras.optimizers.Adam(0.01, use_ema=averages), balancer="famo")


def interrupted(averages):
    """A model whose training was ended."""
    one = made(averages)
    print("begun", flush=True)
    try:
        one.fit(X, Y, epochs=10**6, callbacks=[Told()], **OPTIONS)
    except KeyboardInterrupt:
        return one
    raise AssertionError("it ended by itself")


def of_steps(steps, averages):
    """A model that was trained for so many steps; the averages, which come at the end of a training, left aside."""
    other = made(averages)
    if steps:
        last = {}
        keep = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: last.update(now=values(other)))
        other.fit(X, Y, epochs=10**6, callbacks=[StopAt(steps), keep], **OPTIONS)
        return last["now"]
    other.adapt(X, Y)
    return values(other)


def values(one):
    return [held.numpy() for held in [*one.variables, *one.optimizer.variables, *one.balancer.variables]]


def assert_same(left, right):
    for place, (one, other) in enumerate(zip(left, right, strict=True)):
        np.testing.assert_array_equal(one, other, err_msg=str(place))


def look(one, averages):
    """The model stands between two steps; it can be saved, loaded, and goes on as the loaded one does."""
    steps = int(one.optimizer.iterations)
    assert_same(values(one), of_steps(steps, averages))
    with tempfile.TemporaryDirectory() as folder:
        one.save(Path(folder, "model.keras"))
        loaded = keras.saving.load_model(Path(folder, "model.keras"))
    assert_same(values(loaded), values(one))
    for each in (one, loaded):
        each.fit(X, Y, epochs=1, **OPTIONS)
    assert one.optimizer.iterations == steps + STEPS
    assert_same(values(loaded), values(one))
    print("whole", steps, flush=True)


def backed_up():
    """A training with a backup after every step goes on where it was, with the same objects."""
    options = {**OPTIONS, "epochs": 20}
    whole, one = made(False), made(False)
    whole.fit(X, Y, **options)
    with tempfile.TemporaryDirectory() as folder:
        callbacks = [Told(), BackupAndRestore(folder, save_freq=1)]
        print("begun", flush=True)
        try:
            one.fit(X, Y, callbacks=callbacks, **options)
        except KeyboardInterrupt:
            steps = int(one.optimizer.iterations)
            assert steps < 20 * STEPS
            one.fit(X, Y, callbacks=callbacks[1:], **options)
    assert_same(values(whole), values(one))
    print("whole", steps, flush=True)


def main(*kinds):
    for kind in kinds:
        if kind == "backed up":
            backed_up()
        else:
            look(interrupted(kind == "averages"), kind == "averages")


if __name__ == "__main__":
    # A shell starts what runs in the background with this signal ignored, and children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    main(*sys.argv[1:])
