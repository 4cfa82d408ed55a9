"""What a library's C++ prints past Python, held back until it is known whether it matters."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import IO

_LAST_LINES = 5
_LONGEST_LINE = 300


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Holds back what is printed to the process's error output.

    It is printed afterwards if all went well. Of an error the last lines become a note: MLIR prints pages.

    >>> with held_back():
    ...     os.write(2, b"")
    0
    """
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held, contextlib.ExitStack() as after:
        before = os.dup(2)
        after.callback(os.close, before)
        os.dup2(held.fileno(), 2)
        try:
            yield
        except Exception as error:
            _restore(before)
            lines = _text(held).strip().splitlines()[-_LAST_LINES:]
            if lines:
                error.add_note("Printed last: " + "\n".join(line[:_LONGEST_LINE] for line in lines))
            raise
        finally:
            _restore(before)
        os.write(2, _text(held).encode())


def _restore(descriptor: int) -> None:
    """Lets the error output go where it went."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.flush()
    os.dup2(descriptor, 2)


def _text(held: IO[bytes]) -> str:
    """What was printed so far."""
    held.seek(0)
    return held.read().decode(errors="replace")
