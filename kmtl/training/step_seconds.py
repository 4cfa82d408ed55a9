"""How long a training step of a model takes, measured before it is trained."""

import time
from collections.abc import Callable
from typing import Any

import tensorflow as tf

# Batches that are looked at, steps of a long and a short run, and how often both are timed.
_BATCHES, _LONG, _SHORT, _TURNS = 4, 17, 2, 3


def step_seconds(make: Callable[[], Any], data: Any) -> float:
    """Seconds of one training step: what a long run takes more than a short one, a step, the least of three turns.

    Without a GPU they are seconds of the processor, which other work on the machine does not lengthen.

    Args:
        make: Makes a compiled model; it is trained, and thrown away.
        data: Batches, of which the first few are taken.
    """
    model = make()
    model.adapt(data)
    held = data.take(_BATCHES).cache().repeat()

    clock = time.perf_counter if tf.config.list_physical_devices("GPU") else time.process_time

    def seconds(steps: int) -> float:
        start = clock()
        model.fit(held, steps_per_epoch=steps, epochs=1, verbose=0, check=False)
        return clock() - start

    seconds(1)
    spans = [(seconds(_LONG) - seconds(_SHORT)) / (_LONG - _SHORT) for _ in range(_TURNS)]
    return max(min(spans), 1e-6)
