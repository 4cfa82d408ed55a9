"""The command `kmtl`: exports a saved model and looks at artifacts, by the functions of `kmtl.export`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kmtl import _checks, export

_REFUSED = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        arguments: What stands behind `kmtl`; None takes them from the command line.

    Returns:
        The exit status: 0, or 2 with one message if something is refused, not there or not installed.
    """
    options = _parser().parse_args(arguments)
    try:
        for line in options.run(options):
            print(line)
    except (ValueError, OSError, ImportError) as error:
        print(f"kmtl {options.command}: {error}", file=sys.stderr)
        return _REFUSED
    return 0


def _parser() -> argparse.ArgumentParser:
    """Spells the command's arguments."""
    parser = argparse.ArgumentParser(prog="kmtl", description="Exports multi-task models and looks at artifacts.")
    commands = parser.add_subparsers(dest="command", required=True)
    looking = commands.add_parser("inspect", help="tasks, signatures, shapes, labels and sizes of an artifact")
    looking.add_argument("artifact", help="a folder of versions, one version, a .tflite, .onnx or .keras file")
    looking.set_defaults(run=_inspect)
    exporting = commands.add_parser("export", help="a SavedModel, or a LiteRT or ONNX file, of a .keras file")
    exporting.add_argument("model", type=Path, help="what model.save('name.keras') wrote")
    exporting.add_argument("--to", type=Path, required=True, metavar="DIR", help="folder that the artifacts go to")
    _add_forms(exporting)
    exporting.set_defaults(run=_export)
    return parser


def _add_forms(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `kmtl export`."""
    add = parser.add_argument
    add("--tasks", metavar="TASK", nargs="+", help="the tasks to export; all if left out")
    add("--import", metavar="MODULE", dest="modules", nargs="+", default=(), help="modules with registered layers")
    add("--saved-model", action="store_true", help="write DIR/<version>: the default if no other form is named")
    add("--version", type=int, help="number of the SavedModel's version; the next one if left out")
    add("--decode", action="store_true", help="add signatures that give labels, probabilities and values")
    add("--images", action="store_true", help="add signatures that take JPEG or PNG files, scaled to 0..1")
    add("--warmup", type=Path, metavar="FILE", help="samples (.npy, or .npz by input name) that servers run at start")
    add("--litert", action="store_true", help="write DIR/<name>.tflite")
    add("--quantize", choices=("float16", "dynamic", "int8", "int8_io"), help="of the LiteRT file")
    add("--calibration", type=Path, metavar="FILE", help="samples that int8 is calibrated on (.npy or .npz)")
    add("--tolerance", type=float, default=0.01, help="relative loss of quality that quantizing may cost (0.01)")
    add("--onnx", action="store_true", help="write DIR/<name>.onnx")


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
