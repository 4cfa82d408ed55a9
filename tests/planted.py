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


def data():
    """Eight batches that are all alike."""
    count = 32
    labels = {"far": np.full(count, ROOT, "float32"), "near": np.zeros(count, "float32")}
    return tf.data.Dataset.from_tensor_slices((np.ones((count, 1), "float32"), labels)).batch(4)


def search(folder, **options):
    """The search, in a folder."""
    settings = {"objective": DeltaM(BASELINES), "epochs": 10, "verbose": 0, **options}
    return weights(build, TASKS, data(), data(), directory=pathlib.Path(folder) / "planted", **settings)


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


def main(who, folder, address, trials, marker="", trainings="0", tuner="random"):
    """One process of a search: the chief, a worker, or alone. It gets stuck after some trainings if it has a marker."""
    done = itertools.count()
    stuck = (lambda: [Stuck(marker)] if next(done) >= int(trainings) else []) if marker else None
    roles = {"chief": lambda: as_chief(address, patience=4.0, wait=60.0), "alone": nullcontext}
    with roles.get(who, lambda: as_worker(address, who, wait=60.0))():
        print(search(folder, max_trials=int(trials), callbacks=stuck, tuner=tuner))


if __name__ == "__main__":
    main(*sys.argv[1:])
