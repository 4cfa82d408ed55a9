"""What a setting of the environment or of `compile` does to a step: oneDNN, threads, batch, XLA, executions, malloc.

    python benchmarks/speed.py --write

CPU seconds of the process, all threads; a fresh process a column, for what is read when TensorFlow is imported.
"""

import argparse
import json
import os
import pathlib
import shlex
import subprocess
import sys
import time

RESULTS = pathlib.Path(__file__).parent / "results" / "speed.md"
# Freed memory stays in the process, rather than being given back and fetched anew every step.
MALLOC = {"MALLOC_MMAP_THRESHOLD_": "8000000000", "MALLOC_TRIM_THRESHOLD_": "16000000000"}
# Columns of the table: what the process is started with.
COLUMNS = {
    "oneDNN off": {"TF_ENABLE_ONEDNN_OPTS": "0"},
    "oneDNN on": {"TF_ENABLE_ONEDNN_OPTS": "1"},
    "on, two threads": {"TF_ENABLE_ONEDNN_OPTS": "1", "THREADS": "2"},
    "on, malloc keeps memory": {"TF_ENABLE_ONEDNN_OPTS": "1", **MALLOC},
}
# Rows: network, batch, what `compile` is given.
ROWS = {
    "convnet, batch 16": ("convnet", 16, {}),
    "convnet, batch 64": ("convnet", 64, {}),
    "convnet, batch 256": ("convnet", 256, {}),
    "convnet, batch 64, pool_first=True": ("convnet pool_first", 64, {}),
    "convnet, batch 64, jit_compile=True": ("convnet", 64, {"jit_compile": True}),
    "dense, batch 64": ("dense", 64, {}),
    "dense, batch 64, steps_per_execution=16": ("dense", 64, {"steps_per_execution": 16}),
    "dense, batch 64, jit_compile=True": ("dense", 64, {"jit_compile": True}),
}
EXAMPLES = {"convnet": 1024, "convnet pool_first": 1024, "dense": 4096}


def model_of(network, options):
    """Three tasks on a small convolutional trunk, or on a dense layer."""
    import keras

    import kmtl

    image = keras.Input((32, 32, 1), name="image")
    if network.startswith("convnet"):
        pool_first = network.endswith("pool_first")
        features = kmtl.trunks.convnet(image, widths=(16, 32, 64), units=64, pool_first=pool_first)
    else:
        features = keras.layers.Dense(64, activation="relu")(keras.layers.Flatten()(image))
    tasks = [kmtl.Classification("digit", 10), kmtl.Regression("angle"), kmtl.Regression("position", shape=(2,))]
    model = kmtl.MultiTaskModel.from_features(image, features, tasks)
    model.compile("adam", **options)
    return model


def dataset_of(network, batch):
    """Random images and labels, in memory."""
    import numpy as np
    import tensorflow as tf

    random, count = np.random.default_rng(0), EXAMPLES[network]
    labels = {
        "digit": random.integers(0, 10, count),
        "angle": random.normal(size=count).astype("float32"),
        "position": random.normal(size=(count, 2)).astype("float32"),
    }
    images = random.random((count, 32, 32, 1), dtype="float32")
    return tf.data.Dataset.from_tensor_slices((images, labels)).batch(batch).cache()


def worker(rounds, rows):
    """Microseconds of CPU an example, of some rows."""
    import tensorflow as tf

    threads = int(os.environ.get("THREADS", "1"))
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    found = {}
    for name in rows:
        network, batch, options = ROWS[name]
        model, data = model_of(network, options), dataset_of(network, batch)
        model.fit(data, verbose=0)
        seconds = []
        for _ in range(rounds):
            begun = time.process_time()
            model.fit(data, verbose=0)
            seconds.append(time.process_time() - begun)
        found[name] = 1e6 * min(seconds) / EXAMPLES[network]
    print(json.dumps(found))


def measured(rounds, columns, rows):
    """Microseconds an example by column and row."""
    found = {}
    for column in columns:
        command = [sys.executable, __file__, "--worker", "--rounds", str(rounds), "--rows", *rows]
        printed = subprocess.check_output(command, text=True, env={**os.environ, **COLUMNS[column]})
        found[column] = json.loads(printed.splitlines()[-1])
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--columns", nargs="+", choices=COLUMNS, default=list(COLUMNS))
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--write", action="store_true", help="also write the committed table")
    parser.add_argument("--worker", action="store_true")
    options = parser.parse_args()
    if options.worker:
        worker(options.rounds, options.rows)
        return
    found = measured(options.rounds, options.columns, options.rows)
    from timing import header

    note = f"Microseconds of CPU an example, least of {options.rounds} epochs; one thread but where told."
    lines = header("Settings that speed depends on", f"python benchmarks/speed.py {shlex.join(sys.argv[1:])}", note)
    lines += ["| step | " + " | ".join(found) + " |", "|---" * (len(found) + 1) + "|"]
    lines += [
        f"| {row} | " + " | ".join(f"{cells[row]:.0f}" for cells in found.values()) + " |" for row in options.rows
    ]
    print("\n".join(lines))
    if options.write:
        RESULTS.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
