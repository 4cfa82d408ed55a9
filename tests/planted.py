"""A search whose answer is known, as a module and as a script for many processes.

One number `place` is pulled to 0 by the task "near" and to 1 by "far", on scales 1 : 1000:

    near = place^2,    far = 1000 (1 - place)^2

Against baselines 2 and 1000 the mean relative change is least where place / 2 = 1 - place, at 2/3. A weighted sum is
least where w_near place = 1000 w_far (1 - place), and the losses begin at 1/4 and 250, so the ratio to find is 2.
"""

import itertools
import os
import pathlib
import sys
import time
from contextlib import nullcontext

import keras
import numpy as np
import tensorflow as tf

import kmtl
from kmtl.search.objectives import DeltaM
from kmtl.search.roles import as_chief, as_worker
from kmtl.search.weights import weights

ROOT = 1000**0.5
PLACE, RATIO = 2 / 3, 2.0
TASKS = [
    kmtl.Regression("near", metrics=["mse"], standardize=False),
    kmtl.Regression("far", metrics=["mse"], standardize=False),
]
BASELINES = {"far": {"mse": 1000.0}, "near": {"mse": 2.0}}


def build(tasks):
    """One weight, which both outputs show."""
    one = keras.Input((1,), name="one")
    half = keras.initializers.Constant(0.5)
    place = keras.layers.Dense(1, use_bias=False, kernel_initializer=half, name="place")(one)
    ends = {"near": keras.layers.Identity(name="near"), "far": keras.layers.Rescaling(ROOT, name="far")}
    model = kmtl.MultiTaskModel(one, {task.name: ends[task.name](place) for task in tasks}, tasks=tasks)
    model.compile(keras.optimizers.Adam(0.04))
    return model


def data(batches=8):
    """Batches that are all alike."""
    count = 4 * batches
    labels = {"far": np.full(count, ROOT, "float32"), "near": np.zeros(count, "float32")}
    return tf.data.Dataset.from_tensor_slices((np.ones((count, 1), "float32"), labels)).batch(4)


def search(folder, batches=1, **options):
    """The search, in a folder; with fewer batches than eight it does not get to the place that is to be found."""
    settings = {"objective": DeltaM(BASELINES), "epochs": 3, "verbose": 0, **options}
    given = data(batches), data(batches)
    return weights(build, TASKS, *given, directory=pathlib.Path(folder) / "planted", **settings)


class Stuck(keras.callbacks.Callback):
    """Tells that a trial has begun, and never ends it."""

    def __init__(self, marker):
        super().__init__()
        self.marker = pathlib.Path(marker)

    def on_epoch_begin(self, epoch, logs=None):
        """Says so at the second epoch."""
        del logs
        if epoch == 1:
            self.marker.write_text(str(os.getpid()))
            time.sleep(600)


class After(keras.callbacks.Callback):
    """Trains only when another worker has told that it is stuck."""

    def __init__(self, marker):
        super().__init__()
        self.marker = pathlib.Path(marker)

    def on_train_begin(self, logs=None):
        """Waits for the marker."""
        del logs
        while not self.marker.exists():
            time.sleep(0.05)


def main(who, folder, address, trials, marker="", trainings="0", tuner="random"):
    """One process of a search: the chief, a worker, or alone.

    With a marker it gets stuck after so many trainings; with trainings "after" it waits for another that is stuck.
    """
    tf.config.run_functions_eagerly(True)  # of a few steps a trace takes longer than the steps
    done = itertools.count()

    def callbacks():
        if trainings == "after":
            return [After(marker)]
        return [Stuck(marker)] if marker and next(done) >= int(trainings) else []

    epochs = {"epochs": 9} if tuner == "halving" else {}
    roles = {"chief": lambda: as_chief(address, patience=4.0, wait=60.0), "alone": nullcontext}
    with roles.get(who, lambda: as_worker(address, who, wait=60.0))():
        print(search(folder, max_trials=int(trials), callbacks=callbacks, tuner=tuner, **epochs))


if __name__ == "__main__":
    main(*sys.argv[1:])
