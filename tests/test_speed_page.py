"""The blocks of docs/speed.md run, and every setting that it names in a table exists."""

import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "speed.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.long
def test_the_blocks_run_in_a_fresh_process(tmp_path):
    # Threads are set before the first operation, so not in this process.
    end = """
assert os.environ["TF_ENABLE_ONEDNN_OPTS"] in ("0", "1")
assert tf.config.threading.get_intra_op_parallelism_threads() == 1
assert model.steps_per_execution == 16
"""
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(BLOCKS) + end], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_files_that_it_points_to_are_there():
    for link in re.findall(r"\]\(([^)#]+)\)", PAGE):
        assert (ROOT / "docs" / link).exists(), link


def test_malloc_is_set_as_the_benchmark_measures_it():
    benchmark = (ROOT / "benchmarks" / "speed.py").read_text()
    for name, value in re.findall(r"(MALLOC_\w+_)=(\d+)", PAGE):
        assert f'"{name}": "{value}"' in benchmark
