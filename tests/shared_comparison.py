"""A comparison that processes may share: `python shared_comparison.py FOLDER`; tells scores and counts trainings."""

import json
import sys
import time

import keras
from recipe_rows import TASKS, build, rows

from kmtl import training
from kmtl.evidence import compare

RECIPES = {"joint": training.Joint(), "longer": training.Joint(epochs=2.0)}
OPTIONS = {"epochs": 1, "recipes": RECIPES, "baseline": "joint", "seeds": 2, "batch_size": 8, "verbose": 0}


class Slow(keras.callbacks.Callback):
    """Leaves time for a kill, and counts trainings."""

    trainings = 0

    def on_train_begin(self, logs=None):
        del logs
        Slow.trainings += 1

    def on_train_batch_end(self, batch, logs=None):
        del batch, logs
        time.sleep(0.1)


def scores(found):
    return {name: [run.scores for run in runs] for name, runs in found.runs.items()}


def main():
    found = compare(build, TASKS, rows(), rows(seed=1), folder=sys.argv[1], callbacks=lambda: [Slow()], **OPTIONS)
    print(json.dumps({"scores": scores(found), "trainings": Slow.trainings}))


if __name__ == "__main__":
    main()
