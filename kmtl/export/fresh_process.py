"""Runs an exported artifact as its user would: in a program of its own, with the runtime alone.

Started by its path, it imports neither kmtl nor Keras, and makes sure that nothing else can:

    python -P fresh_process.py ARTIFACT INPUTS.npz OUTPUTS.npz
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np

Arrays = dict[str, Any]


def run_saved_model(artifact: str, samples: Arrays) -> dict[str, Arrays]:
    """Runs every signature of a SavedModel by TensorFlow alone."""
    import tensorflow as tf

    loaded = tf.saved_model.load(artifact)
    inputs = {name: tf.constant(values) for name, values in samples.items()}
    return {name: signature(**inputs) for name, signature in loaded.signatures.items()}


def run_litert(artifact: str, samples: Arrays) -> dict[str, Arrays]:
    """Runs every signature of a LiteRT file by its interpreter alone; the runner fits the batch size to the samples."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=artifact)
    return {name: interpreter.get_signature_runner(name)(**samples) for name in interpreter.get_signature_list()}


def main(artifact: str, inputs: str, outputs: str) -> None:
    """Reads the inputs, runs every signature, and writes the outputs under `signature/output`.

    Input names come with the prefix `input/`, since `numpy.savez` keeps the name `file` for itself.
    """
    sys.modules.update({"keras": None, "kmtl": None})  # type: ignore[dict-item]
    with np.load(inputs) as stored:
        samples = {key.removeprefix("input/"): stored[key] for key in stored.files}
    results = (run_saved_model if Path(artifact).is_dir() else run_litert)(artifact, samples)
    flat: Arrays = {
        f"{name}/{output}": _storable(values) for name, result in results.items() for output, values in result.items()
    }
    np.savez(outputs, **flat)


def _storable(values: Any) -> Any:
    """Returns an array of a type that NumPy's file format knows; bfloat16 is none."""
    array = np.asarray(values)
    return array.astype("float32") if array.dtype.kind == "V" else array


if __name__ == "__main__":
    main(*sys.argv[1:])
