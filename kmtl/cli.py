"""What the command `kmtl` does: exports a saved model and looks at artifacts, by the functions of `kmtl.export`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import kmtl_command
from kmtl import _checks, export

_REFUSED = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command: see `kmtl_command.main`."""
    return run(kmtl_command.parser().parse_args(arguments))


def run(options: argparse.Namespace) -> int:
    """Does what the command's arguments say.

    Args:
        options: The arguments.

    Returns:
        The exit status: 0, or 2 with one message if something is refused, not there or not installed.
    """
    try:
        for line in {"inspect": _inspect, "export": _export}[options.command](options):
            print(line)
    except (ValueError, OSError, ImportError) as error:
        # The refusals of `kmtl.export.inspect` begin with the command's own name.
        lines = [line.removeprefix(f"{options.command}: ") for line in str(error).splitlines()]
        print(_checks.printable(f"kmtl {options.command}: " + "\n".join(lines)), file=sys.stderr)
        return _REFUSED
    return 0


def _inspect(options: argparse.Namespace) -> list[str]:
    """Looks at an artifact."""
    return [str(export.inspect(options.artifact))]


def _export(options: argparse.Namespace) -> list[str]:
    """Writes the forms asked for and tells their paths."""
    _refuse_idle(options)
    samples = {name: _samples(name, getattr(options, name)) for name in ("warmup", "calibration")}
    model = export.load_keras(options.model, options.modules)
    written = []
    if options.saved_model or not (options.litert or options.onnx):
        images = export.Images() if options.images else None
        further = {"decode": options.decode, "images": images, "warmup": samples["warmup"]}
        written.append(export.saved_model(model, options.to, options.version, options.tasks, **further))
    if options.litert:
        quantizing = {"calibration": samples["calibration"], "tolerance": options.tolerance}
        path = options.to / f"{options.model.stem}.tflite"
        written.append(export.litert(model, path, options.tasks, quantize=options.quantize, **quantizing))
    if options.onnx:
        written.append(export.onnx(model, options.to / f"{options.model.stem}.onnx", options.tasks))
    return list(map(str, written))


def _refuse_idle(options: argparse.Namespace) -> None:
    """Refuses options of a form that is not written."""
    saved = options.saved_model or not (options.litert or options.onnx)
    with _checks.Refusals("export") as refusals:
        for name in ("version", "decode", "images", "warmup"):
            if getattr(options, name) and not saved:
                refusals.add(f"--{name}", "belongs to a SavedModel", _checks.words("none"), "Add --saved-model.")
        for name in ("quantize", "calibration"):
            if getattr(options, name) and not options.litert:
                refusals.add(f"--{name}", "belongs to a LiteRT file", _checks.words("none"), "Add --litert.")


def _samples(name: str, path: Path | None) -> Any:
    """Reads an array, or arrays by input name; a file that would run code is refused."""
    import numpy as np

    if path is None:
        return None
    try:
        stored = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        fix = "Write it by numpy.save or numpy.savez."
        got = _checks.words(f"{path}: {error}")
        raise ValueError(_checks.refusal("export", f"--{name}", "must be a .npy or .npz file", got, fix)) from error
    if isinstance(stored, np.ndarray):
        return stored
    with stored:
        return {key: stored[key] for key in stored.files}


if __name__ == "__main__":
    sys.exit(main())
