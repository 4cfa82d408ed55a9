"""The blocks of docs/recommending.md run."""

import pages
import pytest

from kmtl.evidence.recommendation import race


@pytest.mark.long
def test_the_page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(race, "step_seconds", lambda *_: 0.01)
    with pages.eagerly():
        page = pages.run("recommending.md", [("epochs=3, budget", "epochs=1, budget")])
    assert set(page["found"].serves) == {"kind", "size"}
    assert page["wide"](page["tasks"]).count_params() <= 700
