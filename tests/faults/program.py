"""A training as a user writes it, to be killed and started again: `python program.py VARIANT FOLDER`.

It tells on its output where it is, and writes at its end `FOLDER/result-0.npz`: all variables and the history.
"""

import json
import os
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

sys.path.insert(0, str(Path(__file__).parents[1]))
import states

import kmtl
from kmtl.callbacks import BackupAndRestore, LossWeightScheduler

EPOCHS, STEPS, BATCH, ROWS, SIDE = 5, 9, 4, 36, 8


class Told(keras.callbacks.Callback):
    """Tells every batch on the output."""

    def on_train_batch_end(self, batch, logs=None):
        print(f"step {self._epoch * STEPS + min(batch + 1, STEPS)}", flush=True)

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch


def tasks():
    return [kmtl.Classification("kind", classes=3), kmtl.Regression("size", unit="mm")]


def table(rows=ROWS, seed=0):
    """Pictures and their labels."""
    random = np.random.default_rng(seed)
    x = random.random((rows, SIDE, SIDE, 1)).astype("float32")
    return x, {"kind": (3 * x[:, 0, 0, 0]).astype("int32"), "size": 10 * x.mean((1, 2, 3)) + x[:, 1, 1, 0]}


def arrays(**options):
    return kmtl.data.from_arrays(*table(), tasks(), **{"batch_size": BATCH, "shuffle": True, "seed": 5, **options})


def mixed():
    """Two sets with different labels, one of them bigger."""
    x, labels = table(60, seed=1)
    kinds = kmtl.data.from_arrays(x, {"kind": labels["kind"]}, tasks()[:1], batch_size=None, shuffle=True, seed=2)
    x, labels = table(25, seed=2)
    sizes = tf.data.Dataset.from_tensor_slices((x, labels["size"].astype("float32")))
    return kmtl.data.mix({"kind": kinds, "size": sizes}, tasks=tasks(), batch_size=BATCH, seed=3, shuffle=7)


def model(optimizer=None, policy=None, **compiled):
    """A small network with dropout."""
    keras.utils.set_random_seed(4)
    if policy:
        keras.config.set_dtype_policy(policy)
    image = keras.Input((SIDE, SIDE, 1), name="image")
    features = keras.layers.Flatten()(keras.layers.Conv2D(4, 3, activation="relu")(image))
    features = keras.layers.Dropout(0.3)(keras.layers.Dense(12, activation="relu")(features))
    made = kmtl.MultiTaskModel.from_features(image, features, tasks())
    made.compile(optimizer or keras.optimizers.Adam(0.01), balancer="famo", **compiled)
    return made


def schedule():
    """Moves the loss weights by what they were."""
    return LossWeightScheduler(lambda epoch, weights: {"size": 0.8 * weights["size"]})


def decay():
    return keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.02, EPOCHS * STEPS))


def plateau():
    return keras.callbacks.ReduceLROnPlateau("loss", factor=0.5, patience=1, min_delta=0.05)


VARIANTS = {}


def variant(train):
    """Enters a training: from options and callbacks that all have to a model and its history."""
    VARIANTS[train.__name__] = train
    return train


@variant
def mix(callbacks, made=None, **options):
    made = made or model()
    return made, made.fit(mixed(), steps_per_epoch=STEPS, callbacks=[schedule(), plateau(), *callbacks], **options)


@variant
def in_memory(callbacks, made=None, **options):
    made = made or model(decay())
    return made, made.fit(*table(), batch_size=BATCH, callbacks=[schedule(), *callbacks], **options)


@variant
def dataset(callbacks, made=None, **options):
    made = made or model(decay())
    return made, made.fit(arrays(), callbacks=[schedule(), *callbacks], **options)


@variant
def stopped_early(callbacks, **options):
    made = model()
    stop = keras.callbacks.EarlyStopping("val_kind_loss", patience=2, min_delta=0.01, restore_best_weights=True)
    return made, made.fit(arrays(), validation_data=table(20, seed=9), callbacks=[stop, *callbacks], **options)


@variant
def mixed_float16(callbacks, **options):
    return in_memory(callbacks, model(policy="mixed_float16"), **options)


@variant
def executions(callbacks, **options):
    return in_memory(callbacks, model(steps_per_execution=2), **options)


@variant
def devices(callbacks, **options):
    with kmtl.distribution.strategy("mirrored", devices=kmtl.distribution.logical_devices(2)).scope():
        made = model()
    return dataset([plateau(), *callbacks], made, **options)


@variant
def workers(callbacks, **options):
    strategy = kmtl.distribution.strategy("multi_worker", timeout=60, health_check=6)
    print("joined", flush=True)
    with strategy.scope():
        made = model()
    return mix(callbacks, made, **options)


def main(name, folder):
    """Trains, and writes the result."""
    print("begun", flush=True)
    backup = BackupAndRestore(Path(folder, "backups"), save_freq=4)
    made, history = VARIANTS[name]([Told(), backup], epochs=EPOCHS, verbose=0)
    found = states.values(made)
    found |= {f"history {key}": np.array(numbers) for key, numbers in history.history.items()}
    # Every worker knows the same.
    rank = json.loads(os.environ.get("TF_CONFIG", "{}")).get("task", {}).get("index", 0)
    np.savez(Path(folder, f"result-{rank}.npz"), **found)
    print("done", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
