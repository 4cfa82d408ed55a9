"""What an artifact on disk is: its form and its size."""

from pathlib import Path

from kmtl import _checks

_SUFFIXES = {".tflite": "LiteRT", ".onnx": "ONNX", ".keras": "Keras"}
_DESCRIBED = {"SavedModel": "the folder of one SavedModel", "LiteRT": "a .tflite file", "ONNX": "an .onnx file"}


def form_of(path: Path) -> str:
    """Returns `"SavedModel"`, `"LiteRT"`, `"ONNX"` or `"Keras"`, and nothing for what is none."""
    if (path / "saved_model.pb").is_file():
        return "SavedModel"
    return _SUFFIXES.get(path.suffix, "") if path.is_file() else ""


def told_of(path: Path) -> str:
    """Returns a path for a message, which says so if nothing is there.

    >>> print(told_of(Path("no/such.tflite")))
    no/such.tflite, where nothing is
    """
    return str(path) if path.exists() else _checks.words(f"{path}, where nothing is")


def size_of(path: Path) -> int:
    """Returns the bytes of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def refuse_form(refusals: _checks.Refusals, path: Path, *forms: str) -> bool:
    """Records an artifact of another form than these; tells whether it did."""
    if form_of(path) in forms:
        return False
    *others, last = (_DESCRIBED[form] for form in forms)
    versions = sorted(entry.parent.name for entry in path.glob("*/saved_model.pb"))
    fix = f"Pass one of its versions: {', '.join(versions)}." if versions else "Export the model first."
    rule = f"must be {', '.join(others)} or {last}" if others else f"must be {last}"
    refusals.add("artifact", rule, told_of(path), fix)
    return True
