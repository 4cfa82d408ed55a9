"""Who does what where several processes share one folder: a claim ends with its process, however that ends."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows has no locks that end with their process
    fcntl = None  # type: ignore[assignment]

_CLAIM = "claim.lock"


@contextlib.contextmanager
def claim(folder: Path, *, wait: bool = False) -> Iterator[bool]:
    """Claims a folder while the block runs.

    Held by the kernel's lock on a file in it: the claim of a killed process is free at once, and no clock, host name
    or process number is compared. Where there are no such locks, every claim is granted.

    Args:
        folder: The folder; made if it is not there.
        wait: Whether to wait for another process that holds it.

    Yields:
        Whether the claim is this process's; False if another one holds it.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as name, claim(Path(name)) as mine, claim(Path(name)) as again:
    ...     mine, again
    (True, False)
    """
    folder.mkdir(parents=True, exist_ok=True)
    if fcntl is None:
        yield True
        return
    descriptor = os.open(folder / _CLAIM, os.O_CREAT | os.O_RDWR, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        os.close(descriptor)
        yield False
        return
    try:
        yield True
    finally:
        os.close(descriptor)
