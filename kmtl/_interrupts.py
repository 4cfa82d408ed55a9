"""Ctrl-C in a training: held until a step is over."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def hold_interrupts() -> Iterator[None]:
    """Holds Ctrl-C until `release_interrupts` or the end of a block; a second one goes through at once.

    TensorFlow's C++ code calls back into Python, and often does not look whether that failed: an interrupt there is
    lost, comes out as a `SystemError` or an `AttributeError`, or ends the process with the trained weights in it.
    A block inside of another one adds nothing.
    """
    former = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(former) or isinstance(former, _Held):
        yield
        return
    held = _Held(former)
    signal.signal(signal.SIGINT, held)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, former)
        held.release()


def release_interrupts() -> None:
    """Lets a Ctrl-C that is held take effect here, where nothing is half done."""
    if threading.current_thread() is threading.main_thread():
        handler = signal.getsignal(signal.SIGINT)
        if isinstance(handler, _Held):
            handler.release()


class _Held:
    """A handler that keeps the first signal and hands on the others.

    Args:
        former: The handler that it stands for.
    """

    def __init__(self, former: Callable[[int, Any], Any]) -> None:
        self.former = former
        self.came = False

    def __call__(self, number: int, frame: Any) -> None:
        if self.came:
            self.came = False
            self.former(number, frame)
        self.came = True

    def release(self) -> None:
        """Hands on what was kept."""
        if self.came:
            self.came = False
            self.former(signal.SIGINT, None)
