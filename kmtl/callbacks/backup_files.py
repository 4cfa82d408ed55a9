"""Backups on disk: each whole or not there, the newest good one is found again."""

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kmtl._checks import refusal, words

_WRITING, _MANIFEST, _META = ".kmtl-writing-", "manifest.json", "meta.json"
_NAME = re.compile(r"backup-(\d{14})(?:\.(\d+))?")
_FORMAT = 1


class Backups:
    """A folder of numbered backups.

    A backup is written beside the others under another name, flushed to the disk, and renamed: one step, so that
    a process killed at any moment, or a full disk, leaves the last good one as it was. A manifest holds
    the size and SHA-256 of every file, by which a damaged one is known. Other files in the folder are left alone.

    Args:
        directory: Where they lie; made if it is not there.
        keep: How many are kept.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     backups = Backups(folder)
    ...     backups.save(7, lambda path: {"step": 7})
    ...     [(path.name, meta["step"]) for path, meta in backups.good()]
    [('backup-00000000000007', 7)]
    """

    def __init__(self, directory: str | os.PathLike[str], keep: int = 2) -> None:
        self.directory = Path(os.path.expanduser(directory))
        self.keep = keep

    def prepare(self) -> None:
        """Makes the folder and tries to write in it; clears away what a killed process left half written.

        Raises:
            OSError: If it cannot be written.
        """
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            for left in self.directory.glob(f"{_WRITING}*"):
                shutil.rmtree(left, ignore_errors=True)
            trial = self.directory / f"{_WRITING}trial"
            trial.mkdir()
            trial.rmdir()
        except OSError as error:
            rule = "must be a folder that can be written"
            got = words(f"{self.directory} ({error.strerror})")
            raise OSError(error.errno, refusal("BackupAndRestore", "backup_dir", rule, got)) from error

    def save(self, number: int, write: Callable[[Path], Mapping[str, Any]]) -> None:
        """Writes a backup and drops the oldest.

        Args:
            number: Larger is newer; of one number the later saved is newer.
            write: Writes files into the folder that it is given, and returns what is to be known of them.

        Raises:
            OSError: If it cannot be written; what was there before is as it was.
        """
        beside = self.directory / f"{_WRITING}{os.getpid()}"
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(beside, ignore_errors=True)
            # Weights and data positions are their owner's business, whatever others may read of new files.
            beside.mkdir(mode=0o700)
            (beside / _META).write_text(json.dumps(write(beside)))
            files = {path.name: _fingerprint(path) for path in sorted(beside.iterdir())}
            (beside / _MANIFEST).write_text(json.dumps({"format": _FORMAT, "files": files}))
            _flush([*beside.iterdir(), beside])
            final = self._unused(number)
            beside.rename(final)
            _flush([self.directory])
        except OSError as error:
            raise OSError(error.errno or errno.EIO, self._failed(number, error)) from error
        finally:
            shutil.rmtree(beside, ignore_errors=True)
        # Newer ones can only be damaged ones that were passed over: they do not count.
        for old in [path for path in self._numbered() if _order(path) <= _order(final)][self.keep :]:
            self._drop(old)

    def _failed(self, number: int, error: OSError) -> str:
        """What to say when a backup could not be written."""
        kept = self._numbered()
        last = f"The last one, {kept[0].name}, is untouched" if kept else "There is no earlier one"
        what = f"BackupAndRestore: the backup of step {number} could not be written to {self.directory}"
        return f"{what}: {error.strerror or error}. {last}; the model in memory is whole."

    def _unused(self, number: int) -> Path:
        """A name for a backup. One of the same number stays until the new one is there."""
        places = [place for found, place in map(_order, self._numbered()) if found == number]
        return self.directory / (f"backup-{number:014d}" + (f".{max(places) + 1}" if places else ""))

    def _numbered(self) -> list[Path]:
        """All that look like backups, newest first."""
        found = self.directory.iterdir() if self.directory.is_dir() else ()
        return sorted((path for path in found if _NAME.fullmatch(path.name) and path.is_dir()), key=_order)[::-1]

    def _drop(self, path: Path) -> None:
        """Removes a backup: renamed first, so that none is ever seen half removed."""
        gone = path.with_name(f"{_WRITING}{path.name}")
        with contextlib.suppress(OSError):
            path.rename(gone)
            shutil.rmtree(gone, ignore_errors=True)

    def good(self) -> Iterator[tuple[Path, dict[str, Any]]]:
        """Yields undamaged backups with what is known of them, newest first; warns of damaged ones.

        Raises:
            OSError: If there are backups and every one is damaged.
        """
        found, bad = 0, []
        for path in self._numbered():
            problem, meta = _examined(path)
            if problem:
                bad.append(f"{path.name}: {problem}")
                continue
            if bad:
                told = "; ".join(bad)
                text = f"BackupAndRestore: damaged backups in {self.directory} are passed over ({told})"
                warnings.warn(f"{text}; {path.name} is used.", RuntimeWarning, stacklevel=2)
                bad = []
            found += 1
            yield path, meta
        if bad and not found:
            fix = "Delete the folder to start anew, or put back a copy."
            rule = "must hold at least one undamaged backup"
            raise OSError(refusal("BackupAndRestore", "backup_dir", rule, words("; ".join(bad)), fix))

    def delete(self) -> None:
        """Removes all backups, and the folder if nothing else is in it."""
        # The oldest first: killed on the way, it leaves the newest.
        for path in reversed(self._numbered()):
            self._drop(path)
        if self.directory.is_dir() and not any(self.directory.iterdir()):
            self.directory.rmdir()


