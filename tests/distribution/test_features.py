"""Every cell of the table in `docs/distribution.md`: what works on one device works on two, and in two processes.

`-m long`, which CI runs, takes the features of `CORE` on two devices; `-m slow` takes all, and two processes.
"""

import fcntl
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
#: What stands for the rest: each goes another way through the step, or through TensorFlow.
CORE = [
    "`fit` with arrays, missing labels",
    "`fit` with tf.data, uneven last batch",
    "`evaluate`",
    "`predict`",
    "`steps_per_execution`",
    "gradient accumulation",
    "an optimizer by task",
    "frozen and unfrozen between two `fit`s",
    "mixed_float16",
    "`jit_compile=True`",
    "`BackupAndRestore`, interrupted and resumed",
]
ON_MACHINES = CORE[:5]
#: What cannot work, by feature: a part of the refusal.
REFUSED = {"`jit_compile=True`": "keras-team/keras#19005"}
#: float16 rounds what each replica sums.
TOLERANCE = {"mixed_float16": 2e-3, "mixed_float16 with gradient accumulation": 2e-3}
SECONDS = 400


def command(mode):
    """One process, or a launcher of two."""
    kind, _, part = mode.partition(" ")
    chosen = (ON_MACHINES if kind == "workers" else CORE) if part else []
    program = [str(HERE / "features.py"), kind, *chosen]
    if kind == "workers":
        return [sys.executable, "-m", "kmtl.distribution", "--workers", "2", *program]
    return [sys.executable, *program]


@pytest.fixture(scope="session")
def numbers(tmp_path_factory):
    """What each strategy gives; the processes of a parallel test run share one folder and wait for who comes first."""
    shared = tmp_path_factory.getbasetemp()
    shared = shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared

    def of(mode):
        with (shared / f"features-{mode.replace(' ', '-')}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            file = shared / f"features-{mode.replace(' ', '-')}.json"
            if not file.exists():
                environment = {**os.environ, "KMTL_FEATURES": str(file), "PYTHONPATH": os.pathsep.join(sys.path)}
                done = subprocess.run(
                    command(mode), capture_output=True, text=True, check=False, timeout=SECONDS, env=environment
                )
                assert done.returncode == 0, done.stderr[-3000:]
            return json.loads(file.read_text())

    return of


@pytest.mark.long
@pytest.mark.parametrize("text", CORE)
def test_two_devices_give_the_numbers_of_one(numbers, text):
    compare(text, numbers("one core")[text], numbers("devices core")[text])


@pytest.mark.slow
@pytest.mark.parametrize("text", ON_MACHINES)
def test_two_machines_give_the_numbers_of_one(numbers, text):
    compare(text, numbers("one core")[text], numbers("workers core")[text])


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["devices", "workers"])
@pytest.mark.parametrize("text", features.FEATURES)
def test_every_feature(numbers, text, mode):
    compare(text, numbers("one")[text], numbers(mode)[text])


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
