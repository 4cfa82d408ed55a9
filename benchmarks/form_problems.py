"""The sets of `benchmarks/forms.py`: real pictures with two or three tasks each, one small trunk."""

import pathlib
from typing import Any, NamedTuple

import numpy as np
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

import kmtl

SHARED = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"
WIDE = (
    "Equal weights: a trunk 1.75 times as wide (1.375 times for two tasks) and a hidden layer in each head, which have "
    "together no more weights than all separate models."
)


class Size(NamedTuple):
    """A size of the model.

    Attributes:
        widths: Channels of the stages.
        units: Features.
        hidden: Hidden layers of each head.
    """

    widths: tuple[int, ...]
    units: int
    hidden: tuple[int, ...] = ()

    def headed(self, task):
        """The task with these hidden layers in its head."""
        return type(task).from_config({**task.get_config(), "hidden": list(self.hidden)})


class Problem(NamedTuple):
    """One set; all splits are arrays `(x, {task: labels})`.

    Attributes:
        tasks: The tasks.
        weights: Loss weights by task.
        train: For training.
        test: For the scores.
        epochs: Of one training.
        small: The model.
        large: A joint model with the weights of all single ones.
        rate: Adam's learning rate.
    """

    tasks: list[Any]
    weights: dict[str, float]
    train: Any
    test: Any
    epochs: int
    small: Size
    large: Size
    rate: float = 2e-3

    @property
    def shape(self):
        """Of a picture."""
        return self.train[0].shape[1:]

    def weights_of(self, tasks):
        """Loss weights of some tasks; one that a recipe makes weighs 1."""
        return {task.name: self.weights.get(task.name, 1.0) for task in tasks}

    def forests(self):
        """A random forest a task, of one size."""
        options = {"n_estimators": 100, "min_samples_leaf": 2, "random_state": 0}
        kinds = {True: RandomForestClassifier, False: RandomForestRegressor}
        return {task.name: kinds[task.label_dtype.startswith("int")](**options) for task in self.tasks}

    def hidden(self, data, share):
        """The same data with a share of each task's labels, the same ones each time, each task's rows its own."""
        if share == 1:
            return data
        random = np.random.default_rng(0)
        x, labels = data
        kept = {}
        for task in self.tasks:
            values = labels[task.name].copy()
            values[random.random(len(values)) >= share] = task.missing
            kept[task.name] = values
        return x, kept


def _cut(x, labels, places):
    return x[places], {name: values[places] for name, values in labels.items()}


def digit_poses():
    """The built-in set: digit, angle, place; 2,000 of its training pictures."""
    tasks = [
        kmtl.Classification("digit", classes=10),
        kmtl.Regression("angle", unit="deg"),
        kmtl.Regression("position", shape=(2,), unit="px"),
    ]
    sets = []
    for data in kmtl.data.load("digit_poses", splits=("train[:2000]", "validation[:1]", "test[:1500]")):
        pairs = [(x, y) for x, y, *_ in data.as_numpy_iterator()]
        labels = {name: np.concatenate([y[name] for _, y in pairs]) for name in pairs[0][1]}
        sets.append((np.concatenate([x for x, _ in pairs]), labels))
    small, large = Size((16, 32), 48), Size((28, 56), 72, (32,))
    return Problem(tasks, {"digit": 1, "angle": 2, "position": 2}, sets[0], sets[2], 8, small, large)


def mnist_attributes():
    """MNIST with its writers and strokes: digit, who wrote it, slant; 2,000 training pictures."""
    tasks = [
        kmtl.Classification("digit", classes=10),
        kmtl.BinaryClassification("student"),
        kmtl.Regression("slant", unit="rad"),
    ]
    held = np.load(SHARED / "mnist" / "mnist_attributes.npz")
    random = np.random.default_rng(0)
    names = [task.name for task in tasks]

    def of(part, places):
        pictures = held[f"x_{part}"][places].reshape(-1, 28, 28, 1) / np.float32(255)
        labels = {name: held[f"{name}_{part}"][places] for name in names}
        return pictures, {**labels, "slant": labels["slant"].astype("float32")}

    places = random.permutation(60_000)
    train, test = of("train", places[:2000]), of("test", random.permutation(10_000)[:1500])
    small, large = Size((16, 32), 48), Size((28, 56), 72, (32,))
    weights = {"digit": 1.0, "student": 1.0, "slant": 1.0}
    return Problem(tasks, weights, train, test, 6, small, large)


def clothing():
    """Photographs of clothes at 32 x 32, half of the training ones: the garment, some missing; whether for children."""
    tasks = [
        kmtl.Classification("garment", classes=17),
        kmtl.BinaryClassification("kids", metrics=["accuracy", "AUC"]),
    ]
    held = np.load(SHARED / "clothing" / "clothing_64.npz")
    pictures = held["images"].reshape(-1, 32, 2, 32, 2, 3).mean((2, 4), dtype="float32") / np.float32(255)
    labels = {name: held[name].astype("int32") for name in ("garment", "kids")}
    train, test = (_cut(pictures, labels, np.flatnonzero(held["split"] == part)) for part in (0, 2))
    train = _cut(*train, slice(None, None, 2))
    small, large = Size((16, 32, 64), 48), Size((22, 44, 88), 64, (32,))
    return Problem(tasks, {"garment": 1.0, "kids": 1.0}, train, test, 8, small, large)


PROBLEMS = {"digit_poses": digit_poses, "mnist_attributes": mnist_attributes, "clothing": clothing}
