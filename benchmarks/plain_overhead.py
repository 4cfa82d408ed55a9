"""What `MultiTaskModel` with `equal` costs beside stock `keras.Model.fit` on the same functional model.

    python benchmarks/plain_overhead.py --write

Both train the same network on the same data, in turn, one epoch each, in changing order; the ratio is taken pair by
pair, of CPU seconds of the process (all threads) and of wall seconds.
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

RESULTS = pathlib.Path(__file__).parent / "results" / "plain_overhead.md"
SHAPE, BATCH, STEPS = (32, 32, 1), 64, 40


def tasks_of(count):
    """Classifications and regressions in turn."""
    return [
        kmtl.Classification(f"class{place}", 10) if place % 2 == 0 else kmtl.Regression(f"value{place}")
        for place in range(count)
    ]


def network(tasks):
    """A convnet of about 0.6 M weights with one plain head a task."""
    keras.utils.set_random_seed(0)
    image = keras.Input(SHAPE, name="image")
    features = kmtl.trunks.convnet(image, widths=(32, 64, 128), units=256)
    outputs = {
        task.name: keras.layers.Dense(task.units, activation=task.activation, name=task.name)(features)
        for task in tasks
    }
    return keras.Model(image, outputs)


def stock(tasks):
    """Keras alone, with the same losses and metrics."""
    model = network(tasks)
    model.compile(
        "adam",
        loss={task.name: task.default_loss for task in tasks},
        metrics={task.name: task.metric_names() for task in tasks},
    )
    return model


def multi_task(tasks):
    """The same network under kmtl."""
    model = kmtl.MultiTaskModel.from_model(network(tasks), tasks)
    model.compile("adam", balancer="equal")
    return model


def dataset(tasks):
    """Random images and labels."""
    random = np.random.default_rng(0)
    count = BATCH * STEPS
    labels = {
        task.name: random.integers(0, 10, count).astype("int32")
        if task.kind == "classification"
        else random.normal(size=count).astype("float32")
        for task in tasks
    }
    images = random.random((count, *SHAPE), dtype="float32")
    return tf.data.Dataset.from_tensor_slices((images, labels)).batch(BATCH).cache()


def measure(count, rounds):
    """One row of the table."""
    tasks = tasks_of(count)
    data = dataset(tasks)
    models = [stock(tasks), multi_task(tasks)]
    for model in models:
        timed(model, data)
    plain, ours = interleaved([(model, data) for model in models], rounds)
    cpu, wall = (spread(ratios(ours, plain, clock)) for clock in (0, 1))
    step = 1000 * min(time for _, time in plain) / STEPS
    return f"| {count} | {models[0].count_params():,} | {cpu} | {wall} | {step:.1f} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--write", action="store_true", help="also write the committed table")
    options = parser.parse_args()
    note = (
        f"{options.rounds} epochs of {STEPS} steps each, batch {BATCH}, interleaved; "
        "ratio kmtl / stock: median (quarter to three-quarter)."
    )
    lines = header("kmtl with `equal` against stock Keras", "python benchmarks/plain_overhead.py --write", note)
    lines += [
        "| tasks | weights | CPU seconds, ratio | wall seconds, ratio | stock step, best, ms |",
        "|---|---|---|---|---|",
    ]
    lines += [measure(count, options.rounds) for count in (2, 10)]
    print("\n".join(lines))
    if options.write:
        RESULTS.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
