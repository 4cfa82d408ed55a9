"""A process that stands still with Python's lock held is ended, with a word."""

import subprocess
import sys
import time

from kmtl.distribution import watchdog

PROGRAM = """
import ctypes, runpy, sys
time_limit = runpy.run_path(sys.argv[1])["time_limit"]
with time_limit(0.5, "the reason"):
    ctypes.PyDLL(None).sleep(60)  # holds the lock, as TensorFlow's start does
"""


def test_a_process_that_stands_still_is_ended_and_says_why():
    command = [sys.executable, "-c", PROGRAM, watchdog.__file__]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == -9
    assert done.stderr == "the reason\n"


def test_the_watcher_goes_with_its_block(capfd):
    begin = time.monotonic()
    with watchdog.time_limit(60.0, "never"):
        pass
    assert time.monotonic() - begin < 10.0
    assert capfd.readouterr().err == ""
