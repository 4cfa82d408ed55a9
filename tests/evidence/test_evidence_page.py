"""The blocks of docs/evidence.md run, and find what they planted."""

import re

import keras
import pages
import pytest


@pytest.mark.long
def test_the_blocks_find_the_dead_and_the_unlearned_task(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    keras.utils.set_random_seed(3)
    # Three times as large batches: a third of the steps.
    shorter = [
        ("epochs=10, verbose", "epochs=10, batch_size=96, verbose"),
        ("epochs=10, seeds=2", "epochs=1, seeds=1, batch_size=96"),
        ("epochs=3", "epochs=1, batch_size=96"),
    ]
    with pages.eagerly():
        names = pages.run("evidence.md", shorter)
    advice = names["advice"]
    assert advice.tasks["is_dead"].to_dict() == {"digit": True, "angle": False, "noise": False}
    assert "Dead: no gradient of 'digit' reaches" in advice.verdict
    (unlearned,) = re.findall("No better than guessing, a constant output: (.*) If that lasts", advice.verdict)
    assert re.findall(r"'(\w+)' \(loss", unlearned) == ["noise"]
    assert list(names["comparison"].runs) == ["separate", "joint", "joint, equal cost", "wide"]
    assert str(names["again"]) == str(names["comparison"])
    assert len(names["titles"]) == 3
    assert len(names["figure"].axes) == 12
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"curves.png", "joint_and_alone.png"}
    assert "delta_m" in capsys.readouterr().out
