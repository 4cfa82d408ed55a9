"""The quality gate of LiteRT, with damage just above and just below what it allows."""

import keras
import numpy as np
import pytest

import kmtl
import kmtl.export
from kmtl.export.lite import running

ROWS = np.random.default_rng(3).normal(size=(60, 8)).astype("float32")


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(5)
    row = keras.Input((8,), name="row")
    made = kmtl.MultiTaskModel.from_features(row, row, [kmtl.Regression("age", standardize=False)])
    made.compile("sgd")
    return made


@pytest.fixture(scope="module")
def labels(model, tmp_path_factory):
    """Makes labels under which float16 worsens the mean absolute error by so many percent.

    They lie on the far side of the Keras output from what float16 made of it, at the same distance in every row.
    """
    path = kmtl.export.litert(model, tmp_path_factory.mktemp("lite") / "m.tflite", quantize="float16")
    before = np.asarray(model(ROWS)["age"])[:, 0]
    moved = running.runner(path.read_bytes())({"row": ROWS})["age"]["age"][:, 0] - before
    assert 0 < np.abs(moved).mean() < 1e-2

    def worse(percent):
        return {"age": before - np.sign(moved) * np.abs(moved).mean() * 100 / percent}

    return worse


def written(model, path, labels, **options):
    """Whether the file passes the gate."""
    try:
        kmtl.export.litert(model, path, quantize="float16", validation=(ROWS, labels), **options)
    except ValueError as error:
        assert "`tolerance` of " in str(error)
        assert "task 'age', got mae" in str(error)
    return path.exists()


def test_one_percent_is_allowed_by_default(model, labels, tmp_path):
    assert written(model, tmp_path / "better.tflite", labels(0.9))
    assert not written(model, tmp_path / "worse.tflite", labels(1.1))


def test_a_tolerance_is_kept_to_a_hair(model, labels, tmp_path):
    assert written(model, tmp_path / "within.tflite", labels(1.96), tolerance=0.02)
    assert not written(model, tmp_path / "beyond.tflite", labels(2.04), tolerance=0.02)
