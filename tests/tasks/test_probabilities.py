"""What every kind that decides says of its outputs: probabilities of classes, and where a yes begins."""

import keras
import numpy as np
import pytest
from kinds import KINDS

import kmtl

SAMPLES = 12
DECIDING = [name for name, kind in KINDS.items() if kind.make("zebra").decides]


def drawn(task):
    """Outputs as the kind's head gives them."""
    raw = np.random.default_rng(0).normal(size=(SAMPLES, *task.output_shape)).astype("float32")
    if task.chooses:
        raw = np.exp(raw)
        return raw / raw.sum(-1, keepdims=True)
    return 1 / (1 + np.exp(-raw))


@pytest.mark.parametrize("name", DECIDING)
def test_every_element_of_a_label_has_a_probability_for_each_class(name):
    task = KINDS[name].make("zebra")
    outputs = drawn(task)
    found = np.asarray(task.class_probabilities(outputs))
    assert found.shape == (SAMPLES, *task.label_shape, task.classes)
    np.testing.assert_allclose(found.sum(-1), 1.0, rtol=1e-6)
    if task.kind not in ("ordinal", "tagging"):  # which decide for the median, and for a sequence
        np.testing.assert_array_equal(found.argmax(-1), keras.ops.convert_to_numpy(task.decide(outputs)))


def test_values_have_none_and_no_threshold():
    task = kmtl.Regression("size")
    assert (task.class_probabilities(np.zeros((2, 1))), task.threshold) == (None, None)
    with pytest.raises(ValueError, match="must belong to a task that answers yes or no"):
        task.with_threshold(0.3)


@pytest.mark.parametrize(
    "task", [kmtl.BinaryClassification("red", threshold=0.3), kmtl.MultiLabel("tags", 2, threshold=[0.3, 0.8])]
)
def test_a_threshold_decides_reads_and_is_kept(task):
    outputs = np.array([[0.2, 0.7], [0.4, 0.9]], "float32")[:, : task.units]
    decided = keras.ops.convert_to_numpy(task.decide(outputs)).reshape(outputs.shape)
    assert (
        decided.tolist()
        == (outputs > np.float32(task.threshold)).tolist()
        == [[0, 0][: task.units], [1, 1][: task.units]]
    )
    read = task.read(outputs)
    # The probability of what was decided, also where the other is likelier.
    chosen = keras.ops.convert_to_numpy(read["probability"]).reshape(outputs.shape)
    np.testing.assert_allclose(chosen, np.where(decided, outputs, 1 - outputs), rtol=1e-6)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(task))
    assert again == task
    assert again.threshold == task.threshold
    assert (task.with_threshold(0.9).threshold, task.with_threshold(0.9) == task) == (0.9, False)
