"""How long a prediction takes."""

import functools
import time
from typing import Any

import keras
import tensorflow as tf

_REPEATS = 10


def latency(model: Any, batch: Any) -> float:
    """Seconds of a prediction of one batch, the least of several, which other work on the machine disturbs least.

    Args:
        model: A Keras model, or what predicts as one.
        batch: Inputs.
    """
    given = keras.tree.map_structure(tf.constant, batch)
    if isinstance(model, keras.Model):
        predict = tf.function(lambda x: model(x, training=False), autograph=False)
    else:
        predict = functools.partial(model.predict, verbose=0)
    seconds = []
    for _ in range(_REPEATS + 2):
        start = time.perf_counter()
        predict(given)
        seconds.append(time.perf_counter() - start)
    return min(seconds[2:])
