"""Streaming from shards: what memory does over many epochs, and what the input pipeline costs of a step.

    python benchmarks/streaming.py --write                    # about eight minutes on two cores
    python benchmarks/streaming.py --epochs 3 --examples 20000 --rounds 3    # a look

Memory: a process of its own trains a small model by plain `fit` on generated examples that lie in shards; its resident
set is sampled every 20 ms. Share: some steps on the real pipeline and as many on the same batches held in
memory, in turn; the share is what the first take more, of their whole.
"""

import argparse
import functools
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import threading
import time

# Before TensorFlow is imported: docs/speed.md.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import keras
import numpy as np
import psutil
import tensorflow as tf
from timing import header, ratios, spread

import kmtl
from kmtl.feeding.resume import stream_from, transform_stream

RESULTS = pathlib.Path(__file__).parent / "results" / "streaming.md"
MEBIBYTE = 2**20
BATCH = 256
STEPS = 20
TASKS = [kmtl.Classification("class", 10), kmtl.Regression("value"), kmtl.Regression("pair", shape=(2,))]


def examples(count):
    """Small images and their labels, made on the way."""
    random = np.random.default_rng(0)
    for first in range(0, count, 1000):
        size = min(1000, count - first)
        labels = {
            "class": random.integers(0, 10, size),
            "value": random.normal(size=size).astype("float32"),
            "pair": random.normal(size=(size, 2)).astype("float32"),
        }
        yield random.integers(0, 256, (size, 16, 16, 1), dtype=np.uint8), labels


class Peaks(keras.callbacks.Callback):
    """The largest resident set of each epoch, sampled, and the peak that the kernel counted so far; MiB."""

    def __init__(self):
        super().__init__()
        self.rows = []
        self.peak = 0
        self.process = psutil.Process()
        self.done = threading.Event()

    def watch(self):
        """Samples until the training ends."""
        while not self.done.wait(0.02):
            self.peak = max(self.peak, self.process.memory_info().rss)

    def on_train_begin(self, logs=None):
        """Starts the sampling."""
        del logs
        threading.Thread(target=self.watch, daemon=True).start()

    def on_epoch_begin(self, epoch, logs=None):
        """Forgets the epoch before."""
        del epoch, logs
        self.peak, self.start = 0, time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        """Keeps the epoch's row."""
        del logs
        counted = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        self.rows.append((self.peak / MEBIBYTE, counted, time.perf_counter() - self.start))
        print(f"epoch {epoch + 1}: {self.rows[-1][0]:.0f} MiB, {self.rows[-1][2]:.1f} s", file=sys.stderr)

    def on_train_end(self, logs=None):
        """Ends the sampling."""
        del logs
        self.done.set()


def train(folder, epochs):
    """Trains on shards and returns the rows of `Peaks`."""
    image = keras.Input((16, 16, 1), name="image")
    scaled = keras.layers.Rescaling(1 / 255)(image)
    features = kmtl.trunks.convnet(scaled, widths=(8, 16))
    model = kmtl.MultiTaskModel.from_features(image, features, TASKS)
    model.compile("adam")
    peaks = Peaks()
    data = kmtl.data.from_shards(folder, TASKS, batch_size=BATCH, shuffle=True)
    model.fit(data, epochs=epochs, verbose=0, callbacks=[peaks])
    return peaks.rows


