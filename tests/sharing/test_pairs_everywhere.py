"""Heads over pairs and joint labels in mixed precision, on two devices, and in files: one model of all of them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from sharing.pairs_model import ROWS, build, examples

import kmtl

pytestmark = pytest.mark.long


def test_two_devices_give_the_weights_of_one_and_relate_the_rows_of_each():
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    code = [sys.executable, str(Path(__file__).with_name("pairs_model.py"))]
    done = subprocess.run(code, capture_output=True, text=True, timeout=300, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.strip().splitlines()[-1])
    assert found["gap"] < 1e-6
    x, y = examples()
    model = build(run_eagerly=True)
    sums, counts = [], []
    for half in (slice(None, ROWS // 2), slice(ROWS // 2, None)):
        part = [{name: rows[half] for name, rows in given.items()} for given in (x, y)]
        sums.append(model.test_on_batch(*part, return_dict=True)["goes_loss"])
        counts.append((part[1]["goes"][:, 0] >= 0).sum())
    assert found["goes_loss"] == pytest.approx(np.average(sums, weights=counts), rel=1e-4)


def test_they_train_in_mixed_precision_with_several_steps_an_execution_and_any_balancer():
    x, y = examples()
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = build(optimizer=keras.optimizers.SGD(0.1), steps_per_execution=2, balancer="uncertainty")
        before = [weight.numpy() for weight in model.trainable_weights]
        logs = model.fit(x, y, batch_size=4, epochs=2, verbose=0).history
        outputs = model.predict(x, verbose=0)
    finally:
        keras.config.set_dtype_policy(policy)
    assert {str(output.dtype) for output in outputs.values()} == {"float32"}
    assert np.isfinite([logs[f"{name}_loss"] for name in model.tasks]).all()
    assert min(np.abs(new.numpy() - old).max() for new, old in zip(model.trainable_weights, before, strict=True)) > 0


def test_every_file_gives_what_the_model_does_at_the_threshold_that_was_chosen(tmp_path):
    x, y = examples()
    model = build(run_eagerly=True)
    chosen = kmtl.evidence.calibrate(model, x, y, tasks=["same", "alike", "order"], thresholds="youden")
    assert [row.threshold != 0.5 for row in chosen.rows] == [True] * 3
    files = [kmtl.export.saved_model(model, tmp_path / "saved", decode=True), tmp_path / "pairs.tflite"]
    kmtl.export.litert(model, files[1])
    for file in files:
        found = kmtl.export.check(model, file, x, tolerance=1e-5)
        assert {row.decisions for row in found.rows if model.tasks[row.task].decides} == {1.0}
    told = json.loads((files[0] / "assets.extra" / "kmtl.json").read_text())["tasks"]
    assert told["alike"]["threshold"] == model.tasks["alike"].threshold
    model.save(tmp_path / "pairs.keras")
    again = keras.saving.load_model(tmp_path / "pairs.keras")
    assert again.tasks == model.tasks
    found = again(x)
    for name, output in model(x).items():
        np.testing.assert_allclose(found[name], output, rtol=1e-6, atol=1e-7)
