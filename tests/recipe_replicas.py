"""Trains every recipe on two devices, and prints what became of each as one line of JSON."""

import json
import sys

import numpy as np
import tensorflow as tf
from recipe_rows import RECIPES, build, train

import kmtl


def outcome(recipe, strategy):
    """Empty if it trained, else what it was refused with."""

    def replicated(tasks):
        with strategy.scope():
            return build(tasks, run_eagerly=False)

    try:
        # What validates and predicts on two devices is Keras's own, and each takes a trace.
        model = train(recipe, build=replicated, epochs=1, validation=None).model
    except (ValueError, NotImplementedError) as error:
        return str(error)
    assert model.distribute_strategy.num_replicas_in_sync == 2, "not on two devices"
    return "" if all(np.isfinite(value).all() for value in model.get_weights()) else "NaN"


def main():
    """Trains the recipes that are named, or every one."""
    strategy = tf.distribute.MirroredStrategy(kmtl.distribution.logical_devices(2))
    names = sys.argv[1:] or list(RECIPES)
    sys.stdout.write("\n" + json.dumps({name: outcome(RECIPES[name][0], strategy) for name in names}) + "\n")


if __name__ == "__main__":
    main()
