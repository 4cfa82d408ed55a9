"""The README's code runs as it stands, and the README keeps its size."""

import pathlib
import re

import pytest

README = pathlib.Path(__file__).parents[1] / "README.md"


def blocks():
    """The Python blocks of the README."""
    return re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)


def test_readme_is_short():
    assert len(README.read_text().splitlines()) < 200


def test_the_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (code,) = blocks()
    # The same lines on two batches an epoch.
    small = code.replace("epochs=10", "epochs=1, steps_per_epoch=2, validation_steps=1, verbose=0")
    small = small.replace('load("digit_poses")', f'load("digit_poses", data_dir={str(tmp_path)!r})')
    assert small.count("steps_per_epoch") == 1
    assert small.count("data_dir") == 1
    exec(compile(small, str(README), "exec"), {})
    assert (tmp_path / "saved_models" / "digit_poses" / "1" / "saved_model.pb").exists()


def test_the_balancer_table_names_what_exists():
    from kmtl import balancers

    table = re.search(r"## Balancers\n(.*?)\n## ", README.read_text(), flags=re.DOTALL)
    if table is None:
        pytest.fail("the README has no section on balancers")
    listed = re.findall(r"^\| `(\w+)`", table.group(1), flags=re.MULTILINE)
    assert sorted(listed) == balancers.names()
