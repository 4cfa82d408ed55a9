"""Forty yes-or-no heads: separate under stock Keras, separate and fused under kmtl, and one bare Dense(40) as floor.

    python benchmarks/fused_heads.py --write

Step: interleaved epochs, CPU seconds, ratio to the floor pair by pair. Start-up: the first epoch less a later one.
"""

import argparse
import os
import pathlib

# Before TensorFlow is imported: docs/speed.md.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import keras
import numpy as np
import tensorflow as tf
from timing import header, interleaved, ratios, spread, timed

import kmtl

RESULTS = pathlib.Path(__file__).parent / "results" / "fused_heads.md"
TASKS, SHAPE, BATCH, STEPS = 40, (28, 28, 1), 64, 40


def trunk():
    """A LeNet-sized trunk."""
    keras.utils.set_random_seed(0)
    image = keras.Input(SHAPE, name="image")
    return image, kmtl.trunks.convnet(image, widths=(16, 32), units=64, normalization=None)


def names():
    return [f"attribute{place}" for place in range(TASKS)]


def floor():
    """One dense layer with forty outputs, one loss, one metric: what the arithmetic alone costs."""
    image, features = trunk()
    model = keras.Model(image, keras.layers.Dense(TASKS, activation="sigmoid")(features))
    model.compile("adam", loss="binary_crossentropy", metrics=["binary_accuracy"])
    return model


def stock():
    """Forty dense layers, losses and metrics under stock Keras."""
    image, features = trunk()
    model = keras.Model(image, {n: keras.layers.Dense(1, activation="sigmoid", name=n)(features) for n in names()})
    model.compile(
        "adam", loss=dict.fromkeys(names(), "binary_crossentropy"), metrics=dict.fromkeys(names(), "accuracy")
    )
    return model


def multi_task(fuse):
    """The same under kmtl."""
    image, features = trunk()
    tasks = [kmtl.BinaryClassification(name) for name in names()]
    model = kmtl.MultiTaskModel.from_features(image, features, tasks, fuse=fuse)
    model.compile("adam")
    return model


def measure(rounds):
    """One row a way."""
    random = np.random.default_rng(0)
    images = random.random((BATCH * STEPS, *SHAPE), dtype="float32")
    labels = random.integers(0, 2, (BATCH * STEPS, TASKS)).astype("int32")
    ways = {
        "one Dense(40), one loss (floor)": floor(),
        "kmtl, fused (default)": multi_task("auto"),
        "kmtl, separate heads": multi_task(False),
        "stock Keras, separate heads": stock(),
    }
    by_name = {name: labels[:, place] for place, name in enumerate(names())}
    sets = [tf.data.Dataset.from_tensor_slices((images, y)).batch(BATCH).cache() for y in (labels, by_name)]
    data = [sets[0], sets[1], sets[1], sets[1]]
    first = [timed(model, each)[0] for model, each in zip(ways.values(), data, strict=True)]
    times = interleaved(list(zip(ways.values(), data, strict=True)), rounds)
    rows = []
    for place, name in enumerate(ways):
        step = min(cpu for cpu, _ in times[place])
        ratio = spread(ratios(times[place], times[0], 0)) if place else "1"
        rows.append(f"| {name} | {ratio} | {1000 * step / STEPS:.1f} | {first[place] - step:.1f} |")
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--write", action="store_true", help="also write the committed table")
    options = parser.parse_args()
    note = f"{options.rounds} interleaved epochs of {STEPS} steps, batch {BATCH}; CPU seconds of the process."
    lines = header("Forty heads as one kernel", "python benchmarks/fused_heads.py --write", note)
    lines += ["| way | step, ratio to the floor | step, best, ms | start-up, s |", "|---|---|---|---|"]
    lines += measure(options.rounds)
    print("\n".join(lines))
    if options.write:
        RESULTS.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
