"""Folders that a write needs for a while: who is at work there, and what killed writes left."""

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows has no locks that end with their process
    fcntl = None  # type: ignore[assignment]

_LOCK = ".lock"
# Seconds within which a folder may have no lock yet; without locks, after which nobody writes any more.
_YOUNG, _OLD = 60.0, 7 * 24 * 3600.0


@contextlib.contextmanager
def in_use(folder: Path) -> Iterator[None]:
    """Marks a folder as in use for as long as this process lives and is within."""
    with (folder / _LOCK).open("wb") as file:
        if fcntl is not None:
            with contextlib.suppress(OSError):  # some network disks have no locks
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


def sweep(parent: Path, prefix: str) -> None:
    """Removes the folders of killed writes.

    Args:
        parent: Where they are.
        prefix: How their names begin.
    """
    for folder in parent.iterdir():
        if folder.name.startswith(prefix) and folder.is_dir() and not folder.is_symlink():
            with contextlib.suppress(OSError):  # another write may remove it at the same time
                if _is_left(folder):
                    shutil.rmtree(folder)


def _is_left(folder: Path) -> bool:
    """Whether nobody writes there: the lock of a process ends with it."""
    lock = folder / _LOCK
    age = time.time() - folder.stat().st_mtime
    if fcntl is None or not lock.exists():
        return age > _OLD
    if age < _YOUNG:
        return False
    descriptor = os.open(lock, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True
