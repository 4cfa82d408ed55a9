"""Golden values that lie beside the repository: what other libraries and exact arithmetic make of given gradients."""

import functools
import importlib
import pathlib
import sys

import numpy as np
import pytest
from keras import ops

ROOT = pathlib.Path(__file__).parents[2]
FOLDER = ROOT.parent / "shared" / "golden"
needed = pytest.mark.skipif(not FOLDER.is_dir(), reason="the golden values do not lie beside the repository")


@functools.cache
def golden(file):
    """All arrays of a file, by key."""
    return dict(np.load(FOLDER / f"{file}.npz"))


def benchmark(name):
    """A module of the folder `benchmarks`, whose modules import each other by name."""
    folder = str(ROOT / "benchmarks")
    if folder not in sys.path:
        sys.path.append(folder)
    return importlib.import_module(name)


def single(value):
    """A float32 tensor."""
    return ops.array(np.asarray(value, "float32"))


def gram_of(rows):
    """The Gramian that a user would have: of float32 gradients, in float32."""
    rows = np.asarray(rows, "float32")
    return ops.array(rows @ rows.T)
