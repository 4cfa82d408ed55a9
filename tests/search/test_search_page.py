"""The blocks of docs/search.md run, on a small set and few steps, and its links hold."""

import functools
import pathlib
import re

import keras
import pages
import pytest

import kmtl

PAGE = (pathlib.Path(__file__).parents[2] / "docs" / "search.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def small(code):
    """The same lines with fewer epochs and trials."""
    code = re.sub(r"epochs=\d+", "epochs=1", code).replace("space=space,", "space=space, max_trials=1,")
    return code.replace("max_trials=20", "max_trials=1").replace("[32, 64]", "[4, 8]").replace("else 32", "else 4")


@pytest.fixture
def folder(prepared, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    splits = ("train[:64]", "validation[:32]", "test[:32]")
    load = functools.partial(kmtl.data.load, splits=splits, data_dir=prepared)
    monkeypatch.setattr(kmtl.data, "load", load)
    keras.utils.set_random_seed(1)
    return tmp_path


@pytest.mark.long
def test_the_blocks_run(folder, capsys):
    names = {}
    with pages.eagerly():
        for code in BLOCKS:
            exec(compile(small(code), "docs/search.md", "exec"), names)
    assert set(names["weights"]) == {"digit", "angle", "position"}
    assert (folder / "out" / "front.png").stat().st_size > 5000
    assert kmtl.export.inspect(folder / "out" / "any").told["inputs"]["preference"]["shape"] == [None, 3]
    assert list(kmtl.export.inspect(folder / "out" / "knee").told["inputs"]) == ["image"]
    assert sum(names["result"].best_weights.values()) == pytest.approx(3)
    assert names["model"].count_params() > 0
    assert names["result"].best_values["balancer"] in ("equal", "uncertainty")
    assert 1e-4 <= names["result"].best_values["learning_rate"] <= 1e-2
    assert "steps make the favoured task worse" in capsys.readouterr().out
