"""Exact answers of 50 digits that lie beside the repository, where they do."""

import json
from pathlib import Path

import numpy as np
import pytest
from keras import ops

FOLDER = Path(__file__).parents[4] / "shared" / "golden"
needed = pytest.mark.skipif(not FOLDER.is_dir(), reason="the golden values do not lie beside the repository")


def worst_error(balancer_of, file, key, exists=None):
    """Largest error of the direction over the cases with an answer, relative to it; and how many cases there are.

    Cases with a gradient of zero are left out, as kmtl takes such a task out. Where gradients cancel, so that the
    exact direction is 0, the error is relative to the longest gradient.

    Args:
        balancer_of: Makes the balancer.
        file: Name of the golden file.
        key: Of the exact direction.
        exists: Key of whether there is one, True or "polished".
    """
    golden = np.load(FOLDER / f"{file}.npz")
    assert "seed_base" in json.loads(str(golden["meta"]))
    errors = []
    for title in golden["cases"]:
        rows = golden[f"{title}/J"]
        lengths = np.linalg.norm(rows, axis=1)
        named = f"{title}/exact/{key}"
        if named not in golden or not lengths.all() or (exists and not settled(golden[f"{title}/exact/{exists}"])):
            continue
        exact = golden[named]
        direction = np.asarray(balancer_of().combine(ops.array(rows, dtype="float32")))
        missed, size = np.linalg.norm(direction - exact), np.linalg.norm(exact)
        errors.append(missed / (size if size > 1e-6 * lengths.min() else lengths.max()))
    return max(errors), len(errors)


def settled(mark):
    """Whether an exact answer exists and is one to trust."""
    return str(mark) in ("True", "polished")
