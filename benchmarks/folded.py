"""A conditioned model folded at one preference against the base model, and the conditioned one: bytes and calls.

    python benchmarks/folded.py --write

The weights are drawn, not trained: neither size nor time depends on them. Calls are interleaved in one process, CPU
alone; the table tells the ratio to the base, pair by pair.
"""

import argparse
import os
import pathlib
import tempfile

# Before TensorFlow is imported: docs/speed.md.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from serving import compared, network, size
from timing import header, spread

import kmtl
from kmtl.front import condition, fold

RESULTS = pathlib.Path(__file__).parent / "results" / "folded.md"


def models():
    """The base, the folded one and the conditioned one of three tasks."""
    origin, random = network(3), np.random.default_rng(0)
    both = condition(origin)
    for weight in both.trainable_weights:
        weight.assign(random.normal(scale=0.05, size=weight.shape))
    return {"base": network(3), "folded": fold(both, origin, network(3), [0.2, 0.5, 0.3]), "conditioned": both}


def saved_call(path):
    """Returns a function that calls all tasks of a SavedModel; it keeps the loaded model."""
    loaded = tf.saved_model.load(str(path))
    return lambda _, given: loaded.signatures["serving_default"](**{key: tf.constant(v) for key, v in given.items()})


def litert_call(path):
    """The same of a LiteRT file."""
    interpreter = Interpreter(model_path=str(path))
    return lambda _, given: interpreter.get_signature_runner("serving_default")(**given)


FORMS = {
    "SavedModel": (kmtl.export.saved_model, saved_call, ""),
    "LiteRT": (kmtl.export.litert, litert_call, ".tflite"),
}


def measured(batches, repeats):
    """A row for each form, model and batch size."""
    rows, random = [], np.random.default_rng(1)
    for form, (write, load, suffix) in FORMS.items():
        with tempfile.TemporaryDirectory() as folder:
            paths = {name: write(model, f"{folder}/{name}{suffix}") for name, model in models().items()}
            calls = {name: load(path) for name, path in paths.items()}
            for batch in batches:
                image = {"image": random.random((batch, 32, 32, 1), "float32")}
                given = {"conditioned": {**image, "preference": np.full((batch, 3), 1 / 3, "float32")}}
                base = [(calls["base"], "", image)]
                for name in ("folded", "conditioned"):
                    times = compared([(calls[name], "", given.get(name, image))], base, repeats)
                    ratio = spread([first / second for first, second in times])
                    sizes = f"{size(paths[name]) / 1e6:.3f} | {size(paths[name]) / size(paths['base']):.4f}"
                    quickest = 1000 * min(first for first, _ in times)
                    rows.append(f"| {form} | {name} | {sizes} | {batch} | {quickest:.2f} | {ratio} |")
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="write the table")
    parser.add_argument("--repeats", type=int, default=100)
    options = parser.parse_args()
    note = (
        f"{options.repeats} interleaved pairs a row; the quickstart's trunk with three tasks. Calls are of all tasks; "
        "the ratio is to the base model: median and quartiles; ms is the quickest call."
    )
    lines = [
        *header("A folded model against its base", "python benchmarks/folded.py --write", note),
        "| form | model | MB | bytes / base | batch | ms | time / base |",
        "|---|---|---|---|---|---|---|",
        *measured((1, 32), options.repeats),
    ]
    print("\n".join(lines))
    if options.write:
        RESULTS.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
