"""Every cell of the table in `docs/distribution.md`: what works on one device works on two, and in two processes.

Two processes take the features of `CORE` in the default suite, and all of them with `-m slow`.
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
#: What stands for the rest on two machines: other code of TensorFlow's runs there, but the same of kmtl's.
CORE = [
    "`fit` with arrays, missing labels",
    "`fit` with tf.data, uneven last batch",
    "`evaluate`",
    "`predict`",
    "`steps_per_execution`",
    "gradient accumulation",
]
#: What cannot work, by feature: a part of the refusal.
REFUSED = {"`jit_compile=True`": "keras-team/keras#19005"}
#: float16 rounds what each replica sums.
TOLERANCE = {"mixed_float16": 2e-3, "mixed_float16 with gradient accumulation": 2e-3}
SECONDS = 400


def command(mode):
    """One process, or a launcher of two."""
    kind, _, part = mode.partition(" ")
    program = [str(HERE / "features.py"), kind, *(CORE if part else [])]
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


@pytest.mark.parametrize("text", features.FEATURES)
def test_two_devices_give_the_numbers_of_one(numbers, text):
    compare(text, numbers("one")[text], numbers("devices")[text])


@pytest.mark.parametrize("text", CORE)
def test_two_machines_give_the_numbers_of_one(numbers, text):
    compare(text, numbers("one")[text], numbers("workers core")[text])


@pytest.mark.slow
@pytest.mark.parametrize("text", features.FEATURES)
def test_every_feature_on_two_machines(numbers, text):
    compare(text, numbers("one")[text], numbers("workers")[text])


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
