"""Boxes: formats and overlaps, against closed forms, loops, and Keras's own."""

import keras
import numpy as np
import pytest
from detections import complete_overlap, overlap

from kmtl.tasks.detection.boxes import (
    FORMATS,
    centered,
    ciou,
    cornered,
    diou,
    from_corners,
    giou,
    iou,
    pairwise,
    to_corners,
)


@pytest.fixture(scope="module")
def boxes():
    """Two sets, some of which do not meet."""
    generator = np.random.default_rng(0)
    start = generator.uniform(0.0, 20.0, (2, 40, 2))
    return np.concatenate([start, start + generator.uniform(0.5, 15.0, (2, 40, 2))], axis=-1).astype("float32")


def test_overlaps_are_those_of_loops_and_of_keras(boxes):
    found = np.asarray(pairwise(iou, *boxes))
    expected = [[overlap(one, other) for other in boxes[1]] for one in boxes[0].astype("float64")]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(found, keras.utils.bounding_boxes.compute_iou(*boxes, "xyxy"), atol=1e-5)
    complete = np.asarray(ciou(*boxes))
    expected = [complete_overlap(*pair) for pair in zip(*boxes.astype("float64"), strict=True)]
    np.testing.assert_allclose(complete, expected, atol=1e-5)
    np.testing.assert_allclose(complete, keras.utils.bounding_boxes.compute_ciou(*boxes, "xyxy"), atol=1e-4)


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        # The same; half of it; side by side; a corner touches; apart, the hull 9 x 1; inside, of the same shape.
        ([0.0, 0.0, 2.0, 2.0], (1.0, 1.0, 1.0)),
        ([0.0, 0.0, 1.0, 2.0], (1 / 2, 1 / 2, 1 / 2 - 0.25 / 8)),
        ([2.0, 0.0, 4.0, 2.0], (0.0, 0.0, -4 / 20)),
        ([2.0, 2.0, 4.0, 4.0], (0.0, -1 / 2, -8 / 32)),
        ([8.0, 0.0, 10.0, 2.0], (0.0, -12 / 20, -64 / 104)),
        ([0.5, 0.5, 1.5, 1.5], (1 / 4, 1 / 4, 1 / 4)),
    ],
)
def test_closed_forms(other, expected):
    one = np.array([0.0, 0.0, 2.0, 2.0], "float32")
    found = [float(measure(one, np.array(other, "float32"))) for measure in (iou, giou, diou)]
    assert found == pytest.approx(expected, abs=1e-6)
    # Of another shape CIoU is less than DIoU by a v, of the same shape it is DIoU.
    wide = np.array(other, "float32") * np.array([1.0, 1.0, 1.0, 2.0], "float32")
    shape = 4 / np.pi**2 * (np.pi / 4 - np.arctan2(wide[2] - wide[0], wide[3] - wide[1])) ** 2
    lost = shape**2 / (1 - float(iou(one, wide)) + shape) if shape else 0.0
    assert float(ciou(one, wide)) == pytest.approx(float(diou(one, wide)) - lost, abs=1e-6)


def test_a_slope_is_finite_everywhere():
    """Boxes that are the same, without an area, apart, and flipped."""
    import tensorflow as tf

    ones = tf.constant([[0.0, 0.0, 1.0, 1.0], [0.2, 0.2, 0.2, 0.2], [0.0, 0.0, 1.0, 1.0], [0.5, 0.5, 0.1, 0.2]])
    others = tf.constant([[0.0, 0.0, 1.0, 1.0], [0.2, 0.2, 0.2, 0.2], [3.0, 3.0, 4.0, 4.0], [0.0, 0.0, 1.0, 1.0]])
    for measure in (iou, giou, diou, ciou):
        with tf.GradientTape() as tape:
            tape.watch(ones)
            total = tf.reduce_sum(measure(ones, others))
        assert np.isfinite(tape.gradient(total, ones)).all(), measure.__name__


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_of_keras_goes_there_and_back(boxes, form):
    shape = None if form.startswith("rel_") else (40, 60)
    fractions = boxes[0] / np.array([60.0, 40.0, 60.0, 40.0], "float32")
    given = from_corners(fractions, form, shape)
    np.testing.assert_allclose(to_corners(given, form, shape), fractions, atol=1e-6)
    expected = keras.utils.bounding_boxes.convert_format(boxes[0], "xyxy", form, height=40, width=60)
    np.testing.assert_allclose(given, expected, atol=1e-4)
    np.testing.assert_allclose(cornered(centered(boxes[0])), boxes[0], atol=1e-5)
