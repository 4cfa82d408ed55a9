"""Puts a finished artifact where it belongs in one rename, so that no reader ever sees half of it."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from kmtl import _checks


def refuse_folder(refusals: _checks.Refusals, argument: str, folder: Path) -> None:
    """Records a folder that cannot be made because a file stands in its way."""
    for path in (folder, *folder.parents):
        if path.exists():
            if not path.is_dir():
                refusals.add(argument, "must lie in a folder", str(path), "That is a file: choose another place.")
            return


@contextlib.contextmanager
def beside(folder: Path) -> Iterator[Path]:
    """Gives a hidden scratch folder inside `folder`, on the same disk, and removes it afterwards.

    Folders made on the way are removed again if nothing came to lie in them. A process that is killed leaves the
    scratch folder, `.writing-...`, which servers ignore because its name is no number.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix=".writing-", dir=folder) as scratch:
            yield Path(scratch)
    finally:
        for path in made:
            with contextlib.suppress(OSError):
                path.rmdir()


def next_version(directory: Path) -> int:
    """Returns one more than the highest version in `directory`; whatever is not named by a number is ignored."""
    names = [path.name for path in directory.iterdir()]
    return 1 + max((int(name) for name in names if name.isascii() and name.isdecimal()), default=0)


def place_version(finished: Path, directory: Path) -> Path:
    """Renames `finished` to the next free version; when another export takes that number first, to the one after."""
    while True:
        target = directory / str(next_version(directory))
        try:
            return finished.rename(target)
        except OSError:
            if not target.exists():
                raise
