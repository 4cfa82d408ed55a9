"""Python functions that tf.data's threads call, ended before the interpreter is."""

import atexit
import contextlib
import threading
import time
from collections.abc import Iterator

# An iterator that nobody reads any more fills its buffers and is quiet; with calls that fail at once that takes
# milliseconds.
_QUIET, _PATIENCE = 0.1, 5.0


class Settling:
    """Counts calls, and refuses them once the process ends.

    A thread of tf.data's that asks for Python while the interpreter shuts down aborts the whole process.
    """

    def __init__(self) -> None:
        self.running = 0
        self.last = 0.0
        self.ending = False
        self.lock = threading.Lock()

    @contextlib.contextmanager
    def call(self) -> Iterator[None]:
        """Surrounds the body of such a function.

        Raises:
            RuntimeError: If the process ends.
        """
        with self.lock:
            self.running += 1
        try:
            if self.ending:
                raise RuntimeError("the process ends")
            yield
        finally:
            with self.lock:
                self.running -= 1
                self.last = time.monotonic()

    def end(self) -> None:
        """Waits until no call has come for a moment."""
        self.ending = True
        until = time.monotonic() + _PATIENCE
        while time.monotonic() < until and (self.running or time.monotonic() - self.last < _QUIET):
            time.sleep(_QUIET / 10)


settling = Settling()
atexit.register(settling.end)
