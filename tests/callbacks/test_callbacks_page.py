"""The blocks of docs/callbacks.md run, every public callback is on it, and it says what is so."""

import pages
import pytest

import kmtl


def test_every_public_callback_is_used_on_the_page():
    code = "\n".join(pages.blocks("callbacks.md"))
    assert [name for name in kmtl.callbacks.__all__ if f"kmtl.callbacks.{name}(" not in code] == []


@pytest.mark.long
def test_the_blocks_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shorter = [('"epochs": 8, "verbose": 0', '"epochs": 3, "batch_size": 96, "verbose": 0')]
    page = pages.run("callbacks.md", shorter)
    assert set(page["stop"].best) == {"val_kind_accuracy", "val_size_mae"}
    assert set(page["alone"].stopped) <= {"kind"}
    assert any(page["kept"])
    assert len(page["reports"].reports) == 3
    # The file holds the best of the epochs that kept the bound.
    found = page["best"].evaluate(*page["validation"], verbose=0, return_dict=True)
    assert found["size_mae"] <= 2.0
    accuracies = zip(page["history"]["val_kind_accuracy"], page["kept"], strict=True)
    assert found["kind_accuracy"] == pytest.approx(max(value for value, kept in accuracies if kept))
    assert {path.name for path in (tmp_path / "logs" / "uncertainty").iterdir()} == {"train", "validation"}
