"""What `MultiTaskModel` with `equal` costs beside stock `keras.Model.fit` on the same functional model.

    python benchmarks/plain_overhead.py --write

Both train the same network on the same arrays, in turn, one epoch each, first one then the other in changing order;
the ratio is taken pair by pair. Times are CPU seconds of the process (all threads) and wall seconds.
"""

import argparse
import os
import pathlib
import platform
import statistics
import time

import keras
import numpy as np
import tensorflow as tf

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


def arrays(tasks):
    """Random images and labels."""
    random = np.random.default_rng(0)
    labels = {
        task.name: random.integers(0, 10, BATCH * STEPS).astype("int32")
        if task.kind == "classification"
        else random.normal(size=BATCH * STEPS).astype("float32")
        for task in tasks
    }
    return random.random((BATCH * STEPS, *SHAPE), dtype="float32"), labels


def timed(model, data):
    """CPU and wall seconds of one epoch."""
    cpu, wall = time.process_time(), time.perf_counter()
    model.fit(data, epochs=1, verbose=0)
    return time.process_time() - cpu, time.perf_counter() - wall


def measure(count, rounds):
    """Pairs of epochs; returns the ratios and the milliseconds a step."""
    tasks = tasks_of(count)
    x, y = arrays(tasks)
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(BATCH).cache()
    models = [stock(tasks), multi_task(tasks)]
    for model in models:
        timed(model, data)
    pairs = []
    for turn in range(rounds):
        order = [0, 1] if turn % 2 == 0 else [1, 0]
        times = {place: timed(models[place], data) for place in order}
        pairs.append((times[0], times[1]))
    return {
        "tasks": count,
        "weights": models[0].count_params(),
        "cpu": [after[0] / before[0] for before, after in pairs],
        "wall": [after[1] / before[1] for before, after in pairs],
        "step": 1000 * min(before[1] for before, _ in pairs) / STEPS,
    }


def table(rows, rounds):
    """The results as Markdown, with what made them."""
    lines = [
        "# kmtl with `equal` against stock Keras",
        "",
        "Command: `python benchmarks/plain_overhead.py --write`. "
        f"Python {platform.python_version()}, TensorFlow {tf.__version__}, Keras {keras.__version__}, "
        f"{os.cpu_count()} cores, no GPU. {rounds} pairs of epochs of {STEPS} steps, batch {BATCH}, interleaved; "
        "ratio kmtl / stock: median (quarter to three-quarter).",
        "",
        "| tasks | weights | CPU seconds, ratio | wall seconds, ratio | stock step, best, ms |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        cpu, wall = (spread(row[key]) for key in ("cpu", "wall"))
        lines.append(f"| {row['tasks']} | {row['weights']:,} | {cpu} | {wall} | {row['step']:.1f} |")
    return "\n".join(lines) + "\n"


def spread(ratios):
    """Median and quartiles."""
    low, middle, high = statistics.quantiles(ratios, n=4)
    return f"{middle:.3f} ({low:.3f} to {high:.3f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--write", action="store_true", help="also write the committed table")
    options = parser.parse_args()
    text = table([measure(count, options.rounds) for count in (2, 10)], options.rounds)
    print(text)
    if options.write:
        RESULTS.write_text(text)


if __name__ == "__main__":
    main()
