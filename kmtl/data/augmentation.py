"""`augment`: images that are moved at random, and their labels with them."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import tensorflow as tf

from kmtl._checks import Refusals, known_keywords, near, words
from kmtl.data.dataset_labels import check_known, dataset_label, label_specs
from kmtl.data.image_layers import ImageLayer, image_layers
from kmtl.data.mixing.proportions import is_whole
from kmtl.data.task_names import task_list
from kmtl.feeding.errors import share_explanation
from kmtl.feeding.order import LAST, key_of, random_integer
from kmtl.feeding.resume import register_restart, stream_from
from kmtl.tasks import Task

_OWNER = "augment"
# What is drawn by the seed of a stream: 0 is the order of its passes, 1 a fresh pose.
_MOVES = 2
_MASKS, _WEIGHT = "segmentation_masks", "weight of "
# Side of the images that layers are tried out on, where the dataset's is unknown.
_UNKNOWN = 64
_Moves = Mapping[str, Callable[[Any, Any, Any], Any]]


@known_keywords
def augment(
    dataset: tf.data.Dataset,
    layers: Any,
    tasks: Iterable[Task] | Mapping[str, Task],
    *,
    moves: _Moves | None = None,
    image: str | None = None,
    seed: int = 0,
) -> tf.data.Dataset:
    """Moves the images of a dataset at random, and what of their labels lies in them.

    A flip moves boxes, a rotation turns a mask. Keras's own layers do it, all with one draw: labels a pixel go by their
    nearest pixel, and a pixel that comes in from outside has none (-1, NaN), whatever the layer fills the image with;
    boxes are cut at the edge, and those that left the image are gone. The box of a turned object is that of its turned
    box, which holds more. What a number means Keras cannot know: `moves` says it. A missing label stays missing, and
    every other label stays as it is.

    Batch `n` of the stream that a resumed training reads (`kmtl.feeding.resume.stream_from`) is moved by `(seed, n)`
    alone; two datasets made with one seed give the same images, epoch by epoch.

    Args:
        dataset: Batches of `(x, {task: label})`, with or without weights; images
            `(batch, height, width, channels)`.
        layers: A layer of `keras.layers` that moves images, or several, applied in turn: `RandomFlip`,
            `RandomRotation`, `RandomTranslation`, `RandomZoom`, `RandomBrightness` ... Their own seed is not used.
        tasks: The tasks, or a model's `tasks`.
        moves: `{task: function}` for labels that are numbers: from the labels `(batch, ...)`, the layer and Keras's
            transformation (what `layer.get_random_transformation` gives) to the moved labels. It is called for
            each layer in turn.
        image: Name of the image, where `x` is a dict that holds several of four axes.
        seed: Of everything that is drawn.

    Returns:
        The dataset, its images float32.

    Raises:
        ValueError: If a layer, a label or another argument is not as said above, all offenders at once. Layers are
            tried out: one that leaves boxes behind in the Keras that is installed is refused.

    Example:
        >>> import keras, kmtl
        >>> images = tf.reshape(tf.range(16.0), (1, 4, 4, 1))
        >>> rows = tf.data.Dataset.from_tensors((images, {"side": tf.constant([3.0])}))
        >>> def mirrored(side, layer, drawn):
        ...     return tf.where(tf.reshape(drawn["flips"], (-1,)), -side, side)
        >>> flip = keras.layers.RandomFlip("horizontal")
        >>> moved = augment(rows, flip, [kmtl.Regression("side")], moves={"side": mirrored}, seed=1)
        >>> images, labels = next(iter(moved))
        >>> bool(images[0, 0, 0, 0] == 3.0) == bool(labels["side"][0] == -3.0)
        True
    """
    labels = label_specs(_OWNER, dataset)
    with Refusals(_OWNER) as refusals:
        listed = task_list(refusals, tasks)
        if not is_whole(seed, 0):
            refusals.add("seed", "must be a whole number of at least 0", seed)
        check_known(refusals, [task.name for task in listed], labels)
        moving = [task for task in listed if task.moves_as and task.name in labels]
        _check_moves(refusals, moves or {}, labels, moving)
        name, shape = _image(refusals, dataset.element_spec[0], image)
        _check_sizes(refusals, labels, moving, shape[:2])
        refusals.check()
        ready = image_layers(refusals, layers, shape, [task.moves_as for task in moving])
    # Unconverted: Keras's layers need no AutoGraph, and it cannot read what is written in an interactive session.
    change = tf.autograph.experimental.do_not_convert(_Change(ready, moving, moves or {}, name))

    def finish(batches: Any, seeds: Any) -> Any:
        pairs = tf.data.Dataset.zip((batches, seeds))
        return pairs.map(change, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(tf.data.AUTOTUNE)

    def restart(n: Any) -> Any:
        seeds = tf.data.Dataset.range(n, LAST).map(lambda number: random_integer(key_of(seed, _MOVES, number)))
        return finish(stream_from(dataset, n), seeds)

    once = finish(dataset, tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True))
    return register_restart(share_explanation(dataset, once), restart)


class _Change:
    """From a batch and its seed to the moved batch.

    Args:
        layers: Applied in turn.
        moving: Tasks whose labels go with the images by themselves.
        moves: How others go.
        image: Name of the image among the inputs; None where there is one input.
    """

    def __init__(self, layers: list[ImageLayer], moving: list[Task], moves: _Moves, image: str | None) -> None:
        self.layers, self.moving, self.moves, self.image = layers, moving, moves, image

    def __call__(self, batch: Any, seed: Any) -> Any:
        x, y, *weights = batch
        images = tf.cast(x if self.image is None else x[self.image], tf.float32)
        carried = {task.name: (task.moves_as, task.to_moved(y[task.name], images.shape[1:3])) for task in self.moving}
        carried |= {_WEIGHT + name: (_MASKS, weights[0][name][..., None]) for name in self._weight_maps(weights)}
        numbers = {name: y[name] for name in self.moves}
        for place, layer in enumerate(self.layers):
            key = tf.random.experimental.stateless_fold_in(tf.stack([seed, tf.zeros_like(seed)]), place, alg="philox")
            drawn = layer.draw(images, key)
            images = layer.images(images, drawn)
            carried = {name: (way, layer.label(way, label, drawn)) for name, (way, label) in carried.items()}
            numbers = {name: self.moves[name](label, layer.given, drawn) for name, label in numbers.items()}
        labels = {**y, **{name: _number(y[name], moved) for name, moved in numbers.items()}}
        labels |= {task.name: _label(task, y[task.name], carried[task.name][1], images) for task in self.moving}
        maps = {name: carried[_WEIGHT + name][1][..., 0] for name in self._weight_maps(weights)}
        x = images if self.image is None else {**x, self.image: images}
        return (x, labels, *({**one, **maps} if maps else one for one in weights))

    def _weight_maps(self, weights: list[Any]) -> list[str]:
        """Names of the tasks whose weights are one a pixel."""
        given = weights[0] if weights and isinstance(weights[0], Mapping) else {}
        dense = [task.name for task in self.moving if task.moves_as == _MASKS]
        return [name for name in dense if name in given and given[name].shape.rank == 3]


def _number(label: Any, moved: Any) -> Any:
    """Moved numbers, each missing where it was."""
    kind = dataset_label("", label.dtype)
    return tf.where(kind.present(label), tf.cast(moved, label.dtype), tf.constant(kind.missing, label.dtype))


def _label(task: Task, label: Any, moved: Any, images: Any) -> Any:
    """Moved labels of a task; of an example that had none they are missing as a whole."""
    found = tf.cast(task.from_moved(moved, images.shape[1:3]), label.dtype)
    here = tf.reduce_any(tf.reshape(task.present(label), (tf.shape(label)[0], -1)), axis=-1)
    here = tf.reshape(here, (-1, *[1] * (found.shape.rank - 1)))
    return tf.where(here, found, tf.constant(task.missing, label.dtype))


def _image(refusals: Refusals, spec: Any, image: Any) -> tuple[str | None, tuple[int, int, int]]:
    """Returns the name of the images among the inputs, None where it is one, and their shape; or records why not."""
    inputs = dict(spec) if isinstance(spec, Mapping) else {"": spec}
    found = [name for name, value in inputs.items() if getattr(value, "shape", None) is not None]
    found = [name for name in found if inputs[name].shape.rank == 4]
    if image is not None and image not in found:
        refusals.add("image", "must name an input of images", image, near(str(image), found))
    elif image is None and len(found) != 1:
        got = words(f"{len(found)} inputs of four axes")
        refusals.add(
            "image", "must be one input (batch, height, width, channels)", got, "Batch it; name one of several."
        )
    else:
        name = found[0] if image is None else image
        height, width, channels = inputs[name].shape[1:]
        return name or None, (height or _UNKNOWN, width or _UNKNOWN, channels or 1)
    return None, (_UNKNOWN, _UNKNOWN, 1)


def _check_moves(refusals: Refusals, moves: Any, labels: Mapping[str, Any], moving: list[Task]) -> None:
    """Records moves that are no functions, of no label, or of one that moves by itself."""
    if not isinstance(moves, Mapping):
        refusals.add("moves", "must be a dict {task: function}", moves)
        return
    for name, move in moves.items():
        if name not in labels:
            refusals.add("moves", "must name labels of the dataset", name, near(str(name), labels))
        elif name in [task.name for task in moving]:
            refusals.add("moves", "must leave out labels that go with their image by themselves", name)
        if not callable(move):
            refusals.add(f"moves[{name!r}]", "must be a function (labels, layer, transformation) -> labels", move)


def _check_sizes(
    refusals: Refusals, labels: Mapping[str, Any], moving: list[Task], size: tuple[int | None, int | None]
) -> None:
    """Records masks of another size than the images: a layer counts in pixels of the image."""
    for task in moving:
        shape = tuple(labels[task.name].shape[1:3])
        if task.moves_as == _MASKS and None not in shape and shape != size:
            refusals.add(f"labels[{task.name!r}]", f"must be as large as the images, {size}", shape)
