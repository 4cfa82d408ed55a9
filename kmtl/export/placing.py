"""Puts a finished artifact where it belongs in one rename, so that no reader ever sees half of it."""

import contextlib
import errno
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf

from kmtl import _checks

_PREFIX = ".writing-"
# What the other exports write, and may lie beside the versions.
_OWN = (".tflite", ".onnx")
_DAY = 24 * 60 * 60.0
_LARGEST = 2**63 - 1


def refuse_folder(refusals: _checks.Refusals, argument: str, folder: Path) -> None:
    """Records a folder that cannot be made or written to."""
    for path in (folder, *folder.parents):
        if path.exists():
            if not path.is_dir():
                refusals.add(argument, "must lie in a folder", str(path), "That is a file: choose another place.")
            elif not os.access(path, os.W_OK | os.X_OK):
                refusals.add(argument, "must lie in a folder that you may write to", str(path))
            return


def refuse_file(refusals: _checks.Refusals, target: Path, suffix: str) -> None:
    """Records a `path` that cannot become a file with a suffix."""
    if target.suffix != suffix:
        fix = f"Write {str(target.with_suffix(suffix))!r}." if target.name else "Name a file."
        refusals.add("path", f"must end in {suffix}", str(target), fix)
    if target.is_dir():
        refusals.add("path", "must be a file", str(target), "That is a folder: name a file inside it.")
    refuse_folder(refusals, "path", target.parent)


def refuse_foreign(refusals: _checks.Refusals, folder: Path) -> None:
    """Records a folder that is no home of a model's versions: a version itself, or full of something else."""
    if (folder / "saved_model.pb").exists():
        rule = "must be the folder that holds the versions, not a version"
        refusals.add("directory", rule, str(folder), "Pass its parent or an empty folder.")
        return
    found = list(folder.iterdir()) if folder.is_dir() else []
    visible = [path for path in found if not path.name.startswith(".") and path.suffix not in _OWN]
    if visible and not any((path / "saved_model.pb").is_file() for path in visible if number(path) is not None):
        got = _checks.words(f"{folder}, where {visible[0].name!r} lies")
        refusals.add("directory", "must be empty or hold versions of a model", got, "Choose a folder of its own.")


def refuse_version(refusals: _checks.Refusals, folder: Path, version: Any) -> None:
    """Records a version that a server would not find, or that is there already."""
    if version is None:
        return
    if not _checks.is_whole(version) or not 1 <= version <= _LARGEST:
        fix = "Servers take folders named by a number of 64 bits; leave it out for the next one."
        refusals.add("version", "must be a whole number of at least 1 and below 2**63", version, fix)
    elif folder.is_dir() and int(version) in versions(folder):
        fix = f"Versions are never overwritten. Leave it out for {next_version(folder)}, or delete the old one."
        refusals.add("version", "must be new", version, fix)


@contextlib.contextmanager
def beside(folder: Path) -> Iterator[Path]:
    """Gives a hidden scratch folder inside `folder`, on the same disk, and removes it afterwards.

    Folders made on the way are removed again if nothing came to lie in them. A process that is killed leaves the
    scratch folder, `.writing-...`, which servers ignore because its name is no number; the next export that finds it
    a day old removes it.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    _sweep(folder)
    try:
        with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=folder) as scratch:
            yield Path(scratch)
    finally:
        for path in made:
            with contextlib.suppress(OSError):
                path.rmdir()


@contextlib.contextmanager
def explain_disk_errors(owner: str, folder: Path) -> Iterator[None]:
    """Turns what TensorFlow says of a full disk into an `OSError` that names the folder."""
    try:
        yield
    except (tf.errors.OpError, OSError) as error:
        if isinstance(error, FileExistsError):
            raise
        number, reason = _cause(error)
        raise OSError(number, f"{owner}: could not write below {folder}; nothing was left there. {reason}") from error


def _cause(error: Exception) -> tuple[int, str]:
    """Returns the number and the words of what the system said; TensorFlow puts them behind much else."""
    if isinstance(error, OSError):
        return error.errno or errno.EIO, error.strerror or str(error)
    words = str(error).partition(" [Op:")[0].rpartition("; ")[2].strip()
    numbers = {os.strerror(number): number for number in errno.errorcode}
    return numbers.get(words, errno.EIO), words


def _sweep(folder: Path) -> None:
    """Removes what exports left that were killed long ago."""
    for path in folder.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # another export may remove it at the same time
            if time.time() - path.stat().st_mtime > _DAY:
                shutil.rmtree(path)


def number(path: Path) -> int | None:
    """Returns the version that a folder is named by, or None; a server reads `007` as 7."""
    return int(path.name) if path.name.isascii() and path.name.isdecimal() else None


def versions(directory: Path) -> list[int]:
    """Returns the versions in `directory` in ascending order; whatever is not named by a number is ignored."""
    return sorted(version for path in directory.iterdir() if (version := number(path)) is not None)


def next_version(directory: Path) -> int:
    """Returns one more than the highest version in `directory`."""
    return 1 + max(versions(directory), default=0)


def place_version(finished: Path, directory: Path, version: int | None = None) -> Path:
    """Renames `finished` to a version, once all of it is on the disk.

    Args:
        finished: A folder in which nothing is missing.
        directory: Where it goes.
        version: Its number. None takes the next free one, and the one after if another export is faster.

    Raises:
        FileExistsError: If the version came to be meanwhile.
    """
    _flush(finished)
    while True:
        target = directory / str(version or next_version(directory))
        try:
            return finished.rename(target)
        except OSError as error:
            if not target.exists():
                raise
            if version is not None:
                told = f"saved_model: version {version} was written by another export meanwhile; nothing was changed."
                raise FileExistsError(told) from error


def _flush(folder: Path) -> None:
    """Waits until the files are on the disk, so that after a power failure no name stands for half a file."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