def write_arrays(path: Path, arrays: list[Any]) -> None:
    """Writes arrays of any numeric kind into one `.npz` file.

    Not HDF5: its library crashes the process some time after it has met a full disk.
    """
    kinds = np.array([array.dtype.name for array in arrays], dtype=str)
    np.savez(path, kinds=kinds, **{str(place): array for place, array in enumerate(arrays)})


def read_arrays(path: Path) -> list[Any]:
    """Reads them; types that NumPy does not know of itself, as bfloat16, come back from their bytes.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_arrays(Path(folder, "two.npz"), [np.float32(0.5), np.arange(3)])
    ...     read_arrays(Path(folder, "two.npz"))
    [array(0.5, dtype=float32), array([0, 1, 2])]
    """
    with np.load(path, allow_pickle=False) as found:
        arrays = ((found[str(place)], kind) for place, kind in enumerate(found["kinds"].tolist()))
        return [array if array.dtype.name == kind else array.view(kind) for array, kind in arrays]


def _order(path: Path) -> tuple[int, int]:
    """Number of a backup, and which of that number it is."""
    number, place = _NAME.fullmatch(path.name).groups()  # type: ignore[union-attr]
    return int(number), int(place or 0)


def _fingerprint(path: Path) -> dict[str, Any]:
    """Size and SHA-256 of a file."""
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _flush(paths: list[Path]) -> None:
    """Makes sure that files and folders are on the disk."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _examined(path: Path) -> tuple[str, dict[str, Any]]:
    """What is wrong with a backup, or nothing, and what is known of it."""
    try:
        manifest = json.loads((path / _MANIFEST).read_text())
        version = manifest["format"]
        files = manifest["files"] if version == _FORMAT else {}
        problems = [problem for name, expected in files.items() if (problem := _problem(path / name, expected))]
        if version != _FORMAT:
            return f"format {version!r} is not known", {}
        return (problems[0], {}) if problems else ("", json.loads((path / _META).read_text()))
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        return f"{_MANIFEST} is missing or damaged ({type(error).__name__})", {}


def _problem(file: Path, expected: Mapping[str, Any]) -> str:
    """What is wrong with a file."""
    if not file.is_file():
        return f"{file.name} is missing"
    size = file.stat().st_size
    if size != expected["bytes"]:
        return f"{file.name} has {size} bytes instead of {expected['bytes']}"
    return "" if _fingerprint(file) == expected else f"{file.name} has other content than was written"
