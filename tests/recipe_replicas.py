"""Trains every recipe on two devices, and prints what became of each as one line of JSON."""

import json
import sys

import numpy as np
import tensorflow as tf
from recipe_rows import RECIPES, build, rows, train

import kmtl


def outcome(recipe):
    """Empty if it trained, else what it was refused with."""

    def replicated(tasks):
        with strategy.scope():
            return build(tasks, run_eagerly=False)

    try:
        model = train(recipe, build=replicated).model
    except (ValueError, NotImplementedError) as error:
        return str(error)
    assert model.distribute_strategy.num_replicas_in_sync == 2, "not on two devices"
    return (
        "" if all(np.isfinite(value).all() for value in model.predict(rows(seed=1)[0], verbose=0).values()) else "NaN"
    )


strategy = tf.distribute.MirroredStrategy(kmtl.distribution.logical_devices(2))
sys.stdout.write("\n" + json.dumps({name: outcome(recipe) for name, (recipe, _) in RECIPES.items()}) + "\n")
