"""Runs an exported artifact as its user would: in a program of its own, with the runtime alone.

Started by its path, it imports neither kmtl nor Keras, and makes sure that nothing else can:

    python -P fresh_process.py ARTIFACT INPUTS.npz OUTPUTS.npz

What stops it is printed in one line.
"""

import functools
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

FEWEST, MOST, SECONDS = 3, 20, 0.25

# The name of `signatures.JOINT`, which is out of reach here.
_JOINT = "serving_default"

Arrays = dict[str, Any]
Call = Callable[[Arrays], Arrays]


def time_call(call: Callable[[], Arrays]) -> tuple[Arrays, float]:
    """Returns what `call` gives, and the median milliseconds of a call.

    The first call warms up. At least `FEWEST` more are timed, and at most `MOST`, or as many as begin in `SECONDS`.

    >>> time_call(lambda: {"angle": 3})[0]
    {'angle': 3}
    """
    result = call()
    durations: list[float] = []
    end = time.perf_counter() + SECONDS
    while len(durations) < FEWEST or (len(durations) < MOST and time.perf_counter() < end):
        start = time.perf_counter()
        call()
        durations.append(time.perf_counter() - start)
    return result, 1000 * statistics.median(durations)


def open_saved_model(artifact: str) -> dict[str, Call]:
    """Loads a SavedModel by TensorFlow alone and returns its signatures."""
    import tensorflow as tf

    signatures = tf.saved_model.load(artifact).signatures
    return {name: functools.partial(_run_saved_model, signature) for name, signature in signatures.items()}


def _run_saved_model(signature: Any, samples: Arrays) -> Arrays:
    """Runs one signature of a SavedModel."""
    import tensorflow as tf

    specs = signature.structured_input_signature[1]
    # The keys are made Python's identifiers, the specs keep the names.
    wanted = _wanted({spec.name or key: spec for key, spec in specs.items()}, samples)
    outputs = signature(**{name: tf.constant(values) for name, values in wanted.items()})
    return {name: _storable(values.numpy()) for name, values in outputs.items()}


def open_litert(artifact: str) -> dict[str, Call]:
    """Opens a LiteRT file by its interpreter alone and returns its signatures, which take any batch size."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=artifact)
    names = interpreter.get_signature_list()
    return {name: functools.partial(_run_litert, interpreter.get_signature_runner(name)) for name in names}


def _run_litert(runner: Any, samples: Arrays) -> Arrays:
    """Runs one signature of a LiteRT file; integers that stand for real numbers are made and read here."""
    takes, gives = runner.get_input_details(), runner.get_output_details()
    wanted = _wanted(takes, samples)
    outputs = runner(**{name: quantize(values, takes[name]) for name, values in wanted.items()})
    return {name: dequantize(values, gives[name]) for name, values in outputs.items()}


def quantize(values: Any, detail: Arrays) -> Any:
    """Returns what an input takes: `round(x / scale) + zero_point`, held within its integers, if it is quantised.

    >>> quantize(np.array([0.0, 0.5, 9.0]), {"dtype": np.int8, "quantization": (0.25, -2)}).tolist()
    [-2, 0, 34]
    """
    scale, zero_point = detail["quantization"]
    if not scale:
        return values
    limits = np.iinfo(detail["dtype"])
    return np.clip(np.round(values / scale) + zero_point, limits.min, limits.max).astype(detail["dtype"])


def dequantize(values: Any, detail: Arrays) -> Any:
    """Returns the numbers that an output stands for: `(q - zero_point) * scale` if it is quantised.

    >>> dequantize(np.array([-2, 0], "int8"), {"quantization": (0.25, -2)}).tolist()
    [0.0, 0.5]
    """
    scale, zero_point = detail["quantization"]
    return (values.astype("float32") - zero_point) * scale if scale else values


def open_onnx(artifact: str) -> dict[str, Call]:
    """Opens an ONNX file by onnxruntime alone; it has no signatures, but gives any of its outputs alone."""
    import onnxruntime

    session = onnxruntime.InferenceSession(artifact, providers=["CPUExecutionProvider"])
    outputs = [output.name for output in session.get_outputs()]
    chosen = {_JOINT: outputs, **{name: [name] for name in outputs}}
    return {name: functools.partial(_run_onnx, session, names) for name, names in chosen.items()}


def _run_onnx(session: Any, names: list[str], samples: Arrays) -> Arrays:
    """Runs as much of an ONNX graph as some of its outputs need."""
    wanted = _wanted([given.name for given in session.get_inputs()], samples)
    return dict(zip(names, session.run(names, wanted), strict=True))


def _wanted(names: Iterable[str], samples: Arrays) -> Arrays:
    """Returns the samples that a signature takes; one of a few tasks may need fewer inputs than the model."""
    missing = [name for name in names if name not in samples]
    if missing:
        raise ValueError(f"inputs {missing} beside the model's own {list(samples)}")
    return {name: samples[name] for name in names}


def _storable(values: Any) -> Any:
    """Returns an array of a type that NumPy's file format knows; bfloat16 is none."""
    array = np.asarray(values)
    return array.astype("float32") if array.dtype.kind == "V" else array


def _opened(artifact: str) -> dict[str, Call]:
    """Opens an artifact by the runtime of its form."""
    if Path(artifact).is_dir():
        return open_saved_model(artifact)
    return open_onnx(artifact) if artifact.endswith(".onnx") else open_litert(artifact)


def main(artifact: str, inputs: str, outputs: str) -> None:
    """Reads the inputs, runs the joint signature and each task's own, and writes outputs and times.

    The tasks are what the joint signature returns; signatures of other names, such as those that take encoded images,
    are left alone. The keys written are `value/<signature>/<output>` and `milliseconds/<signature>`. Input names come
    with the prefix `input/`, since `numpy.savez` keeps the name `file` for itself.
    """
    sys.modules.update({"keras": None, "kmtl": None})  # type: ignore[dict-item]
    with np.load(inputs) as stored:
        samples = {key.removeprefix("input/"): stored[key] for key in stored.files}
    calls = _opened(artifact)
    if _JOINT not in calls:
        raise ValueError(f"no signature {_JOINT!r} among {sorted(calls)}")
    results = {_JOINT: time_call(functools.partial(calls[_JOINT], samples))}
    alone = [name for name in results[_JOINT][0] if name in calls]
    results |= {name: time_call(functools.partial(calls[name], samples)) for name in alone}
    flat: Arrays = {f"milliseconds/{name}": milliseconds for name, (_, milliseconds) in results.items()}
    for name, (result, _) in results.items():
        flat |= {f"value/{name}/{output}": values for output, values in result.items()}
    np.savez(outputs, **flat)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except Exception as error:
        print(f"{type(error).__name__}: {' '.join(str(error).split())}"[:500])
        raise
