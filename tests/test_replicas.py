"""Two replicas give the numbers of one: weights, losses, penalties, metrics.

A process of its own, because devices are made before TensorFlow starts.
"""

import json
import subprocess
import sys

import pytest

PROGRAM = """
import json, sys
import keras, numpy as np, tensorflow as tf
import kmtl

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
generator = np.random.default_rng(0)
rows = generator.normal(size=(20, 4)).astype("float32")
labels = {"zebra": generator.normal(size=20).astype("float32"), "ant": generator.integers(0, 3, 20)}
labels["zebra"][[1, 5, 6, 7]], labels["ant"][8:12] = np.nan, -1

def outcome():
    keras.utils.set_random_seed(1)
    given = keras.Input((4,))
    features = keras.layers.Dense(8, kernel_regularizer="l2", name="trunk")(given)
    model = kmtl.MultiTaskModel.from_features(
        given, features, [kmtl.Regression("zebra"), kmtl.Classification("ant", 3)]
    )
    model.compile(keras.optimizers.SGD(0.1), loss_weights={"ant": 0.5}, balancer=sys.argv[1])
    history = model.fit(rows, labels, batch_size=8, epochs=2, shuffle=False, verbose=0).history
    return {
        "history": {key: values[-1] for key, values in history.items()},
        "evaluation": model.evaluate(rows, labels, batch_size=8, verbose=0, return_dict=True),
        "weights": {v.path: v.numpy().ravel().tolist() for v in model.variables},
    }

one = outcome()
with strategy.scope():
    two = outcome()
print(json.dumps([one, two]))
"""


@pytest.mark.parametrize("balancer", ["pcgrad", "uncertainty"])
def test_two_replicas_give_the_numbers_of_one(balancer):
    done = subprocess.run([sys.executable, "-c", PROGRAM, balancer], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    one, two = json.loads(done.stdout.splitlines()[-1])
    for part, expected in one.items():
        assert list(two[part]) == list(expected)
        for key, value in expected.items():
            assert two[part][key] == pytest.approx(value, rel=1e-4, abs=1e-6), (part, key)
    assert one["history"]["regularization"] > 0
    parts = sum(one["history"][f"{task}_loss"] * one["history"][f"{task}_weight"] for task in ("zebra", "ant"))
    assert one["history"]["loss"] == pytest.approx(parts + one["history"]["regularization"], rel=1e-5)
