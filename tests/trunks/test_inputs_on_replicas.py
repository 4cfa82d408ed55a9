"""A table and a sound on two replicas; a process of its own, since devices are made once."""

import json
import subprocess
import sys

import pytest

PROGRAM = """
import json
import keras
import numpy as np
import pandas as pd
import kmtl

kmtl.distribution.logical_devices(2)
random, rows = np.random.default_rng(0), 32
frame = pd.DataFrame({"age": random.normal(40.0, 9.0, rows), "job": random.choice(["cook", "smith", None], rows)})
frame.loc[::5, "age"] = np.nan
columns = kmtl.trunks.Columns.of(frame)
x = {"wave": random.uniform(-1, 1, (rows, 600)).astype("float32"), **columns.arrays(frame)}
doses = np.where(random.random(rows) < 0.4, np.nan, 1.0 + random.random(rows))
labels = {"sick": random.integers(-1, 2, rows), "dose": doses}


def found(kind, **options):
    keras.utils.set_random_seed(1)
    with kmtl.distribution.strategy(kind).scope():
        wave = keras.Input((600,), name="wave")
        inputs = {"wave": wave, **columns.inputs()}
        heard = kmtl.trunks.sound(wave, 4000, bands=8, widths=(4,), units=4, normalization="layer")
        read = kmtl.trunks.table(inputs, columns, widths=(4,), normalization="layer")
        features = keras.layers.Concatenate()([heard, read])
        tasks = [kmtl.BinaryClassification("sick"), kmtl.Regression("dose")]
        model = kmtl.MultiTaskModel.from_features(inputs, features, tasks)
        model.compile(keras.optimizers.SGD(0.1), balancer="pcgrad", **options)
    logs = model.fit(x, labels, batch_size=16, epochs=2, shuffle=False, verbose=0).history
    return model.get_weights(), logs["loss"], model.distribute_strategy.num_replicas_in_sync


one, loss, _ = found(None)
gaps = {}
for name, other in (("replicas", found("mirrored")), ("steps", found(None, steps_per_execution=2))):
    gaps[name] = max(float(np.abs(a - b).max()) for a, b in zip(one, other[0]))
    assert other[2] == (2 if name == "replicas" else 1)
keras.config.set_dtype_policy("mixed_float16")
mixed = found(None, run_eagerly=True)[1]
print(json.dumps({**gaps, "mixed": [value == value and value < 10 for value in mixed]}))
"""


@pytest.mark.long
def test_two_replicas_and_two_steps_at_once_are_one_device_and_half_precision_trains():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["replicas"] < 1e-5
    assert found["steps"] < 1e-6
    assert found["mixed"] == [True, True]
