"""The blocks of docs/groups.md run, and say what the page says."""

import pages
import pytest

import kmtl


@pytest.mark.long
def test_the_blocks_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shorter = [("epochs=2, seeds=2", "epochs=1, seeds=1"), ("epochs=2, verbose", "epochs=1, verbose")]
    with pages.eagerly():
        names = pages.run("groups.md", shorter)
    assert "2 groups of 4 tasks: digit + angle | position + colour.\nGain +0.263" in capsys.readouterr().out
    assert names["compared"].table().set_index("recipe")["cost"].to_dict() == pytest.approx(
        {"separate": 4.0, "joint": 1.0, "grouped": 2.0}
    )
    assert isinstance(names["grouped"], kmtl.training.Grouped)
    assert (tmp_path / "groups.png").exists()
    assert (tmp_path / "served").is_dir()
