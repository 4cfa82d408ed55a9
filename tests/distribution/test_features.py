"""Every cell of the table in `docs/distribution.md`: what works on one device works on two, and in two processes.

CI runs the features of `CORE` on two devices; `-m slow` takes the others, and two processes.
"""

import json
import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
from distribution import features

HERE = pathlib.Path(__file__).parent
DOCS = HERE.parents[1] / "docs" / "distribution.md"
#: What stands for the rest: each goes another way through the step, or through TensorFlow. The second takes several
#: steps an execution, and its last batch leaves a replica empty.
CORE = [
    "`fit` with tf.data, uneven last batch",
    "joint losses and metrics, several losses of a task",
]
#: What cannot work, by feature: a part of the refusal.
REFUSED = {"`jit_compile=True`": "keras-team/keras#19005"}
#: float16 rounds what each replica sums.
TOLERANCE = {"mixed_float16": 2e-3, "mixed_float16 with gradient accumulation": 2e-3}
SECONDS = 400
#: One device and two are tried by one process.
PROCESSES = {"one": "one,devices", "devices": "one,devices", "workers": "workers", "gpu": "gpu"}


def command(modes, part):
    """One process, or a launcher of two."""
    chosen = CORE if part else []
    program = [str(HERE / "features.py"), modes, *chosen]
    if modes == "workers":
        return [sys.executable, "-m", "kmtl.distribution", "--workers", "2", *program]
    return [sys.executable, *program]


@pytest.fixture(scope="session")
def numbers(once):
    """What each strategy gives."""

    def of(mode, part=""):
        modes = PROCESSES[mode]

        def make(path):
            environment = {**os.environ, "KMTL_FEATURES": str(path), "PYTHONPATH": os.pathsep.join(sys.path)}
            done = subprocess.run(
                command(modes, part), capture_output=True, text=True, check=False, timeout=SECONDS, env=environment
            )
            assert done.returncode == 0, done.stderr[-3000:]

        return json.loads(once(f"features-{modes}{part}.json", make).read_text())[mode]

    return of


def parameters():
    """Features on two devices and on two machines: long for those that stand for the rest, slow for the others."""
    for mode in ("devices", "workers"):
        for text in features.FEATURES:
            part = "-core" if text in CORE else ""
            # Two machines are tried in CI by other tests: a pair that trains, one that dies, the example.
            shown = part and mode == "devices"
            yield pytest.param(text, mode, part, marks=pytest.mark.long if shown else pytest.mark.slow)


@pytest.mark.parametrize(("text", "mode", "part"), list(parameters()))
def test_two_give_the_numbers_of_one(numbers, text, mode, part):
    compare(text, numbers("one", part)[text], numbers(mode, part)[text])


def compare(text, one, many):
    """Whether two devices or machines gave the numbers of one device, or the refusal that is due."""
    assert "error" not in one, one["error"]
    assert "error" not in many, many["error"]
    if text in REFUSED:
        assert REFUSED[text] in many["refused"]
        return
    assert "refused" not in many, many["refused"]
    assert set(one) == set(many)
    for key, values in one.items():
        scale = max(np.abs(np.nan_to_num(values)).max(), 0.1)
        tolerance = TOLERANCE.get(text, 1e-5) * scale
        np.testing.assert_allclose(many[key], values, rtol=0, atol=tolerance, err_msg=key)


def test_the_docs_have_this_table():
    rows = re.findall(r"^\| (.+?) \| (yes|no)[^|]* \| (yes|no)[^|]* \|$", DOCS.read_text(), re.MULTILINE)
    assert [row[0] for row in rows] == list(features.FEATURES)
    for text, *cells in rows:
        assert set(cells) == ({"no"} if text in REFUSED else {"yes"}), text
