"""The blocks of docs/command_line.md run, and its tables tell what the command takes."""

import re
import shlex
import sys

import keras
import pages
import pytest

import kmtl_command
from kmtl import cli
from kmtl.evidence.recommendation import race

PAGE = (pages.DOCS / "command_line.md").read_text()
LINES = [
    line for block in re.findall(r"^```bash\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL) for line in block.splitlines()
]


def test_every_command_has_its_row():
    assert set(re.findall(r"^\| `kmtl (\w+) ", PAGE, re.MULTILINE)) == set(cli._COMMANDS)


def test_the_lines_are_lines_of_the_command():
    for line in LINES:
        program, *arguments = shlex.split(line)
        assert program == "kmtl"
        kmtl_command.parser().parse_args(arguments)


@pytest.mark.long
def test_the_lines_run_with_the_script(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(race, "step_seconds", lambda *_: 0.01)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (script,) = pages.blocks("command_line.md")
    (tmp_path / "wine.py").write_text(script)
    wanted = {"wine.html", "wine_again.html", "wine_compare", "wine_model.html", "wine_recommend"}
    # One epoch of one batch under one seed.
    shorter = [("--epochs 10", "--epochs 1 --batch-size 89"), ("--seeds 3", "--seeds 1")]
    with pages.eagerly():
        for line in LINES:
            for old, new in shorter:
                line = line.replace(old, new)
            assert kmtl_command.main(shlex.split(line)[1:]) == 0, capsys.readouterr().err
    assert wanted <= {path.name for path in tmp_path.iterdir()}
    assert list(keras.saving.load_model(tmp_path / "wine.keras").output) == ["cultivar", "colour"]
    assert (tmp_path / "served" / "wine" / "1" / "saved_model.pb").exists()
    out = capsys.readouterr().out
    for word in ("separate", "joint, equal cost", "wide", "FineTuned"):
        assert word in out
    sys.modules.pop("wine")
