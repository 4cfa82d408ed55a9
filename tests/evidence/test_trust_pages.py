"""The blocks of docs/trust.md and docs/explaining.md run, and what they say of their data is so."""

import numpy as np
import pages
import pytest

pytestmark = pytest.mark.long


def quadrant(values):
    """Whether the largest value of a map lies in its lower, and in its right half."""
    row, column = np.unravel_index(values.argmax(), values.shape)
    return row >= values.shape[0] // 2, column >= values.shape[1] // 2


def test_trust(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = pages.run("trust.md")
    rows = {row.task: row for row in page["found"].rows}
    # Trained for long on few rows it was too sure, and is less wrong about itself now; on rows that it never saw, too.
    assert all(row.temperature > 1 for row in rows.values())
    assert rows["kind"].calibration_error[1] < rows["kind"].calibration_error[0]
    again = page["kmtl"].evidence.calibrate(page["model"], page["test"], tasks=["kind"])
    assert 0.7 < again.rows[0].temperature < 1.4
    assert rows["rare"].threshold < 0.5
    covered = {row["task"]: row["covered"] for row in page["safe"].coverage(*page["test"]).rows}
    # Held-out labels and test labels each add a variance of 0.09 / 450: a standard deviation of 0.02.
    assert all(0.84 < share < 0.96 for share in covered.values())
    assert page["sets"].shape == (600, 3)
    assert (tmp_path / "reliability.png").stat().st_size > 5000


def test_explaining(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = pages.run("explaining.md")
    # The spot is the evidence: each map is strongest in its quadrant.
    for maps in page["found"].maps.values():
        for picture, one in zip(page["images"], np.abs(maps), strict=False):
            assert quadrant(one) == quadrant(picture[..., 0])
    np.testing.assert_array_equal(page["values"], page["model"].predict(page["images"][:4], verbose=0)["level"])
    assert (tmp_path / "evidence.png").stat().st_size > 5000
