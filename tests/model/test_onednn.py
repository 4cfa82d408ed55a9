"""When `fit` tells that oneDNN is off, by texts of `/proc/cpuinfo`, and that it tells it once."""

import os
import subprocess
import sys
import textwrap

import pytest

from kmtl.model.onednn import hint

AVX2 = "processor\t: 0\nvendor_id\t: AuthenticAMD\nflags\t\t: fpu sse4_2 avx avx2 fma bmi2\nbugs\t\t: spectre_v1\n"
AVX512 = "vendor_id\t: GenuineIntel\nflags\t\t: fpu avx2 fma avx512f avx512_vnni\n"
# AVX-512 of the first generation, without its instructions for neural networks: off by default, too.
SKYLAKE = "vendor_id\t: GenuineIntel\nflags\t\t: fpu avx2 fma avx512f avx512dq avx512vl\n"
OLD = "vendor_id\t: GenuineIntel\nflags\t\t: fpu sse4_2 avx\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd bf16\n"


@pytest.mark.parametrize(
    ("cpuinfo", "setting", "words"),
    [
        (AVX2, None, "as by default"),
        (AVX2, "0", "by TF_ENABLE_ONEDNN_OPTS=0"),
        (AVX2, "1", ""),
        (SKYLAKE, None, "as by default"),
        (AVX512, None, ""),
        (AVX512, "0", "by TF_ENABLE_ONEDNN_OPTS=0"),
        (OLD, "0", ""),
        (ARM, None, ""),
        ("", None, ""),
    ],
)
def test_the_hint_comes_where_it_is_off_and_would_help(cpuinfo, setting, words):
    told = hint(cpuinfo, setting)
    assert bool(told) == bool(words)
    assert words in told
    assert not told or "set TF_ENABLE_ONEDNN_OPTS=1 before" in told


@pytest.mark.long
def test_fit_tells_it_once_and_only_where_it_prints_and_kmtl_sets_nothing():
    program = """
        import os
        import keras, numpy as np, kmtl
        assert os.environ["TF_ENABLE_ONEDNN_OPTS"] == "0"
        row = keras.Input((2,), name="row")
        model = kmtl.MultiTaskModel.from_features(row, row, [kmtl.Regression("age")])
        model.compile("adam", run_eagerly=True)
        for verbose in (0, 2, 2):
            print("verbose", verbose, flush=True)
            model.fit(np.eye(2, dtype="float32"), {"age": np.array([1.0, 2.0])}, verbose=verbose)
    """
    environment = {**os.environ, "TF_ENABLE_ONEDNN_OPTS": "0"}
    command = [sys.executable, "-c", textwrap.dedent(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    parts = done.stdout.split("verbose")
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        expected = hint(file.read(), "0")
    assert [expected in part for part in parts[1:]] == [not expected, True, not expected]