def in_a_process(folder, epochs):
    """`train` in a fresh process."""
    command = [sys.executable, __file__, "--train", str(folder), "--epochs", str(epochs)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def memory(folder, options):
    """The table of memory."""
    path = kmtl.data.write_shards(examples(options.examples), folder / "images", batched=True)
    on_disk = sum(file.stat().st_size for file in path.iterdir()) / MEBIBYTE
    rows = in_a_process(path, options.epochs)
    lines = [
        f"## Memory over {options.epochs} epochs of {options.examples:,} examples",
        "",
        f"16 x 16 x 1 images of uint8, {on_disk:.0f} MiB in 16 TFRecord shards, shuffled through the default buffer "
        f"(256 MiB at most), batch {BATCH}, plain `fit` of a small convnet.",
        "",
        "| epoch | resident set, largest, MiB | peak of the process so far, MiB | seconds |",
        "|---|---|---|---|",
    ]
    lines += [f"| {number} | {a:.0f} | {b:.0f} | {c:.1f} |" for number, (a, b, c) in enumerate(rows, 1)]
    if len(rows) > 2:
        growth = [100 * (max(row[place] for row in rows[2:]) / rows[1][place] - 1) for place in (0, 1)]
        lines += [
            "",
            f"Largest after epoch 2 against epoch 2: {growth[0]:+.1f} %; peak of the process: {growth[1]:+.1f} %.",
        ]
    return [*lines, ""]


def quickstart_model():
    """The model of examples/quickstart.py."""
    image = keras.Input((32, 32, 1), name="image")
    features = kmtl.trunks.convnet(image, widths=(32, 64, 128))
    model = kmtl.MultiTaskModel.from_features(image, features, kmtl.data.tasks("digit_poses"))
    model.compile(keras.optimizers.Adam(1e-3), loss_weights={"digit": 1.0, "angle": 2.0, "position": 2.0})
    return model


def held(data):
    """The whole batches of one epoch as a dataset in memory."""
    batches = [batch for batch in data.as_numpy_iterator() if len(batch[0]) == 64]
    stacked = tf.nest.map_structure(lambda *parts: np.stack(parts), *batches)
    return tf.data.Dataset.from_tensor_slices(stacked)


def scaled(batches):
    """Batches of whole-number images in 0..1."""
    unit = batches.map(lambda x, y: (tf.cast(x, tf.float32) / 255, y), num_parallel_calls=tf.data.AUTOTUNE)
    return unit.prefetch(4)


def pipelines(folder, usual):
    """The pipelines to measure, by name; all give batches of 64 of the quickstart's images."""
    yield "the same batches in memory, once more", usual
    yield '`load("digit_poses")`', usual
    yield '`load("digit_poses", fresh=True)`, as the quickstart', kmtl.data.load("digit_poses", fresh=True)[0]
    whole = usual.map(lambda x, y: (tf.cast(tf.round(255 * x), tf.uint8), y))
    for kind in ("tfrecord", "array_record"):
        path = kmtl.data.write_shards(whole, folder / kind, format=kind, batched=True)
        data = kmtl.data.from_shards(path, kmtl.data.tasks("digit_poses"), batch_size=64, shuffle=True)
        yield f"`from_shards`, {kind}, uint8 to 0..1", transform_stream(data, scaled)


def run(model, iterator):
    """CPU seconds of the process (all threads) and wall seconds of some steps."""
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(STEPS):
        logs = model.train_function(iterator)
    float(logs["loss"])
    return time.process_time() - cpu, time.perf_counter() - wall


def in_turn(model, iterators, rounds):
    """Times of some steps on each iterator, in changing order."""
    times = [[] for _ in iterators]
    for turn in range(rounds + 1):
        for place in range(2) if turn % 2 else (1, 0):
            times[place].append(run(model, iterators[place]))
    # The first turn fills the shuffle's buffer and warms the caches up.
    return [listed[1:] for listed in times]


def alone(stream):
    """CPU milliseconds a batch of reading a stream, past its beginning."""
    iterator, best = iter(stream), float("inf")
    for _ in range(4):
        begun = time.process_time()
        for _ in range(100):
            next(iterator)
        best = min(best, time.process_time() - begun)
    return 10 * best


def share(folder, rounds):
    """The table of the pipeline's share."""
    lines = [
        "## The input pipeline's share of a step",
        "",
        f"The quickstart's model, batch 64; {STEPS} steps on the endless stream of each pipeline and {STEPS} on the "
        f"same batches in memory, in turn, {rounds} times. Share of the time: median (quarter to three-quarter). The "
        "last two columns: the stream read without a model, and the step on batches in memory, CPU seconds of all "
        "threads, the best.",
        "",
        "| pipeline | share of wall seconds, % | share of CPU seconds, % | pipeline alone, ms | step alone, ms |",
        "|---|---|---|---|---|",
    ]
    usual, *_ = kmtl.data.load("digit_poses")
    model, memory_set = quickstart_model(), held(usual)
    model.fit(memory_set, verbose=0)
    model.make_train_function()
    for place, (name, data) in enumerate(pipelines(folder, usual)):
        stream = memory_set.repeat() if place == 0 else stream_from(data, 0)
        base, real = in_turn(model, (iter(memory_set.repeat()), iter(stream)), rounds)
        shares = [spread([100 * (1 - 1 / ratio) for ratio in ratios(real, base, clock)]) for clock in (1, 0)]
        step = 1000 * min(cpu for cpu, _ in base) / STEPS
        lines.append(f"| {name} | {shares[0]} | {shares[1]} | {alone(stream):.2f} | {step:.1f} |")
        print(lines[-1], file=sys.stderr)
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--examples", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=40, help="turns of each pipeline")
    parser.add_argument("--write", action="store_true", help="also write the committed tables")
    parser.add_argument("--train", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.train:
        print(json.dumps(train(options.train, options.epochs)))
        return
    lines = header("Streaming from shards", "python benchmarks/streaming.py --write", "")
    with tempfile.TemporaryDirectory() as folder:
        for part in (functools.partial(memory, options=options), functools.partial(share, rounds=options.rounds)):
            lines += part(pathlib.Path(folder))
    print("\n".join(lines))
    if options.write:
        RESULTS.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
