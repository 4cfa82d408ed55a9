"""The blocks of docs/evidence.md run, and find what they planted."""

import re
from pathlib import Path

import keras
import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "evidence.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.long
def test_the_blocks_find_the_dead_and_the_unlearned_task(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    keras.utils.set_random_seed(3)
    names = {}
    for code in BLOCKS:
        exec(compile(code.replace("epochs=10, seeds", "epochs=1, seeds"), "docs/evidence.md", "exec"), names)
    advice = names["advice"]
    assert advice.tasks["is_dead"].to_dict() == {"digit": True, "angle": False, "noise": False}
    assert "Dead: no gradient of 'digit' reaches" in advice.verdict
    unlearned = advice.verdict.partition("No better than guessing, a constant output: ")[2].partition("If that lasts")[
        0
    ]
    assert re.findall(r"'(\w+)' \(loss", unlearned) == ["noise"]
    assert [run.seed for run in names["comparison"].joint] == [0, 1]
    assert len(names["figure"].axes) == 12
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"curves.png", "joint_and_alone.png"}
    assert "delta_m" in capsys.readouterr().out
