"""Ctrl-C while a step is being traced: held until that is over."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def hold_interrupts() -> Iterator[None]:
    """Holds Ctrl-C until the end of a block; a second one goes through at once.

    TensorFlow's C++ code calls back into Python while it builds gradients, and does not look whether that failed:
    an interrupt there comes out as a `SystemError`, or ends the process with the trained weights in it.
    """
    former = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(former):
        yield
        return
    came: list[Any] = []
    signal.signal(signal.SIGINT, _keeping(came, former))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, former)
        if came:
            former(signal.SIGINT, None)


def _keeping(came: list[Any], former: Callable[[int, Any], Any]) -> Callable[[int, Any], None]:
    """A handler that keeps the first signal and hands on the others."""

    def keep(number: int, frame: Any) -> None:
        if came:
            came.clear()
            former(number, frame)
        came.append(number)

    return keep
