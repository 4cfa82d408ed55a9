"""Losses on a grid against loops in NumPy; the modern one is the row of tests/kinds.py."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from detections import answering, cells_of, corners, draw_labels, overlap

from kmtl.tasks import Detection
from kmtl.tasks.detection.grid_losses import GridLoss

NAMES = ["modern", "yolov1", "article"]


def task_of(loss, **options):
    return Detection("boxes", 3, **{"grid": (2, 3), "boxes_per_cell": 2, "loss": loss, **options})


def drawn(task, count=8):
    """Labels and outputs; the first label has three objects in one cell, the second none."""
    generator = np.random.default_rng(3)
    labels = draw_labels(generator, count, 4, 3)
    labels[0, :3] = [[0.0, 0.0, 0.3, 0.4, 1], [0.1, 0.1, 0.2, 0.6, 2], [0.05, 0.0, 0.25, 0.3, 1]]
    labels[1] = -1.0
    return labels, generator.uniform(0.05, 0.95, (count, *task.output_shape)).astype("float32")


def yolov1(task, label, output):
    edge = 5 * task.boxes_per_cell
    boxes = output[..., :edge].reshape(*task.grid, task.boxes_per_cell, 5).astype("float64")
    wanted, busy, total = np.zeros(boxes.shape[:3]), np.zeros(boxes.shape[:3], bool), 0.0
    for (row, column), objects in cells_of(task, label).items():
        overlaps = [[overlap(corners(box[:4]), truth) for box in boxes[row, column]] for truth, _ in objects]
        chosen = answering([[1 - one for one in line] for line in overlaps], len(objects))
        for place, slot in chosen.items():
            truth, name = objects[place]
            center = (truth[:2] + truth[2:]) / 2
            x, y, w, h = boxes[row, column, slot, :4]
            shift = (np.array([x, y]) - center) * [task.grid[1], task.grid[0]]
            sides = np.sqrt([w, h]) - np.sqrt(truth[2:] - truth[:2])
            total += 5 * (shift**2).sum() + 5 * (sides**2).sum()
            total += ((output[row, column, edge:] - np.eye(task.classes)[name]) ** 2).sum()
            wanted[row, column, slot], busy[row, column, slot] = overlaps[place][slot], True
    return total + (np.where(busy, 1.0, 0.5) * (boxes[..., 4] - wanted) ** 2).sum()


def article(task, label, output):
    edge = 5 * task.boxes_per_cell
    target = np.zeros(output.shape)
    for row, column, box in np.ndindex(*task.grid, task.boxes_per_cell):
        target[row, column, 5 * box : 5 * box + 2] = (column + 0.5) / task.grid[1], (row + 0.5) / task.grid[0]
    for (row, column), objects in cells_of(task, label).items():
        for place, (truth, name) in enumerate(objects[: task.boxes_per_cell]):
            center = [*(truth[:2] + truth[2:]) / 2, *(truth[2:] - truth[:2]), 1.0]
            target[row, column, 5 * place : 5 * place + 5] = center
            target[row, column, edge + name] += 1 / min(len(objects), task.boxes_per_cell)
    return ((output - target) ** 2).mean()


@pytest.mark.parametrize(("loss", "reference"), [("yolov1", yolov1), ("article", article)])
def test_it_is_that_of_loops(loss, reference):
    task = task_of(loss)
    labels, outputs = drawn(task)
    found = task.resolved_loss().call(labels, outputs)
    expected = [reference(task, *pair) for pair in zip(labels, outputs, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_the_article_s_loss_is_0_at_what_it_encodes():
    task = task_of("article")
    labels, _ = drawn(task)
    np.testing.assert_allclose(task.resolved_loss().call(labels, task.layout.encoded(labels)), 0.0, atol=1e-12)


@pytest.mark.parametrize("loss", NAMES)
def test_slopes_are_finite_at_saturated_outputs_and_unused_rows(loss):
    """Raw numbers of 200 make sigmoids that are 0 or 1 in float32."""
    task = task_of(loss, hidden=())
    model = keras.Sequential([keras.Input((2, 3, task.units)), task_layer(task)])
    labels, _ = drawn(task)
    signs = np.sign(np.random.default_rng(0).normal(size=(len(labels), 2, 3, task.units)))
    signs[0], signs[2] = -1.0, 1.0
    raw = tf.constant(200.0 * signs, "float32")
    with tf.GradientTape() as tape:
        tape.watch(raw)
        value = tf.reduce_sum(task.resolved_loss().call(labels, model(raw)))
    assert np.isfinite(float(value))
    assert np.isfinite(tape.gradient(value, raw)).all()


def task_layer(task):
    """What ends the head."""
    features = keras.Input((*task.grid, 4))
    return keras.Model(features, task.head(features)).layers[-1]


@pytest.mark.long
@pytest.mark.parametrize("loss", NAMES)
def test_a_step_against_the_slope_lowers_it_and_it_compiles(loss):
    task = task_of(loss, hidden=())
    layer, (labels, _) = task_layer(task), drawn(task)
    raw = tf.Variable(np.random.default_rng(1).normal(size=(len(labels), 2, 3, task.units)), dtype="float32")
    call = tf.function(lambda: tf.reduce_sum(task.resolved_loss().call(labels, layer(raw))), jit_compile=True)
    with tf.GradientTape() as tape:
        before = call()
    raw.assign_sub(1e-3 * tape.gradient(before, raw))
    assert float(call()) < float(before)


def test_a_loss_survives_the_file():
    task = task_of("yolov1", bounding_box_format="xywh", image_shape=(20, 30))
    loss = task.resolved_loss()
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert isinstance(again, GridLoss)
    assert (again.kind, again.layout, again.name) == (loss.kind, loss.layout, loss.name)
