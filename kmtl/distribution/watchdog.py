"""Ends a process that stands still in code that holds Python's lock, where no exception can be raised."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# The end of its input tells the watcher that the block, or the whole process, has ended.
_WATCHER = """
import os, select, signal, sys
seconds, process, message = float(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
if not select.select([sys.stdin], [], [], seconds)[0]:
    print(message, file=sys.stderr, flush=True)
    os.kill(process, signal.SIGKILL)
"""


@contextmanager
def time_limit(seconds: float, message: str) -> Iterator[None]:
    """Ends this process if the block takes too long, after a message to its error output.

    A small second process watches; it goes when the block, or this process, ends.

    Args:
        seconds: Time that the block may take.
        message: What the error output then says.

    >>> with time_limit(60.0, "never shown"):
    ...     sum(range(10))
    45
    """
    command = [sys.executable, "-I", "-S", "-c", _WATCHER, str(seconds), str(os.getpid()), message]
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True):
        yield
