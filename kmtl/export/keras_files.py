"""Reads a `.keras` file for an export, and says in one sentence what is wrong with one that cannot be read."""

import importlib
import os
import re
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from kmtl import _checks

_CLASS = re.compile(r"Could not locate (?:class|function) '([^']+)'")


def load_keras(path: str | os.PathLike[str], modules: Sequence[str] = ()) -> Any:
    """Loads a model that `model.save` wrote.

    The file runs no code: a lambda in it is refused (Keras's `safe_mode` stays on), and what is not Keras's or kmtl's
    own must be registered by a module that the caller names.

    Args:
        path: The file, ending in `.keras`.
        modules: Modules to import first, which register custom layers, losses or metrics.

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
            refusals.add("path", "must be a .keras file", str(file), "Save one by model.save('name.keras').")
        elif not zipfile.is_zipfile(file):
            got = _checks.words(f"{file}, which is no zip archive or is cut off")
            refusals.add("path", "must be a whole .keras file", got, "Save or copy it again.")
    try:
        return keras.saving.load_model(file)
    except Exception as error:
        rule, got, fix = _cause(file, error)
        raise ValueError(_checks.refusal("load_keras", "path", rule, _checks.words(got), fix)) from error


def _import(refusals: _checks.Refusals, modules: Sequence[str]) -> None:
    """Imports modules as `python -m` would find them, and records those that are not there."""
    if os.curdir not in sys.path and "" not in sys.path:
        sys.path.append(os.curdir)
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError as error:
            refusals.add("modules", "must be modules that Python finds", module, str(error))


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
    first = next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)
    return "must be a whole .keras file", f"{file}: {first}", "Save or copy it again."
