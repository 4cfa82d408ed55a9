"""The five sets of `benchmarks/evidence.py`: real pictures with two to four tasks each, one small trunk."""

import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np

import kmtl

SHARED = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"
BATCH = 32


class Problem(NamedTuple):
    """One set; all splits are arrays `(x, {task: labels})`.

    Attributes:
        tasks: The tasks.
        train: For training.
        validation: For choosing.
        test: For the scores that are reported.
        epochs: Of one training.
        widths: Channels of the trunk's stages.
        units: Features.
        rate: Adam's learning rate at the start of its cosine.
        dropout: Of the features.
    """

    tasks: list[Any]
    train: Any
    validation: Any
    test: Any
    epochs: int = 8
    widths: tuple[int, ...] = (16, 32)
    units: int = 48
    rate: float = 2e-3
    dropout: float = 0.0

    def smaller(self):
        """The same set with few rows and one epoch, to see that it runs."""
        few = {
            part: _cut(*getattr(self, part), slice(None, rows))
            for part, rows in {"train": 96, "validation": 48, "test": 48}.items()
        }
        return self._replace(**few, epochs=1)

    @property
    def build(self) -> Callable[..., Any]:
        """Makes the model that a user would begin with; nothing in it knows how many tasks there are."""
        steps = self.epochs * (len(self.train[0]) // BATCH)

        def build(tasks):
            picture = keras.Input(self.train[0].shape[1:], name="picture")
            options = {"units": self.units, "pool_first": True, "dropout": self.dropout}
            features = kmtl.trunks.convnet(picture, widths=self.widths, **options)
            model = kmtl.MultiTaskModel.from_features(picture, features, tasks)
            model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(self.rate, steps)))
            return model

        return build


def _cut(x, labels, places):
    return x[places], {name: values[places] for name, values in labels.items()}


def _halved(images):
    """Bytes as numbers in 0..1, each the mean of four pixels."""
    count, height, width, channels = images.shape
    blocks = images.reshape(count, height // 2, 2, width // 2, 2, channels)
    return blocks.mean((2, 4), dtype="float32") / np.float32(255)


def _built_in(name, tasks, **options):
    """A set that comes with kmtl: 2,000 pictures for training, 600 for choosing, 1,500 for the test."""
    sets = []
    for data in kmtl.data.load(name, splits=("train[:2000]", "validation[:600]", "test[:1500]")):
        pairs = [(x, y) for x, y, *_ in data.as_numpy_iterator()]
        labels = {task.name: np.concatenate([y[task.name] for _, y in pairs]) for task in tasks}
        sets.append((np.concatenate([x for x, _ in pairs]), labels))
    return Problem(tasks, *sets, **options)


def digit_poses():
    """The built-in set: digit, angle, place."""
    tasks = [
        kmtl.Classification("digit", classes=10),
        kmtl.Regression("angle", unit="deg"),
        kmtl.Regression("position", shape=(2,), unit="px"),
    ]
    return _built_in("digit_poses", tasks)


def multi_digits():
    """The built-in set: two digits that overlap, and their sum."""
    tasks = [
        kmtl.Classification("left", classes=10),
        kmtl.Classification("right", classes=10),
        kmtl.Regression("sum"),
    ]
    return _built_in("multi_digits", tasks)


def mnist_attributes():
    """MNIST with its writers and strokes: digit, who wrote it, slant, thickness."""
    tasks = [
        kmtl.Classification("digit", classes=10),
        kmtl.BinaryClassification("student"),
        kmtl.Regression("slant", unit="rad"),
        kmtl.Regression("thickness", unit="px"),
    ]
    held = np.load(SHARED / "mnist" / "mnist_attributes.npz")
    random = np.random.default_rng(0)

    def of(part, places):
        pictures = held[f"x_{part}"][places].reshape(-1, 28, 28, 1) / np.float32(255)
        return pictures, {task.name: task.cast_labels(held[f"{task.name}_{part}"][places]) for task in tasks}

    places = random.permutation(60_000)
    train, validation = of("train", places[:2000]), of("train", places[2000:2600])
    return Problem(tasks, train, validation, of("test", random.permutation(10_000)[:1500]), epochs=6)


def clothing():
    """Photographs of clothes at 32 x 32: the garment, some missing; whether for children."""
    tasks = [
        kmtl.Classification("garment", classes=17),
        kmtl.BinaryClassification("kids", metrics=[keras.metrics.AUC(name="auc", num_thresholds=2000)]),
    ]
    held = np.load(SHARED / "clothing" / "clothing_64.npz")
    pictures = _halved(held["images"])
    labels = {name: held[name].astype("int32") for name in ("garment", "kids")}
    train, validation, test = (_cut(pictures, labels, np.flatnonzero(held["split"] == part)) for part in (0, 1, 2))
    train = _cut(*train, slice(None, None, 2))
    return Problem(tasks, train, validation, test, widths=(16, 32, 64), dropout=0.2)


def omniglot():
    """Characters of eight alphabets at 28 x 28: alphabet, character, strokes, ink."""
    tasks = [
        kmtl.Classification("alphabet", classes=8),
        kmtl.Classification("character", classes=242),
        kmtl.PoissonRegression("strokes", metrics=["mae"]),
        kmtl.Regression("ink", unit="canvas widths"),
    ]
    columns = {"alphabet": "alphabet", "character": "character", "strokes": "n_strokes", "ink": "ink_length"}
    with np.load(SHARED / "omniglot" / "omniglot_56.npz") as held:
        pictures = _halved(held["images"][..., None])
        labels = {name: held[column] for name, column in columns.items()}
        splits = [np.flatnonzero(held["split"] == part) for part in (0, 1, 2)]
    sets = [_cut(pictures, labels, places) for places in splits]
    return Problem(tasks, *sets, epochs=10, widths=(16, 32, 64), units=96, rate=3e-3, dropout=0.1)


PROBLEMS = {one.__name__: one for one in (digit_poses, multi_digits, mnist_attributes, clothing, omniglot)}
