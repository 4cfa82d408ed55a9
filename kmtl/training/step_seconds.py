"""How long a training step of a model takes, measured before it is trained."""

import time
from collections.abc import Callable
from typing import Any

import tensorflow as tf

# Batches that are looked at, steps of a short run, of a long one where steps are short, and how often both are timed.
_BATCHES, _SHORT, _LONG, _TURNS = 4, 2, 17, 3
# Of a long run, where steps are long: what a run takes beside its steps counts for little there.
_SECONDS, _FEWEST = 1.0, 6


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
    step = seconds(_SHORT) / _SHORT
    long = min(max(int(_SECONDS / max(step, 1e-6)), _FEWEST), _LONG)
    spans = [(seconds(long) - seconds(_SHORT)) / (long - _SHORT) for _ in range(_TURNS)]
    return max(min(spans), 1e-6)
