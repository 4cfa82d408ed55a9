"""The blocks of docs/optimizers.md run, and do what the page says."""

import pathlib
import re

import keras
import numpy as np
import pages
import pytest

PAGE = (pathlib.Path(__file__).parents[2] / "docs" / "optimizers.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.long
def test_the_blocks_run():
    keras.utils.set_random_seed(1)
    names, shown = {}, []
    for code in BLOCKS:
        before = [variable.numpy() for variable in names["model"].get_layer("block1").weights] if shown else []
        with pages.eagerly():
            exec(compile(code.replace("verbose=0", "batch_size=128, verbose=0"), "docs/optimizers.md", "exec"), names)
        now = [variable.numpy() for variable in names["model"].get_layer("block1").weights]
        shown.append(all(np.array_equal(old, new) for old, new in zip(before, now, strict=False)))
    # It stands still where its multiplier is 0 alone.
    assert shown == [True, False, True, False, False, False]
    assert list(names["grown"].tasks) == ["digit", "angle", "weight"]
    assert list(names["small"].tasks) == ["number"]
    assert type(names["small"].balancer).__name__ == "Uncertainty"
    assert names["grown"].evaluate(names["x"], names["labels"], verbose=0, return_dict=True)["weight_mae"] < 60
