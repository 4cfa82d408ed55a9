"""One artifact with all tasks against one artifact a task: bytes on disk, and one call for all against one call a task.

    python benchmarks/serving.py --write

The artifacts of single tasks hold the trunk and one head. Calls are interleaved in one process, CPU alone: the joint
signature once, then every task once, by turns first; the table tells the ratio pair by pair.
"""

import argparse
import os
import pathlib
import tempfile
import time
from typing import NamedTuple

# Before TensorFlow is imported: docs/speed.md.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from timing import header, spread

import kmtl

RESULTS = pathlib.Path(__file__).parent / "results" / "serving.md"
SHAPE = (32, 32, 1)


class Way(NamedTuple):
    """A form of artifact: how it is written and how a signature of it is called."""

    write: object
    call: object


def tasks(count):
    """Classifications, regressions and yes-or-no tasks in turn."""
    kinds = [
        lambda name: kmtl.Classification(name, classes=10),
        lambda name: kmtl.Regression(name, unit="deg"),
        lambda name: kmtl.BinaryClassification(name),
    ]
    return [kinds[place % 3](f"task{place}") for place in range(count)]


def network(count):
    """The quickstart's trunk of a third of a million weights under some heads."""
    keras.utils.set_random_seed(0)
    image = keras.Input(SHAPE, name="image")
    features = kmtl.trunks.convnet(image, widths=(32, 64, 128))
    model = kmtl.MultiTaskModel.from_features(image, features, tasks(count))
    for layer in model.scalers.values():
        # Only what knows the scale of its labels is exported.
        layer.learn([0.0], [1.0])
    return model


def saved_call(path):
    """Returns a function that calls a signature of a SavedModel."""
    loaded = tf.saved_model.load(str(path))
    return lambda name, images: loaded.signatures[name](image=tf.constant(images))


def litert_call(path):
    """Returns a function that calls a signature of a LiteRT file."""
    interpreter = Interpreter(model_path=str(path))
    return lambda name, images: interpreter.get_signature_runner(name)(image=images)


def ways(calibration):
    """The forms that are measured."""
    quantized = {"quantize": "int8", "calibration": calibration, "tolerance": None}
    return {
        "SavedModel": Way(lambda model, path, names: kmtl.export.saved_model(model, path, tasks=names), saved_call),
        "LiteRT": Way(lambda model, path, names: kmtl.export.litert(model, f"{path}.tflite", names), litert_call),
        "LiteRT int8": Way(
            lambda model, path, names: kmtl.export.litert(model, f"{path}_8.tflite", names, **quantized), litert_call
        ),
    }


def size(path):
    """Bytes of a file, or of a folder."""
    return sum(file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file())


def seconds(calls):
    """Wall time of some calls, one after the other."""
    start = time.perf_counter()
    for call, name, images in calls:
        call(name, images)
    return time.perf_counter() - start


def compared(joint, singles, repeats):
    """Times of the joint call and of all single calls, in changing order."""
    times = []
    for turn in range(repeats + 3):
        pair = [None, None]
        for place in (0, 1) if turn % 2 else (1, 0):
            pair[place] = seconds((joint, singles)[place])
        times.append(pair)
    return times[3:]


def measured(count, batches, repeats):
    """A row for each form and batch size."""
    model, random = network(count), np.random.default_rng(0)
    images = random.random((max(batches), *SHAPE), "float32")
    rows = []
    for form, way in ways(images).items():
        with tempfile.TemporaryDirectory() as folder:
            paths = {name: way.write(model, pathlib.Path(folder, name), [name]) for name in model.tasks}
            together = way.write(model, pathlib.Path(folder, "all"), None)
            joint, alone = way.call(together), {name: way.call(path) for name, path in paths.items()}
            bytes_ratio = size(together) / sum(map(size, paths.values()))
            for batch in batches:
                given = images[:batch]
                one = [(joint, "serving_default", given)]
                many = [(call, name, given) for name, call in alone.items()]
                times = compared(one, many, repeats)
                ratio = spread([first / second for first, second in times])
                best = 1000 * min(first for first, _ in times)
                sizes = f"{size(together) / 1e6:.2f} | {bytes_ratio:.3f}"
                rows.append(f"| {form} | {count} | {sizes} | {batch} | {best:.2f} | {ratio} |")
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--counts", type=int, nargs="+", default=[3, 10], help="numbers of tasks")
    parser.add_argument("--repeats", type=int, default=200, help="interleaved pairs")
    parser.add_argument("--write", action="store_true", help=f"write results/{RESULTS.name}")
    options = parser.parse_args()
    note = (
        f"{options.repeats} interleaved pairs; wall time, median and quartiles. Trunk `convnet(widths=(32, 64, 128))` "
        "on 32 x 32 images. Ratios below 1 say that one artifact for all is smaller or faster than one a task; where "
        "the heads cost nothing they are 1 / K."
    )
    lines = header("One artifact for all tasks against one a task", "python benchmarks/serving.py --write", note)
    lines += [
        "| form | tasks K | all, MB | bytes, all / K single | batch | call for all, best, ms | that / K calls |",
        "|---|---|---|---|---|---|---|",
    ]
    for count in options.counts:
        lines += measured(count, (1, 32), options.repeats)
    print("\n".join(lines))
    if options.write:
        RESULTS.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
