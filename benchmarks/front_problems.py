"""The problems that the benchmarks of `kmtl.search` share: four sets, one small trunk, one budget."""

import pathlib
from typing import Any, NamedTuple

import keras
import numpy as np

import kmtl

SHARED = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"
# A unit of cost: the steps of one training with fixed weights, of 64 examples each.
STEPS, BATCH, EXAMPLES = 500, 64, 10_000
UNITS = 48


class Problem(NamedTuple):
    """One set.

    Attributes:
        tasks: Makes the tasks.
        splits: `{"train" | "validation" | "test": (images, {task: labels})}`.
        patch: Side of the square of pixels that becomes one cell of the first layer.
    """

    tasks: Any
    splits: dict[str, Any]
    patch: int

    @property
    def epochs(self):
        """Epochs of one unit."""
        return max(1, round(STEPS * BATCH / len(self.splits["train"][0])))

    def data(self, split, seed=0):
        """Batches of a split: the training ones in an order that follows from the seed, the others as they stand."""
        images, labels = self.splits[split]
        training = split == "train"
        size = BATCH if training else 500
        return kmtl.data.from_arrays(images, labels, self.tasks(), batch_size=size, shuffle=training, seed=seed)

    def build(self, tasks=None, *, units=1, width=1.0, seed=0, balancer="equal"):
        """A fresh, compiled model; `units` is how long it will be trained, `width` widens the trunk.

        A seed of None leaves it to the caller.
        """
        if seed is not None:
            keras.utils.set_random_seed(seed)
        image = keras.Input(self.splits["train"][0].shape[1:], name="image")
        model = kmtl.MultiTaskModel.from_features(image, trunk(image, self.patch, width), tasks or self.tasks())
        steps = units * self.epochs * -(-len(self.splits["train"][0]) // BATCH)
        schedule = keras.optimizers.schedules.CosineDecay(3e-3, steps)
        model.compile(keras.optimizers.Adam(schedule), balancer=balancer)
        return model


def trunk(image, patch, width):
    """Cells of `patch` x `patch` pixels, two convolutions, a dense layer; small, so that the tasks compete for it."""
    cells = image.shape[1] // patch
    tensor = keras.layers.Reshape((cells, patch, cells, patch))(image)
    tensor = keras.layers.Permute((1, 3, 2, 4))(tensor)
    tensor = keras.layers.Reshape((cells, cells, patch * patch))(tensor)
    for filters, strides in ((16, 1), (32, 2)):
        tensor = keras.layers.Conv2D(round(width * filters), 3, strides=strides, padding="same", use_bias=False)(tensor)
        tensor = keras.layers.ReLU()(keras.layers.BatchNormalization(momentum=0.9)(tensor))
    tensor = keras.layers.Dense(round(width * UNITS), use_bias=False)(keras.layers.Flatten()(tensor))
    return keras.layers.ReLU()(keras.layers.BatchNormalization(momentum=0.9)(tensor))


def _built_in(name, tasks, patch=4):
    """One of kmtl's own sets."""
    chosen = tasks()
    sets = kmtl.data.load(name, labels=[task.name for task in chosen])
    splits = {}
    for split, batches in zip(("train", "validation", "test"), sets, strict=True):
        pairs = [(x.numpy(), {key: value.numpy() for key, value in y.items()}) for x, y in batches]
        images = np.concatenate([x for x, _ in pairs])
        splits[split] = (images, {key: np.concatenate([y[key] for _, y in pairs]) for key in pairs[0][1]})
    return Problem(tasks, splits, patch)


def _digit_poses():
    return _built_in("digit_poses", lambda: kmtl.data.tasks("digit_poses"))


def _multi_digits():
    return _built_in(
        "multi_digits", lambda: [kmtl.Classification("right", classes=10), kmtl.Classification("left", classes=10)]
    )


def _mnist_attributes():
    found = np.load(SHARED / "mnist" / "mnist_attributes.npz")
    order = np.random.default_rng(0).permutation(len(found["x_train"]))
    parts = {
        "train": ("train", order[:EXAMPLES]),
        "validation": ("train", order[EXAMPLES : EXAMPLES + 2500]),
        "test": ("test", slice(None, None, 4)),
    }

    def tasks():
        return [
            kmtl.Regression("thickness", unit="px"),
            kmtl.Classification("digit", classes=10),
            kmtl.Regression("slant", unit="rad"),
        ]

    splits = {}
    for split, (side, rows) in parts.items():
        images = found[f"x_{side}"][rows].reshape(-1, 28, 28, 1).astype("float32") / 255
        labels = {"digit": found[f"digit_{side}"][rows].astype("int32")}
        labels |= {key: found[f"{key}_{side}"][rows].astype("float32") for key in ("thickness", "slant")}
        splits[split] = (images, labels)
    return Problem(tasks, splits, 4)


def _fsdd():
    found = np.load(SHARED / "fsdd" / "fsdd_mel64.npz", allow_pickle=False)

    def tasks():
        return [
            kmtl.Classification("speaker", classes=6),
            kmtl.Regression("pitch", unit="Hz"),
            kmtl.Classification("digit", classes=10),
        ]

    splits = {}
    for place, split in enumerate(("train", "validation", "test")):
        rows = found["split"] == place
        labels = {key: found[key][rows].astype("int32") for key in ("speaker", "digit")}
        labels["pitch"] = found["f0_hz"][rows].astype("float32")
        splits[split] = (found["images"][rows].reshape(-1, 64, 64, 1).astype("float32") / 255, labels)
    return Problem(tasks, splits, 8)


PROBLEMS = {
    "digit_poses": _digit_poses,
    "multi_digits": _multi_digits,
    "mnist_attributes": _mnist_attributes,
    "fsdd": _fsdd,
}
