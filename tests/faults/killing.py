"""Runs programs, and kills them."""

import os
import pathlib
import queue
import subprocess
import sys
import threading
import time

import numpy as np

import kmtl

PROGRAM = pathlib.Path(__file__).with_name("program.py")
SECONDS = 180


class Run:
    """One process of a program, whose lines are read as they come.

    Args:
        arguments: Its arguments.
        folder: Where its error output goes.
        environment: Variables besides this process's own.
        program: Which program.
    """

    def __init__(self, arguments, folder, environment=None, program=PROGRAM):
        paths = f"{pathlib.Path(kmtl.__file__).parents[1]}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
        environment = {**os.environ, "PYTHONPATH": paths, "TF_CPP_MIN_LOG_LEVEL": "3", **(environment or {})}
        pathlib.Path(folder).mkdir(exist_ok=True)
        command = [sys.executable, str(program), *map(str, arguments)]
        self.errors = open(pathlib.Path(folder, f"errors-{time.monotonic_ns()}.txt"), "w+")  # noqa: SIM115 - as long as the process
        options = {"stdout": subprocess.PIPE, "stderr": self.errors, "text": True, "start_new_session": True}
        self.process = subprocess.Popen(command, env=environment, **options)
        self.lines = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        with self.process.stdout:
            for line in self.process.stdout:
                self.lines.put(line.strip())
        self.lines.put(None)

    def until(self, wanted):
        """Reads up to a line that a function wants; returns it, None if the process ended before."""
        while (line := self.lines.get(timeout=SECONDS)) is not None and not wanted(line):
            pass
        return line

    def kill(self):
        """Ends it as a power cut does; returns whether it was still running."""
        running = self.process.poll() is None
        self.process.kill()
        self.process.wait(SECONDS)
        self.errors.close()
        return running

    def end(self):
        """Waits for its end; returns its exit code and its last error lines."""
        code = self.process.wait(SECONDS)
        self.errors.seek(0)
        text = self.errors.read()
        self.errors.close()
        return code, text


def step_of(line):
    """The number of a line `step 7`, -1 of another."""
    return int(line.split()[1]) if line.startswith("step ") else -1


def killed(variant, folder, moment, environment=None):
    """Runs it until a moment: a step and some seconds after it; step 0 is before the first. Whether it was killed."""
    run, (step, seconds) = Run([variant, folder], folder, environment), moment
    if run.until(lambda line: step_of(line) >= step if step else line == "begun") is not None:
        time.sleep(seconds)
    return run.kill()


def finished(variant, folder, environment=None):
    """Runs it to its end; returns its result."""
    code, errors = Run([variant, folder], folder, environment).end()
    assert code == 0, errors[-3000:]
    return result(folder)


def result(folder, rank=0):
    with np.load(pathlib.Path(folder, f"result-{rank}.npz")) as found:
        return dict(found)


def different(one, other):
    """Names of what is not the same to the last bit."""
    return [key for key in {**one, **other} if key not in one or key not in other or not _equal(one[key], other[key])]


def _equal(one, other):
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


def moments(generator, number, steps):
    """Moments all over a training, one after the other: the first before any step, the others also inside of saves."""
    chosen = np.sort(generator.integers(1, steps, number - 1))
    return [(0, generator.uniform(0, 3)), *((int(step), generator.uniform(0, 0.06)) for step in chosen)]
