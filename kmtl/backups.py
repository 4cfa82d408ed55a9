"""Backups on disk: each whole or not there, the newest good one is found again."""

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from kmtl._checks import refusal, words

_PREFIX, _WRITING, _MANIFEST = "backup-", ".writing-", "manifest.json"
_FORMAT = 1


class Backups:
    """A folder of numbered backups.

    A backup is written beside the others under another name, flushed to the disk, and renamed: one step, so that
    a process killed at any moment, or a full disk, leaves the last good one as it was. A manifest holds
    the size and SHA-256 of every file, by which a damaged one is known.

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
        """Makes the folder and tries to write in it.

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

    def save(self, number: int, write: Callable[[Path], dict[str, Any]]) -> None:
        """Writes a backup and drops the oldest.

        Args:
            number: Larger is newer.
            write: Writes files into the folder that it is given, and returns what is to be known of them.

        Raises:
            OSError: If it cannot be written; what was there before is as it was.
        """
        final = self.directory / f"{_PREFIX}{number:014d}"
        beside = self.directory / f"{_WRITING}{os.getpid()}"
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(beside, ignore_errors=True)
            beside.mkdir()
            meta = write(beside)
            files = {path.name: _fingerprint(path) for path in sorted(beside.iterdir())}
            (beside / _MANIFEST).write_text(json.dumps({"format": _FORMAT, "files": files, "meta": meta}))
            _flush([*beside.iterdir(), beside])
            shutil.rmtree(final, ignore_errors=True)
            beside.rename(final)
            _flush([self.directory])
        except OSError as error:
            shutil.rmtree(beside, ignore_errors=True)
            raise OSError(error.errno, self._failed(number, error)) from error
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise
        for old in self._numbered()[self.keep :]:
            shutil.rmtree(old, ignore_errors=True)

    def _failed(self, number: int, error: OSError) -> str:
        """What to say when a backup could not be written."""
        kept = self._numbered()
        last = f"The last good one, {kept[0].name}, is untouched" if kept else "There is no earlier one"
        what = f"BackupAndRestore: the backup of step {number} could not be written to {self.directory}"
        return f"{what}: {error.strerror or error}. {last}; the model in memory is whole."

    def _numbered(self) -> list[Path]:
        """All that look like backups, newest first."""
        return sorted(self.directory.glob(f"{_PREFIX}*"), reverse=True)

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
        for path in self._numbered():
            shutil.rmtree(path, ignore_errors=True)
        if self.directory.is_dir() and not any(self.directory.iterdir()):
            self.directory.rmdir()


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
        files, version = manifest["files"], manifest["format"]
    except (OSError, ValueError, KeyError):
        return f"{_MANIFEST} is missing or damaged", {}
    if version != _FORMAT:
        return f"format {version} is not known", {}
    for name, expected in files.items():
        file = path / name
        if not file.is_file():
            return f"{name} is missing", {}
        if file.stat().st_size != expected["bytes"]:
            return f"{name} has {file.stat().st_size} bytes instead of {expected['bytes']}", {}
        if _fingerprint(file) != expected:
            return f"{name} has other content than was written", {}
    return "", manifest["meta"]
