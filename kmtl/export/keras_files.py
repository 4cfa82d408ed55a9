"""Reads a `.keras` file for an export, and says in one sentence what is wrong with one that cannot be read."""

import contextlib
import importlib
import os
import re
import sys
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras

from kmtl import _checks
from kmtl.export import artifacts

_CLASS = re.compile(r"Could not locate (?:class|function) '([^']+)'")
_ABSENT = re.compile(r"parent module ([\w.]+) cannot be imported")
# What Keras imports by itself when a file names it.
_IMPORTED_BY_KERAS = ("keras_hub", "keras_cv", "keras_nlp")


def load_keras(path: str | os.PathLike[str], modules: Sequence[str] = ()) -> Any:
    """Loads a model that `model.save` wrote.

    The file runs no code: a lambda in it is refused (Keras's `safe_mode` stays on), and what is not Keras's or kmtl's
    own must be registered by a module that the caller names. Packages that the file names (`keras_hub`) are those that
    are installed: nothing is imported from the current folder on a file's word, even if it stands in `sys.path`.

    Args:
        path: The file, ending in `.keras`.
        modules: Modules to import first, which register custom layers, losses or metrics; they may lie in the current
            folder.

    Returns:
        The model, compiled as it was.

    Raises:
        ValueError: If there is no such file, if it is truncated, no zip archive or no Keras model, or if it holds a
            lambda or a class that nothing registered.
    """
    file = Path(path)
    with _checks.Refusals("load_keras") as refusals:
        _import(refusals, modules)
        if file.suffix != ".keras" or not file.is_file():
            refusals.add(
                "path", "must be a .keras file", artifacts.told_of(file), "Save one by model.save('name.keras')."
            )
        elif not zipfile.is_zipfile(file):
            got = _checks.words(f"{file}, which is no zip archive or is cut off")
            refusals.add("path", "must be a whole .keras file", got, "Save or copy it again.")
    try:
        with _installed_only():
            return keras.saving.load_model(file)
    except Exception as error:
        rule, got, fix = _cause(file, error)
        raise ValueError(_checks.refusal("load_keras", "path", rule, _checks.words(got), fix)) from error


def _import(refusals: _checks.Refusals, modules: Sequence[str]) -> None:
    """Imports modules as `python -m` would find them, and records those that are not there."""
    for module in modules:
        of_keras = module.partition(".")[0] in _IMPORTED_BY_KERAS
        try:
            with _installed_only() if of_keras else _current_folder_too():
                importlib.import_module(module)
        except ImportError as error:
            refusals.add("modules", "must be modules that Python finds", module, str(error))


@contextlib.contextmanager
def _installed_only() -> Iterator[None]:
    """Takes the current folder out of the places that Python imports from, for a while."""
    here = os.path.realpath("")
    before = [(place, entry) for place, entry in enumerate(sys.path) if os.path.realpath(entry) == here]
    for _, entry in before:
        sys.path.remove(entry)
    try:
        yield
    finally:
        for place, entry in before:
            sys.path.insert(place, entry)


@contextlib.contextmanager
def _current_folder_too() -> Iterator[None]:
    """Lets Python import from the current folder, after all other places and for a while."""
    entry = os.getcwd()
    sys.path.append(entry)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            # The last one: the same folder may stand there for good.
            del sys.path[len(sys.path) - 1 - sys.path[::-1].index(entry)]


def _cause(file: Path, error: Exception) -> tuple[str, str, str]:
    """Says why Keras could not load a file: the rule, what was found, the way out."""
    text = str(error)
    missing = _CLASS.search(text)
    if "lambda" in text.lower():
        fix = "Replace it by a layer of your own or by keras.ops: a file must run no code."
        return "must hold no lambda", f"one in {file}", fix
    if missing:
        fix = "Register it (@keras.saving.register_keras_serializable) and name its module."
        return "must hold known classes", f"{missing.group(1)!r}, which nothing registered", fix
    absent = _ABSENT.search(text)
    if absent:
        package = absent.group(1).partition(".")[0]
        fix = f"Run: pip install {package.replace('_', '-')}"
        return "must hold classes of installed packages", f"one of {absent.group(1)!r}, which is not installed", fix
    first = next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)
    return "must be a whole .keras file", f"{file}: {first}", "Save or copy it again."
