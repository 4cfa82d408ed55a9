"""A picture's class and its objects from one small map."""

from typing import Any

import keras

from kmtl._checks import refusal
from kmtl.tasks import Classification, Detection, Task


def classifier_and_detector(
    image: Any, classes: int, *, names: tuple[str, str] = ("label", "boxes"), boxes_per_cell: int = 5, **options: Any
) -> tuple[dict[str, Any], list[Task]]:
    """Builds the features and the two tasks of a textbook network that classifies a picture and detects its objects.

    The trunk is two 3x3 convolutions of 32 and 64 channels, each with relu and 2x2 max-pooling. On its flattened map
    stands a hidden layer of 128 units before the classes, on the map itself a 3x3 convolution of 128 channels before
    the `5 * boxes_per_cell + classes` numbers of each cell. A picture of 28 x 28 x 3 so has a grid of 7 x 7; with 10
    classes and 5 boxes an output of (7, 7, 35), and 500,589 weights in all.

    `kmtl.trunks.convnet` with normalisation is the better trunk, and `kmtl.MultiTaskModel.from_features` of any map and
    vector the way to a network of one's own.

    Args:
        image: KerasTensor `(batch, height, width, channels)`; height and width multiples of 4.
        classes: Number of classes, of the picture and of its objects.
        names: Names of the two tasks.
        boxes_per_cell: Boxes of each cell.
        **options: Of `kmtl.Detection`: `loss="article"` is the plain squared error.

    Returns:
        Features and tasks, as `MultiTaskModel.from_features` takes them.

    Raises:
        ValueError: If the picture's size is unknown, or no multiple of 4.

    >>> image = keras.Input((28, 28, 3))
    >>> features, tasks = classifier_and_detector(image, 10)
    >>> features["map"].shape, [task.output_shape for task in tasks]
    ((None, 7, 7, 64), [(10,), (7, 7, 35)])
    """
    shape = tuple(image.shape)
    if len(shape) != 4 or None in shape[1:] or shape[1] % 4 or shape[2] % 4:
        rule = "must be (batch, height, width, channels), its sides multiples of 4"
        raise ValueError(refusal("classifier_and_detector", "image", rule, shape))
    features = image
    for width in (32, 64):
        features = keras.layers.Conv2D(width, 3, padding="same", activation="relu", name=f"conv_{width}")(features)
        features = keras.layers.MaxPooling2D(name=f"pool_{width}")(features)
    tasks = [
        Classification(names[0], classes, hidden=128),
        Detection(names[1], classes, grid=(shape[1] // 4, shape[2] // 4), boxes_per_cell=boxes_per_cell, **options),
    ]
    return {"map": features, "vector": keras.layers.Flatten(name="flat")(features)}, tasks
