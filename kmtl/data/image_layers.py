"""Keras's random image layers, drawing from a seed that they are given, and which of them move a label rightly."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kmtl._checks import Refusals, words

# Keras's own box format in which all of its layers agree.
_BOXES = "xyxy"
_MIXING = (keras.layers.MixUp, keras.layers.CutMix)
# Pixels by which a moved box may miss the pixels that it holds: layers round centres differently.
_SLACK = 2.5
_ROUNDS = 8


class Draws(keras.random.SeedGenerator):
    """Random numbers that follow from a key: the n-th draw is a function of the key and of n."""

    def __init__(self) -> None:
        super().__init__(0)
        self._key: Any = None
        self._number = 0

    def begin(self, key: Any) -> "Draws":
        """Starts anew from a key, two int64."""
        self._key, self._number = key, 0
        return self

    def next(self, ordered: bool = True) -> Any:  # noqa: ARG002 - Keras's signature
        """The seed of the next draw, `(2,)`."""
        self._number += 1
        return tf.random.experimental.stateless_fold_in(self._key, self._number, alg="philox")


class ImageLayer:
    """A layer of Keras that moves an image, and what lies in it, by one random draw.

    Args:
        layer: One that has been checked; it stays as it is.
    """

    def __init__(self, layer: Any) -> None:
        self.given = layer
        # In float32 whatever the policy: a class number or a depth must not be rounded.
        self.layer = type(layer).from_config({**layer.get_config(), "dtype": "float32"})
        self.layer.bounding_box_format = _BOXES
        self.draws = Draws()

    def draw(self, images: Any, key: Any) -> Any:
        """What the layer does to each image of a batch, in Keras's terms."""
        return self.layer.get_random_transformation(images, training=True, seed=self.draws.begin(key))

    def images(self, images: Any, drawn: Any) -> Any:
        """The images, moved."""
        return self.layer.transform_images(images, transformation=drawn, training=True)

    def label(self, moves_as: str, label: Any, drawn: Any) -> Any:
        """A label, in the form of `moves_as`, moved as the images were."""
        if moves_as == "bounding_boxes":
            return self.layer.transform_bounding_boxes(dict(label), transformation=drawn, training=True)
        return self.layer.transform_segmentation_masks(label, transformation=drawn, training=True)


def image_layers(refusals: Refusals, given: Any, shape: tuple[int, int, int], moves: Sequence[str]) -> list[ImageLayer]:
    """Returns layers ready to draw from a key, or records those that cannot, or that leave a label behind.

    Args:
        refusals: Where to record.
        given: A layer or several, `keras.layers.Pipeline`s among them.
        shape: Height, width and channels of the images.
        moves: What lies in the images, by `Task.moves_as`.
    """
    listed = given if isinstance(given, list | tuple) else [given]
    flat = [one for layer in listed for one in getattr(layer, "layers", [layer])]
    if not flat:
        refusals.add("layers", "must hold at least one layer", given)
    found = []
    for layer in flat:
        if not hasattr(layer, "get_random_transformation") or isinstance(layer, _MIXING):
            fix = "Apply others in the data by `map`, or put them into the model."
            refusals.add("layers", "must be image layers of Keras that move each image by itself", layer, fix)
            continue
        try:
            found.append(ImageLayer(layer))
        except TypeError:
            refusals.add("layers", "must be what Keras can make again from its configuration", layer)
            continue
        shape = _try_out(refusals, found[-1], shape, moves)
    return found


def _try_out(
    refusals: Refusals, layer: ImageLayer, shape: tuple[int, int, int], moves: Sequence[str]
) -> tuple[int, int, int]:
    """Moves a rectangle, and records what goes wrong; returns the shape of the images behind the layer."""
    name = words(type(layer.given).__name__)
    if "bounding_boxes" in moves and getattr(layer.given, "fill_mode", "constant") != "constant":
        fix = "A picture that is mirrored or repeated at the edge shows objects that no box holds."
        got = words(f"{name}(fill_mode={layer.given.fill_mode!r})")
        refusals.add("layers", "must have fill_mode='constant' where boxes move", got, fix)
    states = [value.numpy() for value in layer.layer.variables]
    scene = _scene(shape)
    misses, behind = [], shape
    for number in range(_ROUNDS):
        drawn = layer.draw(scene, tf.constant([number, 1], tf.int64))
        behind = tuple(layer.images(scene, drawn).shape[1:])
        for way in sorted(set(moves)):
            try:
                misses.append(_miss(layer, way, scene, drawn))
            except (NotImplementedError, AttributeError):
                refusals.add("layers", f"must move {way.replace('_', ' ')} with the images", name)
                return behind
    if any((before != after.numpy()).any() for before, after in zip(states, layer.layer.variables, strict=True)):
        fix = "Name the layers that it holds one by one, or put it into the model."
        refusals.add("layers", "must draw from the seed that they are given", name, fix)
    if max(misses, default=0.0) > _SLACK:
        got = words(f"{name}, whose boxes Keras {keras.__version__} leaves up to {max(misses):.0f} pixels off")
        refusals.add("layers", "must move boxes as they move the images", got, "Use another layer.")
    return behind


def _scene(shape: tuple[int, int, int]) -> Any:
    """Pictures of a small rectangle off the middle, `(2, height, width, channels)`."""
    height, width, _ = shape
    scene = np.zeros((2, *shape), np.float32)
    scene[:, 3 * height // 8 : height // 2 + 1, 3 * width // 8 : 5 * width // 8 + 1] = 1.0
    return tf.constant(scene)


def _miss(layer: ImageLayer, way: str, scene: Any, drawn: Any) -> float:
    """By how many pixels the rectangle's box is off where the rectangle went; 0 where that cannot be told."""
    mask = layer.label("segmentation_masks", scene[..., :1], drawn).numpy()[..., 0] > 0
    if way != "bounding_boxes":
        return 0.0
    corners = tf.constant(np.stack([_box(one) for one in scene.numpy()[..., 0] > 0])[:, None], tf.float32)
    boxes = layer.label(way, {"boxes": corners, "labels": tf.zeros((len(scene), 1))}, drawn)["boxes"].numpy()[:, 0]
    height, width = mask.shape[1:]
    misses = [0.0]
    for one, box in zip(mask, boxes, strict=True):
        # Of what is cut off at the edge the box may hold more than its pixels, as where a turned corner is cut.
        if one.any() and not (one[0].any() or one[-1].any() or one[:, 0].any() or one[:, -1].any()):
            misses.append(float(np.abs(np.clip(box, 0, [width, height] * 2) - _box(one)).max()))
    return max(misses)


def _box(mask: Any) -> Any:
    """Left, top, right and bottom of what is marked."""
    rows, columns = mask.any(axis=1).nonzero()[0], mask.any(axis=0).nonzero()[0]
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32)
