"""From boxes to cells and back, and which box of a cell answers for an object."""

import itertools

import numpy as np
import pytest
from detections import answering
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from kmtl.tasks import Detection
from kmtl.tasks.detection.layout import Layout
from kmtl.tasks.detection.responsible_boxes import responsible

BOXES = st.lists(st.tuples(*[st.floats(0.0, 1.0, width=32)] * 4, st.integers(0, 2)), max_size=6)


@settings(max_examples=25, deadline=None)
@given(BOXES, st.integers(1, 4), st.integers(1, 4), st.integers(1, 3))
def test_what_is_encoded_is_decoded(rows, height, width, boxes):
    layout = Layout(height, width, boxes, classes=3)
    label = np.full((1, 7, 5), -1.0, "float32")
    for row, (x1, y1, x2, y2, name) in zip(label[0], rows, strict=False):
        row[:] = [min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2), name]
    there = label[0, :, 4] >= 0
    cells = np.asarray(layout.cell_of(layout.objects(label).corners))[0][there].tolist()
    place = [cells[:number].count(cell) for number, cell in enumerate(cells)]
    expected = {
        (cell, slot): row for cell, slot, row in zip(cells, place, label[0][there], strict=True) if slot < boxes
    }
    corners, classes, scores = (np.asarray(one)[0] for one in layout.detections(layout.encoded(label)))
    assert np.flatnonzero(scores > 0).tolist() == sorted(cell * boxes + slot for cell, slot in expected)
    for (cell, slot), row in expected.items():
        np.testing.assert_allclose(corners[cell * boxes + slot], row[:4], atol=1e-6)
        names = {other[4] for (own, _), other in expected.items() if own == cell}
        # The likeliest of the cell; of its only class the score is 1.
        assert classes[cell * boxes + slot] in names
        assert (scores[cell * boxes + slot] > 1 - 1e-6) == (len(names) == 1)


def test_objects_of_one_cell_get_a_box_each_and_the_cheapest_first():
    generator = np.random.default_rng(0)
    cost = generator.integers(0, 4, (30, 6, 3)).astype("float32")
    cell, there = generator.integers(0, 3, (30, 6)), generator.random((30, 6)) < 0.8
    found = np.asarray(responsible(ops.array(cost), ops.array(cell, dtype="int32"), ops.array(there)))
    for row, number in itertools.product(range(30), range(3)):
        places = np.flatnonzero(there[row] & (cell[row] == number))
        expected = answering(cost[row, places].tolist(), len(places))
        assert found[row, places].tolist() == [expected.get(place, -1) for place in range(len(places))]
    assert (found[~there] == -1).all()


def test_lists_of_boxes_are_packed_and_unpacked():
    task = Detection("boxes", classes=4, grid=2, bounding_box_format="xyxy", image_shape=(8, 8))
    boxes = [np.array([[0, 0, 4, 4], [1, 1, 8, 8]]), np.zeros((0, 4)), None]
    labels = task.labels(boxes, [[3, 0], [], None], most=3)
    assert (labels.shape, labels.dtype) == ((3, 3, 5), "float32")
    assert np.asarray(task.present(labels))[:, 0, 0].tolist() == [True, True, False]
    first, second, third = task.boxes_and_classes(labels)
    np.testing.assert_array_equal(first[0], boxes[0])
    assert (first[1].tolist(), second[0].shape, second[1].tolist(), third) == ([3, 0], (0, 4), [], None)
    with pytest.raises(ValueError, match=r"`boxes\[0\]` must have a class each, got 2 and 1 classes") as caught:
        task.labels(boxes, [[3], [], [1]], most=1)
    assert "`boxes[2]` must have a class each, got no label and 1 classes" in str(caught.value)
    assert "`most` must be at least 2, the boxes of the fullest example, got 1" in str(caught.value)
