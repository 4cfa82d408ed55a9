"""How far several trainings are, and how long the rest will take."""

from typing import Any

import keras


class Progress:
    """Keras's own bar over all epochs of several trainings; silent where `fit` is.

    A line comes after each training. Its time is an estimate for what is left, from the seconds an epoch so far.

    Args:
        total: Epochs in all, or other units; None if nobody knows.
        verbose: As in `fit`.
        unit: What is counted.

    >>> progress = Progress(6, 0)
    >>> progress.say("nothing, since verbose is 0")
    >>> progress.add(2)
    """

    def __init__(self, total: int | None, verbose: Any, *, unit: str = "epoch") -> None:
        self.total = total
        self.done = 0
        self._bar = keras.utils.Progbar(total, verbose=1, interval=0, unit_name=unit) if verbose != 0 else None

    def say(self, text: str) -> None:
        """Tells what comes next."""
        if self._bar is not None:
            print(text, flush=True)

    def add(self, count: int) -> None:
        """Counts what is done."""
        self.done += count
        if self._bar is not None:
            self._bar.update(self.done)
            # Keras ends the line at the end only; here others write in between.
            if self.total is None or self.done < self.total:
                print(flush=True)
