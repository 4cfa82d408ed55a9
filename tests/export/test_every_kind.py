"""Every kind of task in every artifact: one model of all rows of the table in tests/kinds.py, exported once a form."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from kinds import KINDS
from states import with_scales

import kmtl

pytestmark = pytest.mark.long
COUNT = 32
# The name of a task may not be that of features.
ROWS = {f"{name}_task": kind for name, kind in KINDS.items()}


@pytest.fixture(scope="module")
def model():
    """A trunk of maps of 4 x 4 and 2 x 2, and a vector; heads whose outputs differ between examples."""
    keras.utils.set_random_seed(4)
    image = keras.Input((8, 8, 1), name="image")
    fine = keras.layers.Conv2D(6, 3, strides=2, padding="same", activation="relu")(image)
    features = keras.layers.Conv2D(6, 3, strides=2, padding="same", activation="relu")(fine)
    vector = keras.layers.Dense(6, activation="tanh")(keras.layers.Flatten()(features))
    tasks = [kind.make(name) for name, kind in ROWS.items()]
    every = {"vector": vector, "map": [fine, features], "sequence": keras.layers.Reshape((4, -1))(features)}
    made = with_scales(kmtl.MultiTaskModel.from_features(image, every, tasks))
    for weight in made.trainable_weights:
        weight.assign(weight + 0.4 * keras.random.normal(weight.shape, seed=len(weight.shape)))
    return made


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).normal(size=(COUNT, 8, 8, 1)).astype("float32")


@pytest.fixture(scope="module")
def outputs(model, images):
    return model.predict(images, verbose=0)


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    return kmtl.export.saved_model(model, tmp_path_factory.mktemp("models") / "all", decode=True)


@pytest.fixture(scope="module")
def signatures(saved):
    return tf.saved_model.load(str(saved)).signatures


@pytest.fixture(scope="module")
def file(model, tmp_path_factory):
    return kmtl.export.litert(model, tmp_path_factory.mktemp("files") / "all.tflite")


@pytest.mark.parametrize("name", ROWS)
def test_a_saved_model_gives_and_reads_what_the_task_does(model, images, outputs, signatures, saved, name):
    task = model.tasks[name]
    raw = signatures[name](image=images)[name].numpy()
    np.testing.assert_allclose(raw, outputs[name], atol=1e-6)
    assert raw.shape == (COUNT, *task.output_shape)
    found = signatures[f"{name}.decoded"](image=images)
    assert sorted(found) == sorted(task.read_keys())
    for end, values in task.read(tf.constant(raw)).items():
        np.testing.assert_array_equal(found["_".join(filter(None, (name, end)))], values)
        assert found["_".join(filter(None, (name, end)))].dtype == values.dtype
    if task.decides:
        decided = found[f"{name}_label"].numpy()
        assert decided.shape == (COUNT, *task.label_shape)
        numbers = keras.ops.convert_to_numpy(task.decide(raw))
        named = numbers if task.label_names is None else np.array(task.label_names, "S")[numbers]
        np.testing.assert_array_equal(decided, named)
        assert len(np.unique(decided)) > 1
    elif name in found:
        assert found[name].shape == (COUNT, *task.label_shape)
    else:
        assert len(np.unique(found[f"{name}_count"])) > 1
    told = json.loads((saved / "assets.extra" / "kmtl.json").read_text())["tasks"][name]
    assert told == {
        "kind": task.kind,
        "shape": list(task.output_shape),
        "meaning": task.meaning,
        "label_names": None if task.label_names is None else list(task.label_names),
        "unit": "",
        "threshold": task.threshold,
    }


def test_a_fresh_process_agrees_on_every_kind(model, images, saved):
    found = kmtl.export.check(model, saved, images, tolerance=1e-6)
    assert [row.task for row in found.rows] == list(ROWS)
    agreed = {row.task: row.decisions for row in found.rows}
    assert agreed == {name: 1.0 if task.decides else None for name, task in model.tasks.items()}


def test_quality_has_every_kinds_own_metrics(model, images, file):
    generator = np.random.default_rng(1)
    labels = {name: kind.draw(generator, COUNT) for name, kind in ROWS.items()}
    labels["segmentation_task"][0] = -1
    found = kmtl.export.quality(model, file, images, labels)
    metrics = {(row.task, row.metric): row for row in found.rows}
    for name, task in model.tasks.items():
        for metric in task.metric_names():
            row = metrics[name, metric]
            assert row.after == pytest.approx(row.before, rel=1e-4)
            assert row.change == pytest.approx(0.0, abs=0.01)
    decided = outputs_decided(model, images, "segmentation_task")[1:]
    share = np.mean(decided == labels["segmentation_task"][1:])
    assert metrics["segmentation_task", "accuracy"].before == pytest.approx(share, rel=1e-5)
    bare = kmtl.export.quality(model, file, images)
    kinds = {row.task: row.metric for row in bare.rows}
    expected = {True: "agreement_with_keras", False: "r2_against_keras"}
    assert kinds == {name: expected[task.decides] for name, task in model.tasks.items()}
    assert {row.task: row.after for row in bare.rows} == pytest.approx(dict.fromkeys(ROWS, 1.0), abs=1e-6)


def outputs_decided(model, images, name):
    """What a task decides on the model's outputs."""
    return keras.ops.convert_to_numpy(model.tasks[name].decide(model.predict(images, verbose=0)[name]))


def test_onnx_has_every_kind(model, images, outputs, tmp_path):
    pytest.importorskip("tf2onnx")
    runtime = pytest.importorskip("onnxruntime")
    path = kmtl.export.onnx(model, tmp_path / "all.onnx")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = dict(zip((one.name for one in session.get_outputs()), session.run(None, {"image": images}), strict=True))
    for name in ROWS:
        np.testing.assert_allclose(found[name], outputs[name], atol=1e-5 * max(1.0, np.abs(outputs[name]).max()))


def test_maps_of_any_size_are_exported(tmp_path):
    """Height and width stay open in both forms, and every size gives the map that Keras gives."""
    keras.utils.set_random_seed(5)
    image = keras.Input((None, None, 1), name="image")
    features = keras.layers.Conv2D(4, 3, strides=2, padding="same", activation="relu")(image)
    coarse = keras.layers.Conv2D(4, 3, strides=2, padding="same", activation="relu")(features)
    task = kmtl.Segmentation("mask", classes=3, upsampling=2, decoder=4)
    model = kmtl.MultiTaskModel.from_features(image, [features, coarse], [task])
    saved = tf.saved_model.load(str(kmtl.export.saved_model(model, tmp_path / "any", decode=True)))
    file = kmtl.export.litert(model, tmp_path / "any.tflite")
    assert kmtl.export.inspect(file).told["tasks"]["mask"]["shape"] == [None, None, 3]
    for height, width in ((6, 10), (8, 4)):
        given = np.random.default_rng(height).normal(size=(2, height, width, 1)).astype("float32")
        expected = model.predict(given, verbose=0)["mask"]
        assert expected.shape == (2, height, width, 3)
        np.testing.assert_allclose(saved.signatures["mask"](image=given)["mask"], expected, atol=1e-6)
        assert saved.signatures["decoded"](image=given)["mask_label"].shape == (2, height, width)
        assert kmtl.export.quality(model, file, given).rows[0].after == 1.0
