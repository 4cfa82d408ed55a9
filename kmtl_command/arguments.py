"""What stands behind `kmtl`."""

import argparse
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        arguments: What stands behind `kmtl`; None takes them from the command line.

    Returns:
        The exit status: 0, or 2 with one message if something is refused, not there or not installed.
    """
    options = parser().parse_args(arguments)
    from kmtl import cli

    return cli.run(options)


def parser() -> argparse.ArgumentParser:
    """Spells the command's arguments."""
    made = argparse.ArgumentParser(prog="kmtl", description="Exports multi-task models and looks at artifacts.")
    commands = made.add_subparsers(dest="command", required=True)
    looking = commands.add_parser("inspect", help="tasks, signatures, shapes, labels and sizes of an artifact")
    looking.add_argument("artifact", help="a folder of versions, one version, a .tflite, .onnx or .keras file")
    exporting = commands.add_parser("export", help="a SavedModel, or a LiteRT or ONNX file, of a .keras file")
    exporting.add_argument("model", type=Path, help="what model.save('name.keras') wrote")
    exporting.add_argument("--to", type=Path, required=True, metavar="DIR", help="folder that the artifacts go to")
    _add_forms(exporting)
    return made


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
