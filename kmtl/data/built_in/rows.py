"""What kmtl knows of a dataset: where its labels are, and which task each of them is."""

import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import tensorflow as tf

from kmtl.tasks import BinaryClassification, Classification, Detection, MultiLabel, Regression, Segmentation, Task

OFFICIAL = ("train", "validation", "test")
# For sets without splits of their own; TFDS shuffled the examples when it wrote them, so that slices are random.
SLICED = ("train[:80%]", "train[80%:90%]", "train[90%:]")


@dataclass(frozen=True)
class Label:
    """One label of a set.

    Attributes:
        task: Makes the task of a given name.
        read: Takes the label out of a TFDS example.
    """

    task: Callable[[str], Task]
    read: Callable[[Any], Any]


@dataclass(frozen=True)
class Row:
    """One set.

    Attributes:
        name: Name in TFDS.
        labels: What can be asked for, by name.
        default: What is loaded unasked, in order.
        splits: TFDS split expressions of train, validation and test.
        image: Key of the image.
        white: The brightest value of its images.
        image_size: Height and width to resize to, where the images differ in size.
        redraws: Whether `fresh=True` can draw new training images every epoch.
    """

    name: str
    labels: Mapping[str, Label]
    default: tuple[str, ...]
    splits: tuple[str, str, str] = OFFICIAL
    image: str = "image"
    white: int = 255
    image_size: tuple[int, int] | None = None
    redraws: bool = False

    def tasks(self, labels: Iterable[str]) -> list[Task]:
        """Makes the tasks of some labels, in their order."""
        return [self.labels[name].task(name) for name in labels]


def category(key: str, classes: int, names: Iterable[str] | None = None) -> Label:
    """A label that is one of several classes."""
    label_names = None if names is None else list(names)
    return Label(partial(Classification, classes=classes, label_names=label_names), operator.itemgetter(key))


def number(key: str, unit: str = "", shape: tuple[int, ...] = ()) -> Label:
    """A label that is a number, or a vector of them."""
    return Label(partial(Regression, shape=shape, unit=unit), operator.itemgetter(key))


def vector(keys: Iterable[str], unit: str = "", inside: str = "") -> Label:
    """Several numbers as one label, in the order given; `inside` names the dictionary that holds them."""
    ordered = list(keys)

    def read(example: Any) -> Any:
        values = example[inside] if inside else example
        return tf.stack([tf.cast(values[key], tf.float32) for key in ordered])

    return Label(partial(Regression, shape=(len(ordered),), unit=unit), read)


def flag(key: str, inside: str) -> Label:
    """A label that is true or false."""
    return Label(BinaryClassification, lambda example: example[inside][key])


def flags(key: str, labels: int) -> Label:
    """Several labels that are true or false."""
    return Label(partial(MultiLabel, labels=labels), operator.itemgetter(key))


def mask(key: str, names: Iterable[str], shape: tuple[int, int]) -> Label:
    """A label that is an image of class numbers."""
    label_names = list(names)
    task = partial(Segmentation, classes=len(label_names), shape=shape, label_names=label_names)
    return Label(task, operator.itemgetter(key))


def boxes(key: str, names: Iterable[str], grid: int) -> Label:
    """A label of boxes and their classes, `(rows, 5)`, in fractions of the sides."""
    label_names = list(names)
    task = partial(Detection, classes=len(label_names), grid=grid, label_names=label_names)
    return Label(task, operator.itemgetter(key))


def box(key: str) -> Label:
    """A bounding box as (ymin, xmin, ymax, xmax) in 0..1 of the image; an empty one, all zeros, is missing."""

    def read(example: Any) -> Any:
        corners = example[key]
        return tf.where(tf.reduce_all(corners == 0.0), tf.constant(float("nan")), corners)

    return Label(partial(Regression, shape=(4,)), read)
