"""docs/forms.md: its blocks run, its lines make recipes, and every name in it is one of kmtl's."""

import re

import keras
import pages
import pytest
import sklearn.linear_model

import kmtl

PAGE = (pages.DOCS / "forms.md").read_text()
# A row of the table of recipes ends in the line that makes one.
LINES = re.findall(r"^\| `\w+`.*\| `(kmtl\.training\..*)` \|$", PAGE, re.MULTILINE)
FEW_STEPS = [
    ("batch_size=8", "batch_size=16"),
    ("epochs=1,\n", "epochs=1,\n    batch_size=64,\n"),
    ("epochs=1, verbose=0", "epochs=1, batch_size=96, verbose=0"),
]
NAMES = sorted(set(re.findall(r"kmtl(?:\.\w+)+", PAGE)) - {"kmtl.json"})


def test_every_name_is_there():
    assert len(NAMES) > 40
    for name in NAMES:
        found = kmtl
        for part in name.split(".")[1:]:
            found = getattr(found, part)


def test_every_recipe_has_a_line_that_makes_one():
    made = {type(eval(line, {"kmtl": kmtl, "keras": keras, "sklearn": sklearn})).__name__ for line in LINES}
    public = {name for name in kmtl.training.__all__ if isinstance(getattr(kmtl.training, name), type)}
    recipes = {name for name in public if issubclass(getattr(kmtl.training, name), kmtl.training.Recipe)}
    # Separate stands in one row with Joint.
    assert made | {"Separate", "Recipe"} == recipes


@pytest.mark.long
def test_the_blocks_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pages.eagerly():
        found = pages.run("forms.md", FEW_STEPS)
    assert found["trained"].cost == pytest.approx(2 * 1.0, rel=0.5)
    assert list(found["found"].runs) == ["separate", "joint", "joint, equal cost"]
    assert "delta_m" in capsys.readouterr().out
