"""Exports in processes that are killed, and then in some that run at the same time.

    python exporting.py DIRECTORY TIMES SEED DIRECTORY PROCESSES EXPORTS

Each exporting process is a fork of this one, which imports TensorFlow and never runs it, so that it starts at once.
"""

import os
import pathlib
import random
import signal
import sys
import time

import keras

import kmtl


def model(number):
    """A model whose every output is a number of its own, so that half of one and half of another would show."""
    row = keras.Input((3,), name="row")
    options = {"kernel_initializer": "zeros", "bias_initializer": keras.initializers.Constant(number)}
    outputs = {"width": keras.layers.Dense(200_000, **options)(row), "depth": keras.layers.Dense(2, **options)(row)}
    return keras.Model(row, outputs)


def export(directory, numbers):
    """Exports a model for each number, in a process of its own; returns that process."""
    process = os.fork()
    if process:
        return process
    for number in numbers:
        kmtl.export.saved_model(model(number), directory)
    os._exit(0)


def versions(directory):
    """How many versions there are."""
    return len(list(pathlib.Path(directory).glob("[0-9]*")))


def kill(directory, times, seed):
    """Kills an export at a random moment, and the next one; each has written a version at least."""
    moments = random.Random(seed)
    for number in range(times):
        before = versions(directory)
        process = export(directory, range(100 * number, 100 * number + 100))
        while versions(directory) == before:
            time.sleep(0.001)
        time.sleep(0.4 * moments.random())
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)


def together(directory, processes, exports):
    """Exports from several processes at the same time."""
    started = [export(directory, range(100 * number, 100 * number + exports)) for number in range(processes)]
    sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in started))


if __name__ == "__main__":
    kill(sys.argv[1], *map(int, sys.argv[2:4]))
    together(sys.argv[4], *map(int, sys.argv[5:]))
