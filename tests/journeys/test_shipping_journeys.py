"""Journeys of a new user behind the training: trackers, an artifact without kmtl, a notebook, a kind of one's own."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

import kmtl

pytestmark = pytest.mark.long


def small(tasks, **options):
    image = keras.Input((16, 16, 3), name="image")
    features = keras.layers.Dense(16, activation="relu")(keras.layers.Flatten()(image))
    model = kmtl.MultiTaskModel.from_features(image, features, tasks)
    model.compile("adam", **options)
    return model


@pytest.fixture
def tasks():
    names = ["nw", "ne", "sw", "se"]
    return [kmtl.Classification("corner", classes=4, label_names=names), kmtl.Regression("size", unit="px")]


def test_a_tracker_sees_losses_weights_and_balancer(folder, tasks, pictures, labels):
    model = small(tasks, loss_weights={"size": 0.25}, balancer="uncertainty")
    model.fit(pictures, labels, validation_data=(pictures, labels), epochs=2, verbose=0,
              callbacks=[keras.callbacks.TensorBoard("logs"), keras.callbacks.CSVLogger("log.csv")])  # fmt: skip
    tags = set()
    for file in (folder / "logs").rglob("events*"):
        for record in tf.data.TFRecordDataset(str(file)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            tags |= {value.tag for value in event.summary.value}
    assert {"epoch_size_loss", "epoch_corner_accuracy", "epoch_size_weight"} <= tags
    header = (folder / "log.csv").read_text().splitlines()[0].split(",")
    assert {"corner_loss", "size_weight", "val_size_mae"} <= set(header)
    told = model.hyperparameters()
    assert json.loads(json.dumps(told)) == told
    assert told["loss_weight_size"] == 0.25
    assert "uncertainty" in told["balancer"].lower()


def test_an_artifact_is_called_without_kmtl(folder, tasks, pictures, labels):
    """Exported with readable outputs, then called in a process that has TensorFlow alone."""
    model = small(tasks)
    model.fit(pictures, labels, verbose=0)
    kmtl.export.saved_model(model, "served", decode=True)
    np.save("pictures.npy", pictures[:4])
    script = """
import json, sys
import numpy as np, tensorflow as tf
served = tf.saved_model.load("served/1")
found = served.signatures["decoded"](tf.constant(np.load("pictures.npy")))
assert "kmtl" not in sys.modules
print(json.dumps({name: [x.decode() if isinstance(x, bytes) else x for x in value.numpy().ravel().tolist()]
                  for name, value in found.items()}))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=folder, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    outputs = model.predict(pictures[:4], verbose=0)
    names = ["nw", "ne", "sw", "se"]
    assert found["corner_label"] == [names[place] for place in outputs["corner"].argmax(1)]
    np.testing.assert_allclose(found["size"], outputs["size"][:, 0], rtol=1e-4)


def test_a_notebook_shows_tables(tasks, pictures, labels):
    """What the last line of a cell is shows as a table, not as an address in memory."""
    data = kmtl.data.from_arrays(pictures, labels, tasks, batch_size=16)
    recipes = {"joint": kmtl.training.Joint(), "shorter": kmtl.training.Joint(epochs=0.5)}
    shown = kmtl.evidence.compare(small, tasks, data, data, recipes=recipes, baseline="shorter", epochs=2, seeds=(0, 1))
    assert "<table" in shown._repr_html_()
    assert "corner" in shown._repr_html_()
    for text in (repr(shown), repr(kmtl.evidence.advise(small(tasks), data))):
        assert " at 0x" not in text
    assert set(shown.table().columns) > {"recipe", "delta_m"}
    assert set(shown["joint"].table().columns) > {"task", "metric"}


def test_a_dead_task_is_found(tasks, pictures, labels):
    """A head behind a stopped gradient, and labels that say nothing: the advice names both."""

    class Stopped(keras.layers.Layer):
        def call(self, values):
            return ops.stop_gradient(values)

    image = keras.Input((16, 16, 3), name="image")
    shared = keras.layers.Dense(16, activation="relu")(keras.layers.Flatten()(image))
    features = {"corner": Stopped()(shared), "size": shared}
    model = kmtl.MultiTaskModel.from_features(image, features, tasks)
    model.compile("adam")
    labels["size"] = np.random.default_rng(0).permutation(labels["size"])
    told = str(kmtl.evidence.advise(model, kmtl.data.from_arrays(pictures, labels, tasks, batch_size=16)))
    assert "corner" in told
    assert "dead" in told or "no gradient" in told


@keras.saving.register_keras_serializable(package="journey")
class Heading(kmtl.Task):
    """An angle in degrees; the output is a point on the circle."""

    kind = "heading"
    unit = "deg"
    units = 2

    @property
    def default_loss(self):
        return gap

    def output(self, features):
        return keras.layers.UnitNormalization(dtype="float32", name=self.name)(
            self.dense(f"{self.name}_point")(features)
        )

    def read(self, outputs):
        return {"": ops.arctan2(outputs[..., 1], outputs[..., 0]) * (180.0 / np.pi)}


def gap(labels, points):
    radians = labels[:, 0] * (np.pi / 180.0)
    return 1.0 - ops.cos(radians) * points[:, 0] - ops.sin(radians) * points[:, 1]


def test_a_kind_of_ones_own(pictures, labels):
    """Written from the page alone: trained with gaps, saved, loaded, exported with what it reads."""
    angles = np.array([135.0, 45.0, -135.0, -45.0, np.nan], "float32")[labels.pop("corner")]
    model = small([Heading("heading"), kmtl.Regression("size")])
    model.fit(pictures, {"heading": angles, **labels}, epochs=30, verbose=0)
    model.save("heading.keras")
    again = keras.saving.load_model("heading.keras")
    points = again.predict(pictures, verbose=0)["heading"]
    np.testing.assert_allclose(points, model.predict(pictures, verbose=0)["heading"], atol=1e-6)
    kmtl.export.saved_model(again, "served", decode=True)
    read = tf.saved_model.load("served/1").signatures["decoded"](tf.constant(pictures))["heading"].numpy()
    assert read.shape == (48,)
    there = ~np.isnan(angles)
    assert np.abs((read - angles + 180) % 360 - 180)[there].mean() < 20
