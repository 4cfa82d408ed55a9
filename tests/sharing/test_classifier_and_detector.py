"""The textbook network for a picture's class and its objects."""

import keras
import pytest

import kmtl


def test_shapes_and_weights_are_those_of_the_layers():
    image = keras.Input((28, 28, 3), name="image")
    features, tasks = kmtl.sharing.classifier_and_detector(image, 10, loss="article")
    model = kmtl.MultiTaskModel.from_features(image, features, tasks)
    assert features["map"].shape == (None, 7, 7, 64)
    assert {name: output.shape[1:] for name, output in model.output.items()} == {"label": (10,), "boxes": (7, 7, 35)}
    convolutions = [9 * 3 * 32 + 32, 9 * 32 * 64 + 64, 9 * 64 * 128 + 128, 128 * 35 + 35]
    assert model.count_params() == sum(convolutions) + (64 * 7 * 7 * 128 + 128) + (128 * 10 + 10)
    assert model.tasks["boxes"].resolved_loss().kind == "article"


@pytest.mark.parametrize("shape", [(30, 28, 3), (None, None, 3), (28, 28)])
def test_pictures_of_other_sizes_are_refused(shape):
    with pytest.raises(ValueError, match=r"^classifier_and_detector: `image` must be .* multiples of 4, got"):
        kmtl.sharing.classifier_and_detector(keras.Input(shape), 10)
