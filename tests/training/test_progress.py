"""What several trainings tell of how far they are."""

import pytest

from kmtl.training.progress import Progress


def test_a_line_after_each_training_and_none_where_fit_is_silent(capsys):
    progress = Progress(6, "auto")
    progress.say("Training 'zoo' alone")
    progress.add(2)
    progress.add(4)
    shown = capsys.readouterr().out
    lines = [line for line in shown.splitlines() if "/epoch" in line]
    assert [line.split("\x1b[1m")[1].split("\x1b")[0] for line in lines] == ["2/6", "6/6"]
    assert shown.startswith("Training 'zoo' alone\n")
    assert shown.endswith("\n")
    silent = Progress(6, 0)
    silent.say("Training 'zoo' alone")
    silent.add(6)
    assert (silent.done, capsys.readouterr().out) == (6, "")


@pytest.mark.parametrize("total", [None, 4])
def test_what_is_left_is_told_if_the_end_is_known(total, capsys, monkeypatch):
    clock = iter([100.0, 130.0, 130.0])
    monkeypatch.setattr("time.time", lambda: next(clock, 130.0))
    Progress(total, 1).add(1)
    shown = capsys.readouterr().out
    # Three epochs of thirty seconds each, or the seconds so far.
    assert ("1:30" in shown) == (total == 4)
    assert ("1/Unknown" in shown) == (total is None)
