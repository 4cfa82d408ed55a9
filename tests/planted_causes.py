"""Small problems whose cause of failure is planted: what a diagnosis is to find."""

from typing import Any, NamedTuple

import keras
import numpy as np

import kmtl

WIDTH, ROWS = 6, 256


class Planted(NamedTuple):
    """A problem.

    Attributes:
        build: Makes a model of some tasks.
        tasks: The tasks.
        train: Rows and labels.
        validation: The same.
        epochs: How long it is trained.
        found: The findings that are to be made, (task, cause).
        by_hand: Trunk and options of the same network in `numpy_trials.py`.
        weights: Loss weights, if not 1.
        batch: Rows of a batch.
    """

    build: Any
    tasks: list[Any]
    train: Any
    validation: Any
    epochs: int
    found: set[tuple[str, str]]
    by_hand: dict[str, Any]
    weights: dict[str, float] | None = None
    batch: int = 32


def rows(seed):
    """Inputs for training and validation, and the generator."""
    generator = np.random.default_rng(1000 + seed)
    return generator.normal(size=(2 * ROWS, WIDTH)).astype("float32"), generator


def parted(x, labels):
    """Training and validation sets."""
    parts = (slice(0, ROWS), slice(ROWS, None))
    return [(x[part], {name: label[part] for name, label in labels.items()}) for part in parts]


def tasks_of(**shapes):
    return [kmtl.Regression(name, shape=shape) for name, shape in shapes.items()]


def builder(width=32, *, rate=0.01, weights=None, activation="relu", head=None):
    """A dense trunk; `head` puts layers between it and the heads of some tasks."""

    def build(tasks):
        row = keras.Input((WIDTH,), name="row")
        features = keras.layers.Dense(width, activation=activation, name="trunk")(row)
        given = {task.name: (head or {}).get(task.name, lambda tensor: tensor)(features) for task in tasks}
        model = kmtl.MultiTaskModel.from_features(row, given, tasks)
        chosen = None if weights is None else {task.name: weights[task.name] for task in tasks}
        model.compile(keras.optimizers.Adam(rate), loss_weights=chosen)
        return model

    return build


def noisy(generator, label, noise):
    return (label + noise * generator.normal(size=label.shape)).astype("float32")


def nothing(seed=0):
    """A trunk that is wide enough, long enough trained."""
    x, generator = rows(seed)
    labels = {"zoo": noisy(generator, x[:, 0] - x[:, 1], 0.1), "ant": noisy(generator, x[:, 2] + x[:, 3], 0.1)}
    tasks = tasks_of(zoo=(), ant=())
    return Planted(builder(), tasks, *parted(x, labels), 8, set(), {"trunk": 32})


def narrow(seed=0):
    """Two directions each of two tasks, through a trunk of two units; the one asked for twice wins."""
    x, generator = rows(seed)
    labels = {"zoo": noisy(generator, x[:, [0, 0, 1]], 0.1), "ant": noisy(generator, x[:, [2, 2, 3]], 0.1)}
    found = {("zoo", "narrow trunk"), ("ant", "narrow trunk")}
    tasks = tasks_of(zoo=(3,), ant=(3,))
    build, by_hand = builder(2, activation=None, rate=0.04), {"trunk": 2, "linear": True, "rate": 0.04}
    return Planted(build, tasks, *parted(x, labels), 18, found, by_hand, batch=16)


def short(seed=0):
    """A learning rate at which 6 epochs are too few."""
    x, generator = rows(seed)
    labels = {"zoo": noisy(generator, x[:, 0] - x[:, 1], 0.1), "ant": noisy(generator, x[:, 2] + x[:, 3], 0.1)}
    found = {("zoo", "short training"), ("ant", "short training")}
    by_hand = {"trunk": 32, "rate": 0.002}
    return Planted(builder(rate=0.002), tasks_of(zoo=(), ant=()), *parted(x, labels), 4, found, by_hand)


def shuffled(seed=0):
    """Labels of one task that follow from nothing."""
    x, generator = rows(seed)
    labels = {"zoo": noisy(generator, x[:, 0] - x[:, 1], 0.1), "ant": generator.normal(size=2 * ROWS).astype("float32")}
    found = {("ant", "no signal")}
    return Planted(builder(), tasks_of(zoo=(), ant=()), *parted(x, labels), 8, found, {"trunk": 32})


def dead(seed=0):
    """Units before one head that never open."""
    x, generator = rows(seed)
    labels = {"zoo": noisy(generator, x[:, 0] - x[:, 1], 0.1), "ant": noisy(generator, x[:, 2] + x[:, 3], 0.1)}

    def closed(tensor):
        return keras.layers.Dense(8, activation="relu", bias_initializer=keras.initializers.Constant(-50.0))(tensor)

    build = builder(head={"ant": closed})
    by_hand = {"trunk": 32, "closed": ["ant"]}
    return Planted(build, tasks_of(zoo=(), ant=()), *parted(x, labels), 8, {("ant", "dead")}, by_hand)


def starved(seed=0):
    """A weight of 1e-3 beside a task that never comes to rest."""
    x, generator = rows(seed)
    labels = {
        "zoo": noisy(generator, x[:, 0] + x[:, 1], 1.5),
        "ant": noisy(generator, np.abs(x[:, 3] + x[:, 4]), 0.1),
    }
    weights = {"zoo": 1.0, "ant": 1e-3}
    build, by_hand = builder(16, weights=weights, rate=0.02), {"trunk": 16, "rate": 0.02}
    return Planted(build, tasks_of(zoo=(), ant=()), *parted(x, labels), 10, {("ant", "starved")}, by_hand, weights)


def conflict(seed=0):
    """One output for two tasks that want opposite ones."""
    x, generator = rows(seed)
    labels = {"zoo": noisy(generator, x[:, 0] + x[:, 1], 0.1), "ant": noisy(generator, -x[:, 0] - x[:, 1], 0.1)}
    tasks = [kmtl.Regression(name, standardize=False) for name in labels]

    def build(tasks):
        row = keras.Input((WIDTH,), name="row")
        features = keras.layers.Dense(32, activation="relu", name="trunk")(row)
        one = keras.layers.Dense(1, name="one")(features)
        model = kmtl.MultiTaskModel(
            row, {task.name: keras.layers.Identity(name=task.name)(one) for task in tasks}, tasks=tasks
        )
        model.compile(keras.optimizers.Adam(0.01))
        return model

    found = {("zoo", "conflict"), ("ant", "conflict")}
    return Planted(build, tasks, *parted(x, labels), 8, found, {"trunk": 32, "tied": True})


def seeds_of(seed):
    """Initialisations of one diagnosis."""
    return [10 * seed + place for place in range(3)]


CAUSES = {
    "narrow trunk": narrow,
    "short training": short,
    "no signal": shuffled,
    "dead": dead,
    "starved": starved,
    "conflict": conflict,
    "nothing": nothing,
}
