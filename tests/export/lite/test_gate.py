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


@pytest.fixture
def export(model, tmp_path):
    """Exports in float16, measured on some labels."""

    def to_file(labels, **options):
        return kmtl.export.litert(
            model, tmp_path / "m.tflite", quantize="float16", validation=(ROWS, labels), **options
        )

    return to_file


def test_one_percent_is_allowed_by_default(export, labels):
    assert export(labels(0.9)).exists()
    with pytest.raises(ValueError, match=r"`tolerance` of 0.01 must hold for task 'age', got mae .* 1.1 % worse"):
        export(labels(1.1))


def test_a_tolerance_is_kept_to_a_hair(export, labels):
    assert export(labels(1.96), tolerance=0.02).exists()
    with pytest.raises(ValueError, match=r"`tolerance` of 0.02 must hold for task 'age', got mae .* 2.04 % worse"):
        export(labels(2.04), tolerance=0.02)


def test_labels_that_a_task_cannot_have_are_refused_before_anything_is_converted(tmp_path):
    row = keras.Input((8,), name="row")
    tasks = [kmtl.Classification("kind", 3), kmtl.BinaryClassification("big")]
    made = kmtl.MultiTaskModel.from_features(row, row, tasks)
    outside = {"kind": np.full(60, 7), "big": np.full(60, 2)}
    # Model and file are equally wrong on them: without a look the gate would pass.
    for labels in (outside, {**outside, "kind": np.arange(60) % 3}):
        with pytest.raises(
            ValueError, match=r"`y\['big'\]` must lie in 0\.\.1, or be -1 where missing, got 2\.\.2"
        ) as caught:
            kmtl.export.litert(made, tmp_path / "m.tflite", validation=(ROWS, labels))
        assert ("y['kind']` must lie in 0..2" in str(caught.value)) == (labels is outside)
    assert list(tmp_path.iterdir()) == []
