"""What the page on balancers claims is what the conformance table tests."""

import pathlib

import keras
import pages
import pytest
from balancers.tables import TABLE

import kmtl

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "balancers.md"


def rows():
    """Cells of the big table by name."""
    cells = ([cell.strip() for cell in line.split("|")] for line in PAGE.read_text().splitlines())
    return {row[1].strip("`"): row for row in cells if len(row) == 10 and row[1].strip("`") in TABLE}


@pytest.mark.parametrize("name", TABLE)
def test_invariance_and_conflict_are_those_of_the_row(name):
    scale, ascent = rows()[name][4:6]
    assert (scale == "yes") == TABLE[name].scale_invariant
    claimed = {"yes": 99, "K = 2": 2}.get(ascent, 0)
    assert claimed == TABLE[name].non_conflict


def test_the_call_for_hard_tasks_compiles():
    row = keras.Input((2,))
    model = kmtl.MultiTaskModel.from_features(row, row, [kmtl.Regression("ant"), kmtl.Regression("bee")])
    (block,) = pages.blocks("balancers.md")
    exec(block, {"kmtl": kmtl, "model": model})
    assert repr(model.setup.balancer) == "kmtl.balancers.get('relative_loss', cap=3.0)"
