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


@pytest.mark.long
def test_the_example_runs(prepared, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (code,) = blocks()
    # The same lines on two batches an epoch.
    small = code.replace("epochs=10", "epochs=1, steps_per_epoch=2, validation_steps=1, verbose=0")
    small = small.replace('load("digit_poses")', f'load("digit_poses", data_dir={str(prepared)!r})')
    assert small.count("steps_per_epoch") == 1
    assert small.count("data_dir") == 1
    exec(compile(small, str(README), "exec"), {})
    assert (tmp_path / "saved_models" / "digit_poses" / "1" / "saved_model.pb").exists()


@pytest.mark.parametrize("page", ["README.md", "docs/balancers.md"])
def test_the_balancer_tables_name_what_exists(page):
    from kmtl import balancers

    text = (README.parent / page).read_text()
    table = re.search(r"## (?:Balancers|The table)\n(.*?)\n(?:Cheaper|## )", text, flags=re.DOTALL)
    if table is None:
        pytest.fail("no section on balancers")
    rows = [line.split("|") for line in table.group(1).splitlines() if line.startswith("| ")]
    column = 2 if page == "README.md" else 1
    listed = [name for cells in rows for name in re.findall(r"`([a-z_]+)`", cells[column])]
    assert sorted(listed) == balancers.names()


def test_the_docs_tell_the_needs_of_each_balancer():
    from kmtl import balancers

    words = {"losses": "losses", "gram": "Gramian", "gradients": "gradients"}
    for line in (README.parent / "docs" / "balancers.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) == 10 and cells[1].strip("`") in balancers.names():
            balancer = balancers.get(cells[1].strip("`"))
            first = cells[2].split(",")[0]
            assert first == words[balancer.needs] or (first == "counts" and balancer.needs == "losses"), line
            assert (cells[7] == "yes") == getattr(balancer, "has_online", False), line
