"""Trainings that are interrupted within one process, and what must be the same when they go on."""

import keras
import numpy as np
import states

import kmtl
from kmtl.callbacks import BackupAndRestore

ROWS, STEPS, BATCH, EPOCHS = 40, 5, 8, 4
RANDOM = np.random.default_rng(0)
X = RANDOM.random((ROWS, 6)).astype("float32")
Y = {"width": X[:, 0] * 10, "kind": (X[:, 1] * 3).astype("int32")}


class Interrupted(BaseException):
    """What no `except Exception` catches, as Ctrl-C and a kill."""


class Interrupt(keras.callbacks.Callback):
    """Ends a training before a batch `(epoch, batch)`, at the end of an epoch `(epoch, "end")` or at its `"end"`."""

    def __init__(self, moment):
        super().__init__()
        self.moment = moment

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        if (self.epoch, batch) == self.moment:
            raise Interrupted

    def on_epoch_end(self, epoch, logs=None):
        if (epoch, "end") == self.moment:
            raise Interrupted

    def on_train_end(self, logs=None):
        if self.moment == "end":
            raise Interrupted


def tasks():
    return [kmtl.Regression("width"), kmtl.Classification("kind", 3)]


def network():
    """A small network with dropout, the same every time."""
    keras.utils.set_random_seed(1)
    given = keras.Input((6,), name="x")
    features = keras.layers.Dropout(0.3)(keras.layers.Dense(8, activation="relu")(given))
    return kmtl.MultiTaskModel.from_features(given, features, tasks())


def model(optimizer=None, **options):
    made = network()
    made.compile(optimizer or keras.optimizers.Adam(0.01), **options)
    return made


def train(folder, moment=None, *, made=None, data=None, callbacks=(), save_freq=3, **options):
    """Trains a fresh model, up to a moment if one is given; everything that must be the same in the end."""
    made = (made or model)()
    given = (X, Y) if data is None else data()
    listed = [*([Interrupt(moment)] if moment else []), *(make() for make in callbacks)]
    backup = BackupAndRestore(folder / "backups", save_freq=save_freq)
    options = {"epochs": EPOCHS, "verbose": 0, **({"batch_size": BATCH} if isinstance(given, tuple) else {}), **options}
    history = made.fit(*(given if isinstance(given, tuple) else (given,)), callbacks=[*listed, backup], **options)
    # Not by the list of variables that a backup is made of: what it left out would be missed here, too.
    found = states.values(made)
    found |= {f"history {key}": np.array(numbers) for key, numbers in history.history.items()}
    for place, callback in enumerate(listed[bool(moment) :]):
        found |= {f"callback {place} {key}": value for key, value in known(callback).items()}
    return {**found, "epochs": np.array(history.epoch)}


def known(callback):
    """What a callback has counted, as arrays."""
    # Keras turns `min_delta` around when it first looks at it.
    left_out = {"params", "_model", "filename", "filepath", "monitor_op", "min_delta"}
    plain = (bool, int, float, str, np.ndarray, np.generic, list, type(None))
    return {
        key: np.array(str(value))
        for key, value in vars(callback).items()
        if isinstance(value, plain) and key not in left_out
    }


def interrupted(folder, moments, **options):
    """Interrupts at moments, one after the other; tells how often that was possible."""
    happened = 0
    for moment in moments:
        try:
            train(folder, moment, **options)
        except Interrupted:
            happened += 1
    return happened


def assert_goes_on(tmp_path, moments=((1, 2), (2, 3)), **options):
    """A training that was interrupted ends as one that was not."""
    whole = train(tmp_path / "whole", **options)
    assert interrupted(tmp_path / "parts", moments, **options) == len(moments)
    parts = train(tmp_path / "parts", **options)
    assert different(whole, parts) == []
    return whole


def different(one, other):
    """Names of what is not the same to the last bit."""
    return [key for key in {**one, **other} if key not in one or key not in other or not _equal(one[key], other[key])]


def _equal(one, other):
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
