"""The blocks of docs/callbacks.md run, every public callback is on it, and it says what is so."""

import re
from pathlib import Path

import pytest

import kmtl

PAGE = (Path(__file__).parents[2] / "docs" / "callbacks.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_every_public_callback_is_used_on_the_page():
    code = "\n".join(BLOCKS)
    assert [name for name in kmtl.callbacks.__all__ if f"kmtl.callbacks.{name}(" not in code] == []


@pytest.mark.long
def test_the_blocks_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    for code in BLOCKS:
        exec(compile(code, "docs/callbacks.md", "exec"), names)
    worst = names["stop"]
    assert set(worst.best) == {"val_kind_accuracy", "val_size_mae"}
    assert set(names["alone"].stopped) <= {"kind"}
    assert any(names["kept"])
    assert len(names["reports"].reports) == 8
    # The file holds an epoch that kept the bound.
    found = names["best"].evaluate(*names["validation"], verbose=0, return_dict=True)
    assert found["size_mae"] <= 2.0
    assert found["kind_accuracy"] == pytest.approx(
        max(value for value, kept in zip(names["history"]["val_kind_accuracy"], names["kept"], strict=True) if kept)
    )
