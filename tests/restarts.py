"""Every kind of set that can begin anywhere; a second process makes the same ones."""

import hashlib
import pathlib

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

import kmtl
from kmtl.feeding.resume import stream_from

ROWS, BATCH = 23, 4
TASKS = [
    kmtl.Classification("digit", classes=10),
    kmtl.Regression("angle"),
    kmtl.Regression("place", shape=(2,)),
]


def table():
    """Inputs and labels of a few rows; every row is another."""
    random = np.random.default_rng(0)
    labels = {"digit": np.arange(ROWS) % 11 - 1, "place": random.normal(size=(ROWS, 2)).astype("float32")}
    return random.normal(size=(ROWS, 3)).astype("float32"), labels


def written(folder, kind):
    """Shards of the table; the one who comes first writes them."""
    path = pathlib.Path(folder, kind)
    if not path.exists():
        kmtl.data.write_shards(tf.data.Dataset.from_tensor_slices(table()), path, shards=5, format=kind)
    return path


def arrays(**options):
    return kmtl.data.from_arrays(*table(), TASKS, **{"batch_size": BATCH, "shuffle": True, "seed": 3, **options})


def frame():
    x, labels = table()
    rows = pd.DataFrame(x, columns=["a", "b", "c"]).assign(digit=labels["digit"])
    features = {"left": ["a", "b"], "right": "c"}
    return kmtl.data.from_frame(rows, TASKS[:1], features=features, batch_size=BATCH, shuffle=True, seed=3)


def folder_of_images(folder):
    folder = pathlib.Path(folder, "images")
    folder.mkdir(exist_ok=True)
    for row in range(ROWS):
        picture = tf.io.encode_png(tf.fill((2, 2, 1), tf.constant(10 * row, tf.uint8)))
        tf.io.write_file(str(folder / f"{row}.png"), picture)
    rows = pd.DataFrame({"file": [f"{row}.png" for row in range(ROWS)], "digit": np.arange(ROWS) % 10})
    options = {"image_size": 2, "channels": 1, "batch_size": BATCH, "shuffle": True, "seed": 3}
    return kmtl.data.from_folder(folder, rows, TASKS[:1], **options)


def loaded(prepared, **options):
    splits = (f"train[:{ROWS}]", "validation[:2]", "test[:2]")
    options = {"batch_size": BATCH, "splits": splits, "seed": 3, "hide": 0.2, **options}
    return kmtl.data.load("digit_poses", data_dir=prepared, **options)[0]


def moved(prepared):
    layers = [keras.layers.RandomFlip("horizontal"), keras.layers.RandomTranslation(0.1, 0.1)]
    return kmtl.data.augment(
        loaded(prepared, fresh=True), layers, TASKS[:2], moves={"angle": lambda angle, *_: -angle}, seed=3
    )


def shards(folder, kind, **options):
    return kmtl.data.from_shards(written(folder, kind), TASKS, **{"batch_size": BATCH, "seed": 3, **options})


def mixed(**options):
    names = tuple(task.name for task in TASKS)
    plain = tf.data.Dataset.from_tensor_slices(table())
    sources = {names: arrays(batch_size=None), ("digit", "place"): plain}
    return kmtl.data.mix(sources, tasks=TASKS, sampling="uniform", batch_size=BATCH, seed=3, **options)


def mixed_shards(folder, **options):
    names = tuple(task.name for task in TASKS)
    sources = {
        names: shards(folder, "tfrecord", batch_size=None, shuffle=7),
        names[::-1]: shards(folder, "array_record", batch_size=None, shuffle=True),
    }
    return kmtl.data.mix(sources, tasks=TASKS, batch_size=BATCH, start=2, **options)


# Finite sets, whose stream is made of passes; each is made with a folder to write to and a folder of prepared sets.
FINITE = {
    "arrays": lambda *_: arrays(),
    "examples of arrays in order": lambda *_: arrays(batch_size=None, shuffle=False),
    "frame": lambda *_: frame(),
    "folder": lambda folder, _: folder_of_images(folder),
    "load": lambda _, prepared: loaded(prepared),
    "load in order": lambda _, prepared: loaded(prepared, shuffle=False),
    "load fresh": lambda _, prepared: loaded(prepared, fresh=True, image_size=16),
    "load fresh, moved": lambda _, prepared: moved(prepared),
    "tfrecord": lambda folder, _: shards(folder, "tfrecord", shuffle=7),
    "tfrecord in order": lambda folder, _: shards(folder, "tfrecord"),
    "examples of tfrecord": lambda folder, _: shards(folder, "tfrecord", shuffle=True, batch_size=None),
    "array_record": lambda folder, _: shards(folder, "array_record", shuffle=True),
    "examples of array_record in order": lambda folder, _: shards(folder, "array_record", batch_size=None),
}
ENDLESS = {
    "mix": lambda *_: mixed(),
    "mix, shuffled": lambda *_: mixed(shuffle=5),
    "mix of shards": lambda folder, _: mixed_shards(folder),
    "mix of shards, shuffled": lambda folder, _: mixed_shards(folder, shuffle=5),
}
SETS = {**FINITE, **ENDLESS}


def digests(stream, count):
    """What the first elements hold, down to the last bit."""
    return [
        hashlib.md5(b"".join(part.numpy().tobytes() for part in tf.nest.flatten(element))).hexdigest()
        for element in stream.take(count)
    ]


def later(name, folder, prepared, position):
    """Digests of some elements from a position on, after other things happened in the process."""
    tf.random.set_seed(99)
    dataset = SETS[name](folder, prepared)
    for _ in dataset.take(3):
        pass
    return digests(stream_from(dataset, position), 5)
