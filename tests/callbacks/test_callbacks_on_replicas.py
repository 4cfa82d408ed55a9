"""Callbacks that predict, on two replicas; a process of its own, since devices are made once."""

import json
import subprocess
import sys

import pytest

PROGRAM = """
import json
import sys
import keras
import numpy as np
import tensorflow as tf
import kmtl

names = kmtl.distribution.logical_devices(2)
generator = np.random.default_rng(0)
rows = generator.normal(size=(30, 4)).astype("float32")
labels = {"kind": generator.integers(-1, 3, 30), "size": rows[:, 0]}
data = tf.data.Dataset.from_tensor_slices((rows, labels)).batch(8)

def found(kind):
    keras.utils.set_random_seed(1)
    with kmtl.distribution.strategy(kind).scope():
        row = keras.Input((4,), name="row")
        model = kmtl.MultiTaskModel.from_features(row, row, [kmtl.Classification("kind", 3), kmtl.Regression("size")])
        model.compile(keras.optimizers.SGD(0.1))
    reports = kmtl.callbacks.ClassificationReports(data, verbose=False)
    board = kmtl.callbacks.TensorBoard(f"{sys.argv[1]}/{kind}", data=data, histogram_freq=1)
    model.fit(data, epochs=1, verbose=0, callbacks=[reports, board])
    return reports.reports[0]["kind"].values

tf.config.run_functions_eagerly(True)
one = found(None)
tf.config.run_functions_eagerly(False)
print(json.dumps([one, found("mirrored")]))
"""


@pytest.mark.long
def test_two_replicas_report_the_rows_of_one(tmp_path):
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    one, two = json.loads(done.stdout.splitlines()[-1])
    assert two["macro avg"] == pytest.approx(one["macro avg"])
    assert two["macro avg"]["support"] < 30
    for kind in ("None", "mirrored"):
        assert {path.name for path in (tmp_path / kind).iterdir()} == {"train", "validation"}
