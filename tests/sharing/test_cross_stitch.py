"""Cross-stitch units: the identity shares nothing, and a number stands for a pair of tasks, or of their channels."""

import keras
import numpy as np
import pytest

from kmtl.sharing import CrossStitch

GENERATOR = np.random.default_rng(4)
TOWERS = [GENERATOR.normal(size=(2, 3, 4)).astype("float32") for _ in range(3)]


@pytest.mark.parametrize("by", ["layer", "channel"])
def test_the_identity_gives_the_inputs_themselves(by):
    for mixed, tower in zip(CrossStitch(1.0, by=by)(TOWERS), TOWERS, strict=True):
        np.testing.assert_array_equal(mixed, tower)


def test_it_starts_as_in_the_paper_with_rows_that_sum_to_one():
    two = CrossStitch()
    two(TOWERS[:2])
    np.testing.assert_allclose(np.squeeze(two.matrix), [[0.9, 0.1], [0.1, 0.9]], rtol=1e-6)
    for mixed, tower in zip(CrossStitch(0.8)(TOWERS), TOWERS, strict=True):
        others = (sum(TOWERS) - tower) / 2
        np.testing.assert_allclose(mixed, 0.8 * tower + 0.2 * others, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("by", "channels"), [("layer", 1), ("channel", 4)])
def test_each_task_has_its_own_row_of_numbers(by, channels):
    layer = CrossStitch(by=by)
    layer.build([tower.shape for tower in TOWERS])
    numbers = GENERATOR.normal(size=(3, 3, channels)).astype("float32")
    layer.matrix.assign(numbers.reshape(layer.matrix.shape))
    expected = np.einsum("ijc,jbtc->ibtc", np.broadcast_to(numbers, (3, 3, 4)), np.stack(TOWERS))
    np.testing.assert_allclose(np.stack(layer(TOWERS)), expected, rtol=1e-5, atol=1e-6)
    # A dict keeps its names, whatever their order.
    named = layer({"zebra": TOWERS[2], "ant": TOWERS[0], "bee": TOWERS[1]})
    for place, name in enumerate(["ant", "bee", "zebra"]):
        np.testing.assert_allclose(named[name], expected[place], rtol=1e-5, atol=1e-6)


def test_bad_options_and_towers_are_refused():
    with pytest.raises(ValueError, match=r"^CrossStitch: `by` must be .*, got 'chanel'. Did you mean 'channel'"):
        CrossStitch(by="chanel")
    with pytest.raises(ValueError, match=r"^CrossStitch: `own` must be a finite number"):
        CrossStitch(float("nan"))
    with pytest.raises(ValueError, match=r"^CrossStitch: `inputs` must be two or more"):
        CrossStitch()([keras.Input((3,))])
    with pytest.raises(ValueError, match=r"^CrossStitch: `inputs` must have one width"):
        CrossStitch()([keras.Input((3,)), keras.Input((4,))])
