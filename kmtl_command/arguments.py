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
    about = "Compares ways to train tasks jointly, recommends one, exports multi-task models and looks at artifacts."
    made = argparse.ArgumentParser(prog="kmtl", description=about)
    commands = made.add_subparsers(dest="command", required=True)
    _add_compare(commands.add_parser("compare", help="joint training beside each task alone, on a script's data"))
    _add_recommend(commands.add_parser("recommend", help="the model to ship, found on a script's data, and why"))
    _add_report(commands.add_parser("report", help="a page of what `kmtl compare` or `kmtl recommend` found"))
    looking = commands.add_parser("inspect", help="tasks, signatures, shapes, labels and sizes of an artifact")
    looking.add_argument("artifact", help="a folder of versions, one version, a .tflite, .onnx or .keras file")
    exporting = commands.add_parser("export", help="a SavedModel, or a LiteRT or ONNX file, of a .keras file")
    exporting.add_argument("model", type=Path, help="what model.save('name.keras') wrote")
    exporting.add_argument("--to", type=Path, required=True, metavar="DIR", help="folder that the artifacts go to")
    _add_forms(exporting)
    return made


def _add_compare(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `kmtl compare`."""
    builds = "script.py:build; further functions, as script.py:build,wide, are further rows"
    _add_trainings(parser, builds, "tasks, train, test; it may define validation and recipes")
    add = parser.add_argument
    add("--seeds", type=int, help="trainings of each row, under the seeds 0, 1, ... (3)")
    add("--recipes", type=_names, metavar="A,B", help="rows: names of kmtl.training, or of the script's `recipes`")


def _add_recommend(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `kmtl recommend`."""
    _add_trainings(parser, "script.py:build", "tasks, train, validation; it may define test, for the figures")
    add = parser.add_argument
    add("--budget", type=float, default=2.0, help="cost of it all, in trainings of every task alone (2)")
    add("--seed", type=int, help="of all that is drawn (0)")
    add("--save", type=Path, metavar="FILE", help="write the model that it ships to FILE.keras")
    add("--export", type=Path, metavar="DIR", help="write it as a SavedModel to DIR/<version>")


def _add_trainings(parser: argparse.ArgumentParser, builds: str, names: str) -> None:
    """Adds what both commands that train take."""
    told = f"{builds}; build(tasks) returns a compiled model. The script defines, as values or functions: {names}"
    parser.add_argument("script", metavar="SCRIPT:BUILD", help=told)
    add = parser.add_argument
    add("--epochs", type=int, required=True, help="of one training")
    add("--batch-size", type=int, help="of arrays")
    add(
        "--folder",
        type=Path,
        metavar="DIR",
        help="keeps what is finished, for the next start; by default named after the script",
    )
    add("--report", type=Path, metavar="FILE", help="write a report: .html, .md, or a folder")
    add("--quiet", action="store_true", help="only the result, no progress")


def _add_report(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `kmtl report`."""
    parser.add_argument("folder", type=Path, metavar="DIR", help="the --folder of `kmtl compare` or `kmtl recommend`")
    parser.add_argument("--to", type=Path, metavar="FILE", help=".html, .md, or a folder; DIR/report.html if left out")
    parser.add_argument("--title", help="heading of the page")


def _names(text: str) -> list[str]:
    """Names between commas."""
    return [name.strip() for name in text.split(",")]


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
