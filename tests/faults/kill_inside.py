"""Kills processes at one line after the other of `backup_files`: `python kill_inside.py FOLDER PACKAGE STRIDE`.

Each process saves backups 1, 2, 2 again and 3, and deletes them all. After its death the folder must hold an undamaged
backup, no older than the last that was saved, or none if that was being deleted. Prints how many were killed.
"""

import os
import shutil
import signal
import sys
import types
import warnings
from pathlib import Path

import numpy as np

if __name__ == "__main__":
    # The package's own `__init__` brings TensorFlow, with which it takes ten times as long to fork.
    sys.modules["kmtl"] = types.ModuleType("kmtl")
    sys.modules["kmtl"].__path__ = [sys.argv[2]]
import kmtl.callbacks.backup_files
from kmtl.callbacks.backup_files import Backups, read_arrays, write_arrays

NUMBERS = [1, 2, 2, 3]


def written(number):
    def write(path):
        write_arrays(path / "state.npz", [np.full(50, number)])
        return {"number": number}

    return write


def killer(line):
    """A trace function that kills this process before the so many-th line of the module, or of what removes folders."""
    left = [line]

    def trace(frame, event, _):
        if frame.f_code.co_filename not in (kmtl.callbacks.backup_files.__file__, shutil.__file__):
            return None
        left[0] -= event == "line"
        if left[0] <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace

    return trace


def child(folder, line, told):
    """Saves and deletes, and tells what it has done."""
    backups = Backups(folder, keep=1)
    sys.settrace(killer(line))
    for number in NUMBERS:
        backups.save(number, written(number))
        os.write(told, b"s")
    os.write(told, b"d")
    backups.delete()
    os._exit(0)


def survived(folder, line):
    """Runs one process; whether it was killed."""
    read, told = os.pipe()
    process = os.fork()
    if process == 0:
        child(folder, line, told)
    os.close(told)
    _, status = os.waitpid(process, 0)
    done = os.read(read, 100).decode()
    os.close(read)
    check(Backups(folder), done)
    return os.WIFSIGNALED(status)


def check(backups, done):
    """What is found must be whole and the last."""
    backups.prepare()
    found = [(meta["number"], read_arrays(path / "state.npz")[0]) for path, meta in backups.good()]
    assert all((array == number).all() for number, array in found), found
    saved = done.count("s")
    last = NUMBERS[saved - 1] if saved else 0
    newest = found[0][0] if found else 0
    coming = NUMBERS[saved] if saved < len(NUMBERS) else last
    assert newest in ({0, last} if "d" in done else {last, coming}), (done, newest)
    assert not [path for path in backups.directory.iterdir() if path.name.startswith(".")]


def main(folder, stride):
    # A damaged backup would be told by a warning.
    warnings.simplefilter("error")
    line = 1
    while survived(Path(folder, str(line)), line):
        line += stride
    print(line // stride)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[3]))
