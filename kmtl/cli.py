"""What the command `kmtl` does, by the functions of `kmtl.evidence` and `kmtl.export`."""

import argparse
import inspect
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import kmtl_command
from kmtl import _checks, evidence, export, training
from kmtl._user_script import UserScript

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
        for line in _COMMANDS[options.command](options):
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


def _compare(options: argparse.Namespace) -> list[str]:
    """Compares the script's model under several recipes."""
    _refuse_places(options)
    script = UserScript(options.script, options.command)
    given = script.values(("tasks", "train", "test"), ("validation", "recipes"))
    recipes = _recipes(options.recipes, given.pop("recipes", None))
    build, *others = script.functions.values()
    builds = dict(zip(list(script.functions)[1:], others, strict=True))
    rows = {"recipes": recipes, "builds": builds or None}
    result = _result(options, script, build, given, {key: value for key, value in rows.items() if value is not None})
    return [str(result), *_kept(options, script, result)]


def _recommend(options: argparse.Namespace) -> list[str]:
    """Recommends a model for the script's tasks, and writes it."""
    _refuse_places(options)
    script = UserScript(options.script, options.command)
    if len(script.functions) > 1:
        got = list(script.functions)
        raise ValueError(
            _checks.refusal("recommend", "script", "must name one function", got, "`kmtl compare` takes several.")
        )
    (build,) = script.functions.values()
    given = script.values(("tasks", "train", "validation"), ("test",))
    result = _result(options, script, build, given, {"budget": options.budget})
    shown = {"model": result.model, "data": given["test"]} if "test" in given else {}
    written = []
    if options.save:
        options.save.parent.mkdir(parents=True, exist_ok=True)
        result.model.save(options.save)
        written.append(options.save)
    if options.export:
        written.append(export.saved_model(result.model, options.export))
    return [str(result), *_kept(options, script, result, **shown), *map(str, written)]


def _report(options: argparse.Namespace) -> list[str]:
    """Writes the report of what a folder holds."""
    result = evidence.load(options.folder)
    title = {} if options.title is None else {"title": options.title}
    return [str(evidence.report(result, **title).save(options.to or options.folder / "report.html"))]


def _result(options: argparse.Namespace, script: UserScript, build: Any, given: Any, more: Any) -> Any:
    """Does what both commands that train do: the function of `kmtl.evidence` that bears the command's name."""
    chosen = {name: getattr(options, name, None) for name in ("seed", "seeds", "batch_size")}
    chosen["verbose"] = 0 if options.quiet else None
    chosen = {name: value for name, value in chosen.items() if value is not None}
    function = getattr(evidence, options.command)
    with script.told():
        return function(build, **given, **more, **chosen, epochs=options.epochs, folder=_folder(options, script))


def _folder(options: argparse.Namespace, script: UserScript) -> Path:
    """Where finished trainings are kept."""
    return options.folder or Path(f"{script.name}_{options.command}")


def _kept(options: argparse.Namespace, script: UserScript, result: Any, **shown: Any) -> list[str]:
    """Writes the report, if wanted, and tells where things are."""
    pages = [str(evidence.report(result, **shown).save(options.report))] if options.report else []
    return [*pages, f"kept in {_folder(options, script)}"]


def _refuse_places(options: argparse.Namespace) -> None:
    """Refuses files that could not be written, before anything is trained."""
    with _checks.Refusals(options.command) as refusals:
        if options.report and options.report.suffix not in ("", ".html", ".md"):
            refusals.add("--report", "must end in .html or .md, or be a folder", str(options.report))
        if getattr(options, "save", None) and options.save.suffix != ".keras":
            refusals.add("--save", "must end in .keras", str(options.save))


def _recipes(names: list[str] | None, own: Mapping[str, Any] | None) -> Any:
    """The recipes by name: those of the script, or of kmtl as they are without settings; None for the usual rows."""
    if names is None:
        return own
    kinds = {name: getattr(training, name) for name in training.__all__ if name != "Recipe"}
    known = {name: kind for name, kind in kinds.items() if inspect.isclass(kind) and issubclass(kind, training.Recipe)}
    found = {}
    with _checks.Refusals("compare") as refusals:
        for name in names:
            if name not in {**known, **(own or {})}:
                fix = _checks.near(name, {**(own or {}), **known})
                refusals.add("--recipes", "must be of kmtl.training or of the script", name, fix)
                continue
            try:
                found[name] = own[name] if own and name in own else known[name]()
            except TypeError:
                fix = f"Put it into the script: recipes = {{'{name.lower()}': kmtl.training.{name}(...)}}."
                refusals.add("--recipes", "must need no settings", name, fix)
    return found


_COMMANDS = {
    "compare": _compare,
    "recommend": _recommend,
    "report": _report,
    "inspect": _inspect,
    "export": _export,
}

if __name__ == "__main__":
    sys.exit(main())
