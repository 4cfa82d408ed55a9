"""What the benchmarks share: interleaved pairs, ratios, and a header that says what was measured on what."""

import os
import pathlib
import platform
import statistics
import time

import keras
import tensorflow as tf

FLAGS = pathlib.Path("/proc/cpuinfo")


def timed(model, data):
    """CPU seconds of the process (all threads) and wall seconds of one epoch."""
    cpu, wall = time.process_time(), time.perf_counter()
    model.fit(data, epochs=1, verbose=0, shuffle=False)
    return time.process_time() - cpu, time.perf_counter() - wall


def interleaved(pairs, rounds):
    """One epoch of every `(model, data)` in turn, in changing order; a list of `(cpu, wall)` each."""
    times = [[] for _ in pairs]
    for turn in range(rounds):
        for place in range(len(pairs)) if turn % 2 == 0 else reversed(range(len(pairs))):
            times[place].append(timed(*pairs[place]))
    return times


def ratios(times, base, clock):
    """Ratios of two lists of times, pair by pair; clock 0 is CPU, 1 is wall."""
    return [one[clock] / other[clock] for one, other in zip(times, base, strict=True)]


def spread(values):
    """Median and quartiles."""
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.3f} ({low:.3f} to {high:.3f})"


def header(title, command, note):
    """The first lines of a committed table."""
    avx512 = "AVX-512" if FLAGS.exists() and "avx512_vnni" in FLAGS.read_text() else "no AVX-512 VNNI"
    onednn = {"0": "oneDNN off", "1": "oneDNN on"}.get(os.environ.get("TF_ENABLE_ONEDNN_OPTS"), "oneDNN by default")
    gpu = "a GPU" if tf.config.list_physical_devices("GPU") else "no GPU"
    machine = f"{os.cpu_count()} cores ({avx512}; {onednn}), {gpu}"
    versions = f"Python {platform.python_version()}, TensorFlow {tf.__version__}, Keras {keras.__version__}"
    return [f"# {title}", "", f"Command: `{command}`. {versions}, {machine}. {note}", ""]
