"""Outputs without a unit are not exported: the labels' mean and scale have to be known, and a file keeps that."""

import keras
import numpy as np
import pytest

import kmtl

X = np.random.default_rng(0).normal(size=(12, 4)).astype("float32")
AGE, SPAN = 40 + 10 * X[:, 0], 3 * X[:, :2]
WAYS = {
    "saved_model": (kmtl.export.saved_model, "birds"),
    "litert": (kmtl.export.litert, "birds.tflite"),
    "onnx": (kmtl.export.onnx, "birds.onnx"),
}


@pytest.fixture
def model():
    """Two standardised tasks out of four."""
    row = keras.Input((4,), name="row")
    tasks = [
        kmtl.Regression("span", shape=(2,), unit="cm"),
        kmtl.Classification("bird", 3),
        kmtl.Regression("age", unit="years"),
        kmtl.Regression("mass", standardize=False),
    ]
    return kmtl.MultiTaskModel.from_features(row, row, tasks)


@pytest.mark.parametrize("way", WAYS)
def test_every_export_names_the_tasks_and_the_way_out(model, way, tmp_path):
    write, name = WAYS[way]
    rule = rf"^{way}: `model` must have learned the labels' mean and scale, got none for \['span', 'age'\]\. "
    with pytest.raises(ValueError, match=rf"{rule}Train it, call model\.adapt\(data\).*`standardize=False`\.$"):
        write(model, tmp_path / name)
    model.adapt(X, {"age": AGE})
    with pytest.raises(ValueError, match=r"got none for \['span'\]\. "):
        write(model, tmp_path / name, tasks=["age", "span", "mass"])
    assert list(tmp_path.iterdir()) == []


def test_a_file_keeps_that_scales_are_known_and_a_new_head_is_told_apart(model, tmp_path):
    model.adapt(X, {"age": AGE})
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    version = kmtl.export.saved_model(again, tmp_path / "served", tasks=["age", "bird", "mass"])
    assert list(kmtl.export.inspect(version).told["tasks"]) == ["bird", "age", "mass"]
    again.adapt(X, {"span": SPAN})
    with pytest.raises(ValueError, match=r"got none for \['wing'\]\. "):
        kmtl.export.saved_model(again.with_task(kmtl.Regression("wing")), tmp_path / "grown")
