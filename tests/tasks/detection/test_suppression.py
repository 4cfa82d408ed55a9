"""Non-maximum suppression and average precision against loops in NumPy, and against COCO's own library."""

import keras
import numpy as np
import pytest
from detections import average_precision, draw_labels, suppressed
from keras import ops

from kmtl.tasks import Detection
from kmtl.tasks.detection.average_precision import MeanAveragePrecision, curve_area
from kmtl.tasks.detection.suppression import non_maximum_suppression


@pytest.mark.parametrize(("iou_threshold", "score_threshold", "most"), [(0.5, 0.25, 40), (0.3, 0.0, 5), (0.9, 0.6, 8)])
def test_it_is_that_of_loops_ties_included(iou_threshold, score_threshold, most):
    generator = np.random.default_rng(most)
    start = generator.integers(0, 6, (12, 40, 2))
    boxes = np.concatenate([start, start + generator.integers(1, 6, (12, 40, 2))], axis=-1).astype("float32")
    classes = generator.integers(0, 3, (12, 40)).astype("int32")
    # Of twelve values only, so that many are equal; the last picture has none.
    scores = (generator.integers(0, 12, (12, 40)) / 12).astype("float32")
    scores[-1] = 0.0
    options = {"iou_threshold": iou_threshold, "score_threshold": score_threshold, "most": most}
    found = [np.asarray(one) for one in non_maximum_suppression(*map(ops.array, (boxes, classes, scores)), **options)]
    for picture in range(12):
        places = suppressed(boxes[picture], classes[picture], scores[picture], iou_threshold, score_threshold, most)
        count = len(places)
        assert found[3][picture] == count
        for kept, given, padding in zip(found, (boxes, classes, scores), (-1, -1, 0), strict=False):
            np.testing.assert_array_equal(kept[picture, :count], given[picture, places])
            assert (kept[picture, count:] == padding).all()


def drawn(task, count, noise):
    """Labels, and outputs that find them more or less."""
    generator = np.random.default_rng(1)
    labels = draw_labels(generator, count, 3, task.classes)
    outputs = np.array(task.layout.encoded(labels))
    edge = 5 * task.boxes_per_cell
    boxes = outputs[..., :edge].reshape(count, *task.grid, task.boxes_per_cell, 5)
    there = boxes[..., 4] > 0
    boxes[..., :4] = np.where(there[..., None], boxes[..., :4], generator.uniform(0.2, 0.8, boxes[..., :4].shape))
    boxes[..., :4] *= 1 + generator.normal(0.0, noise, boxes[..., :4].shape)
    boxes[..., 4] = np.clip(0.6 * there + generator.uniform(0.0, 0.6, there.shape) ** 2, 0.0, 1.0)
    outputs[..., :edge] = boxes.reshape(*outputs.shape[:3], -1)
    outputs[..., edge:] = 0.7 * outputs[..., edge:] + 0.3 * generator.dirichlet(
        np.ones(task.classes), outputs.shape[:3]
    )
    return labels, outputs.astype("float32")


def test_map50_of_batches_is_that_of_loops_with_weights():
    task = Detection("boxes", 3, grid=3)
    labels, outputs = drawn(task, 60, 0.08)
    weights = np.random.default_rng(2).uniform(0.5, 2.0, 60).astype("float32")
    metric = task.own_metric("map50")
    assert np.isnan(float(metric.result()))
    for part in (slice(0, 25), slice(25, 60)):
        metric.update_state(labels[part], outputs[part], sample_weight=weights[part])
    expected = average_precision(task, labels, outputs, weights)
    assert 0.2 < expected < 0.95
    assert float(metric.result()) == pytest.approx(expected, rel=1e-5)
    again = MeanAveragePrecision.from_config(metric.get_config())
    again.update_state(labels, outputs)
    assert float(again.result()) == pytest.approx(average_precision(task, labels, outputs, np.ones(60)), rel=1e-5)


def test_it_is_coco_s_up_to_the_bins_of_the_score():
    pytest.importorskip("pycocotools")
    task = Detection("boxes", 3, grid=3, label_names=["cat", "dog", "cow"])
    labels, outputs = drawn(task, 150, 0.08)
    missing = np.concatenate([labels, np.full_like(labels[:5], np.nan)])
    exact = task.average_precision(missing, np.concatenate([outputs, outputs[:5]]))
    assert exact.images == 150
    assert [row["class"] for row in exact.rows] == ["cat", "dog", "cow"]
    assert sum(row["objects"] for row in exact.rows) == (labels[..., 4] >= 0).sum()
    assert 0.0 < exact.map < exact.map50 < 0.95
    for bins, gap in ((256, 0.01), (65536, 1e-4)):
        metric = MeanAveragePrecision(task.layout, bins=bins)
        metric.update_state(labels, outputs)
        assert float(metric.result()) == pytest.approx(exact.map50, abs=gap)
    assert "mAP@.5" in str(exact)
    perfect = task.average_precision(labels, task.layout.encoded(labels))
    nothing = task.average_precision(labels, np.zeros_like(outputs))
    assert (perfect.map50, nothing.map50, nothing.map) == (pytest.approx(1.0, abs=0.05), 0.0, 0.0)
    empty = task.average_precision(np.full_like(labels, -1.0), outputs)
    assert np.isnan([empty.map50, empty.map]).all()


def test_the_area_under_a_curve_by_hand():
    """Precision 1 up to recall 1/2, then 2/3 at recall 1: the mean over 101 recalls, 51 of them up to 1/2."""
    good, bad = ops.array([[1.0, 0.0, 1.0]]), ops.array([[0.0, 1.0, 0.0]])
    assert float(curve_area(good, bad, ops.array([2.0]))[0]) == pytest.approx((51 + 50 * 2 / 3) / 101, rel=1e-6)


def test_reading_gives_boxes_in_the_label_s_form_and_names():
    task = Detection("boxes", 2, grid=2, bounding_box_format="xywh", image_shape=(20, 40), label_names=["cat", "dog"])
    labels = task.labels([[[4, 2, 12, 6]], []], [[1], []])
    found = task.read(task.layout.encoded(labels))
    np.testing.assert_allclose(found["boxes"][0, 0], [4, 2, 12, 6], atol=1e-5)
    assert (np.asarray(found["boxes"])[0, 1:] == -1).all()
    assert found["label"].numpy().tolist() == [[b"dog"] + [b""] * 7, [b""] * 8]
    assert (found["count"].numpy().tolist(), found["score"].numpy()[0, :2].tolist()) == ([1, 0], [1.0, 0.0])
    assert ["_".join(("boxes", key)) for key in found] == task.read_keys()
    # What stands out of the picture is cut at its edge.
    wide = np.array(keras.ops.convert_to_numpy(task.layout.encoded(labels)))
    wide[0, 0, 0, 2:4] = 3.0
    np.testing.assert_allclose(task.read(wide)["boxes"][0, 0], [0, 0, 40, 20], atol=1e-5)
