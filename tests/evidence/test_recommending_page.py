"""The blocks of docs/recommending.md run."""

import pages
import pytest


@pytest.mark.long
def test_the_page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = pages.run("recommending.md", [("epochs=3, budget", "epochs=1, budget")])
    assert set(page["found"].serves) == {"kind", "size"}
    assert page["wide"](page["tasks"]).count_params() <= 700
