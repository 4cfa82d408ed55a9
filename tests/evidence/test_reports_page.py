"""The blocks of docs/reports.md run, and write what the page says."""

import pages
import pytest


@pytest.mark.long
def test_the_blocks_write_the_three_forms(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = pages.run("reports.md", [("epochs=10, verbose", "epochs=4, verbose")])
    out = tmp_path / "out"
    assert {path.name for path in out.iterdir()} == {"report.html", "report.md", "report_files", "report"}
    assert "kind is right for" in capsys.readouterr().out
    titles = [picture.title for picture in names["found"].pictures()]
    assert titles[:2] == ["Learning curves", "Weights of the tasks"]
    assert titles[-1] == "Conflict by layer"
