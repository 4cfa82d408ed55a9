"""One training for every preference on two replicas; a process of its own, since devices are made once."""

import json
import subprocess
import sys

import numpy as np
import pytest

PROGRAM = """
import json
import keras
import numpy as np
import tensorflow as tf
import kmtl

names = kmtl.distribution.logical_devices(2)
generator = np.random.default_rng(0)
rows = generator.normal(size=(256, 8)).astype("float32")
labels = {name: np.tanh(rows @ generator.normal(size=(8, 6))).astype("float32") for name in ("zoo", "ant")}
labels["ant"][generator.random(256) < 0.3] = np.nan
data = tf.data.Dataset.from_tensor_slices((rows, labels)).batch(32)

tasks = [kmtl.Regression(name, shape=(6,)) for name in labels]

def build(tasks):
    # Statistics of single examples; those of a batch would differ from a whole one's by each replica's own sums.
    row = keras.Input((8,), name="row")
    hidden = keras.layers.Activation("tanh")(keras.layers.LayerNormalization()(keras.layers.Dense(4)(row)))
    model = kmtl.MultiTaskModel.from_features(row, hidden, tasks)
    model.compile(keras.optimizers.SGD(0.3))
    return model

def found(kind):
    keras.utils.set_random_seed(1)
    with kmtl.distribution.strategy(kind).scope():
        front = kmtl.front.train(build, tasks, data, data, epochs=4, steps=2, verbose=0)
        plain = front.model((0.3, 0.7))
    given = {"row": rows, "preference": np.tile(np.float32([0.3, 0.7]), (256, 1))}
    return {
        "replicas": front.conditioned.distribute_strategy.num_replicas_in_sync,
        "values": front.values()[0].tolist(),
        "plain": plain(rows, training=False)["ant"].numpy().tolist(),
        "conditioned": front.conditioned(given, training=False)["ant"].numpy().tolist(),
    }

print(json.dumps([found(None), found("mirrored")]))
"""


@pytest.mark.long
def test_two_replicas_give_the_front_of_one():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    one, two = json.loads(done.stdout.splitlines()[-1])
    assert (one["replicas"], two["replicas"]) == (1, 2)
    np.testing.assert_allclose(two["values"], one["values"], rtol=1e-5)
    # Else equal numbers would say nothing of the preferences: a hundred times the tolerance and more.
    assert (np.ptp(one["values"], axis=0) > 0.003).all()
    for found in (one, two):
        np.testing.assert_allclose(found["plain"], found["conditioned"], atol=1e-5)
    np.testing.assert_allclose(two["plain"], one["plain"], atol=1e-4)
