"""A small detector finds what it was trained on, within the time of a test; and what it was saved with."""

import keras
import numpy as np
import pytest
from detections import overlap

import kmtl

pytestmark = pytest.mark.long
SIDE = 32


def rectangles(count):
    """Pictures of up to four rectangles that do not meet, of three shades."""
    generator = np.random.default_rng(0)
    pictures = generator.normal(0.0, 0.02, (count, SIDE, SIDE, 1)).astype("float32")
    boxes, classes = [[] for _ in range(count)], [[] for _ in range(count)]
    for picture, own, names in zip(pictures, boxes, classes, strict=True):
        for _ in range(generator.integers(0, 5)):
            size = generator.integers(5, 13, 2)
            left, top = generator.integers(0, SIDE - size)
            box, name = [left, top, left + size[0], top + size[1]], generator.integers(3)
            if all(overlap(box, other) == 0 for other in own):
                picture[top : box[3], left : box[2]] += (0.4, 0.7, 1.0)[name]
                own.append(box)
                names.append(name)
    return pictures, boxes, classes


def test_it_finds_the_objects_of_32_pictures(tmp_path):
    keras.utils.set_random_seed(1)
    pictures, boxes, classes = rectangles(32)
    shape = {"bounding_box_format": "xyxy", "image_shape": (SIDE, SIDE)}
    task = kmtl.Detection("boxes", 3, grid=8, hidden=64, metrics=[], **shape)
    image = keras.Input((SIDE, SIDE, 1), name="image")
    features = kmtl.trunks.convnet(image, widths=(16, 32), pooling=None)
    model = kmtl.MultiTaskModel.from_features(image, features, [task])
    model.compile(keras.optimizers.Adam(0.003))
    labels = task.labels(boxes, classes)
    model.fit(pictures, {"boxes": labels}, batch_size=16, epochs=60, verbose=0)
    outputs = model.predict(pictures, verbose=0)["boxes"]
    metric = task.own_metric("map50")
    metric.update_state(labels, outputs)
    assert float(metric.result()) > 0.95
    model.save(tmp_path / "detector.keras")
    again = keras.saving.load_model(tmp_path / "detector.keras")
    found, same = (one.tasks["boxes"].read(one.predict(pictures, verbose=0)["boxes"]) for one in (model, again))
    for key, values in found.items():
        np.testing.assert_array_equal(same[key], values)
