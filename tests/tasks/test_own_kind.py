"""A kind of the user's own whose output has fewer units than its label has classes is read and drawn its way."""

from typing import ClassVar

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

import kmtl
from kmtl._checks import Refusals
from kmtl.evidence import plot_samples
from kmtl.export import decoding
from kmtl.metrics import ClassificationReport


def steps_lost(labels, outputs):
    """Cross-entropy of each question "is the level above k?"."""
    above = ops.cast(labels[:, None] > ops.arange(3, dtype="float32"), "float32")
    return keras.losses.binary_crossentropy(above, outputs)


@keras.saving.register_keras_serializable(package="tests")
class Level(kmtl.Task):
    """One of four levels; the output is the probability of being above each of the first three."""

    kind = "level"
    label_dtype = "int32"
    classes = 4
    units = 3
    activation = "sigmoid"
    decides = True
    loss_shape = ()
    label_names: ClassVar = ("low", "mid", "high", "top")

    @property
    def default_loss(self):
        return steps_lost

    def decide(self, outputs):
        return ops.sum(ops.cast(outputs > 0.5, "int64"), axis=-1)


class DrawnLevel(Level):
    """With a reading and a picture of its own."""

    def read(self, outputs):
        return {"label": self.decide(outputs), "steps": outputs}

    def describe(self, label, output):
        return f"{int(self.decide(output[None])[0])} of 3, {label}"

    def draw(self, axis, label, output):
        axis.text(0, 0, f"drawn {np.shape(output)}, {label}")


OUTPUTS = np.array([[0.9, 0.8, 0.1], [0.3, 0.2, 0.1]], "float32")


def test_it_decodes_to_what_it_decides_one_an_example():
    found = decoding.decoded({"level": Level("level")}, {"level": tf.constant(OUTPUTS)})
    assert list(found) == Level("level").read_keys() == ["level_label"]
    assert found["level_label"].numpy().tolist() == [b"high", b"low"]
    drawn = DrawnLevel("level")
    found = decoding.decoded({"level": drawn}, {"level": tf.constant(OUTPUTS)})
    assert {name: tuple(value.shape) for name, value in found.items()} == {"level_label": (2,), "level_steps": (2, 3)}
    assert drawn.read_keys() == list(found)
    assert decoding.decisions(drawn, OUTPUTS).tolist() == [2, 0]


def test_a_line_and_a_report_tell_what_it_decides():
    task = Level("level")
    assert [task.describe(label, OUTPUTS[0]) for label in (2, 3, -1, None)] == [
        "level high → high",
        "level top → high ✗",
        "level ? → high",
        "level ? → high",
    ]
    report = ClassificationReport(task, np.array([2, 1]), OUTPUTS)
    assert (report.values["accuracy"], report.values["high"]["recall"]) == (0.5, 1.0)
    statistics = task.statistics()
    statistics.update(np.array([0, 3, -1, 4]))
    with pytest.raises(ValueError, match=r"must lie in 0\.\.3"), Refusals("fit") as refusals:
        statistics.refuse(refusals, "y")


@pytest.mark.parametrize(
    ("kind", "title", "drawn"), [(Level, "level low → ", []), (DrawnLevel, " of 3, 0", ["drawn (3,), 0"])]
)
def test_its_picture_is_its_own(kind, title, drawn):
    image = keras.Input((2, 2, 1))
    model = kmtl.MultiTaskModel.from_features(image, keras.layers.Flatten()(image), [kind("level")])
    axis = plot_samples(model, (np.zeros((1, 2, 2, 1), "float32"), {"level": np.array([0])}), count=1).axes[0]
    assert title in axis.get_title(loc="left")
    assert [text.get_text() for text in axis.texts] == drawn


@pytest.mark.long
def test_it_is_served_as_it_reads(tmp_path):
    row = keras.Input((3,), name="row")
    model = kmtl.MultiTaskModel(row, {"level": keras.layers.Identity()(row)}, tasks=[Level("level")])
    loaded = tf.saved_model.load(str(kmtl.export.saved_model(model, tmp_path, decode=True)))
    found = loaded.signatures["decoded"](row=tf.constant(OUTPUTS))
    assert {name: value.numpy().tolist() for name, value in found.items()} == {"level_label": [b"high", b"low"]}
