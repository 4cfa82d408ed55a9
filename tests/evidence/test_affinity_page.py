"""The blocks of docs/affinity.md run, and find what they planted."""

import pages
import pytest


@pytest.mark.long
def test_the_blocks_find_the_planted_pair(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = pages.run("affinity.md")
    assert set(names["by_labels"].ranked()[0]) < {"width", "height", "kind"}
    assert "noise" not in names["ahead"].ranked()[0]
    assert names["ahead"].over == "seeds"
    assert names["now"].over == "batches"
    assert (tmp_path / "out" / "labels.png").stat().st_size > 5000
    assert "Closest: " in capsys.readouterr().out
