"""Rates for tuning a trunk: which layer belongs to which block, and the two straight lines."""

import keras
import numpy as np
import pytest

from kmtl import trunks


def test_blocks_follow_the_data_through_inner_models():
    """Embeddings are one block, each numbered block is one, and what comes behind belongs to the last."""
    tokens = keras.Input((4,), dtype="int32")
    vectors = keras.layers.LayerNormalization(name="norm")(keras.layers.Embedding(5, 8, name="vectors")(tokens))
    for block in range(2):
        vectors = keras.layers.Dense(8, name=f"layer_{block}")(keras.layers.Dense(8, name=f"layer_{block}_in")(vectors))
    inner = keras.Model(tokens, keras.layers.Dense(4, name="pooled")(vectors), name="bert")
    outer = keras.Input((4,), dtype="int32")
    features = inner(outer)
    expected = {
        "vectors": 0.25,
        "norm": 0.25,
        "layer_0": 0.5,
        "layer_0_in": 0.5,
        "layer_1": 1.0,
        "layer_1_in": 1.0,
        "pooled": 1.0,
    }
    for trunk in (features, inner, keras.Model(outer, features)):
        assert trunks.layer_wise(trunk, decay=0.5) == expected


def test_blocks_of_a_text_trunk():
    text = keras.Input((), dtype="string")
    rates = trunks.layer_wise(trunks.text(text, ["a"], encoder="transformer", depth=2, units=8, width=8), decay=0.1)
    assert len(rates) == 15
    by_rate = {round(rate, 3): {name for name, found in rates.items() if found == rate} for rate in rates.values()}
    assert by_rate[0.01] == {"trunk_vectors", "trunk_positions"}
    assert {"trunk_attention1", "trunk_dense1_wide", "trunk_dense1_norm"} < by_rate[0.1]
    assert {"trunk_attention2", "trunk_words_norm", "trunk_features"} < by_rate[1.0]


@pytest.mark.parametrize(
    ("trunk", "decay", "error", "message"),
    [
        (None, 0.9, TypeError, "layer_wise: `trunk` must be features or a keras.Model, got NoneType"),
        (
            keras.Sequential([keras.Input((2,))]),
            0.9,
            ValueError,
            "layer_wise: `trunk` must have layers with weights, got",
        ),
        (keras.Sequential([keras.layers.Dense(1)]), 1.5, ValueError, "`decay` must be a number above 0 and at most 1"),
    ],
)
def test_what_has_no_blocks_is_refused(trunk, decay, error, message):
    with pytest.raises(error, match=message):
        trunks.layer_wise(trunk, decay)


def test_the_rate_is_two_lines():
    """Continuous, the peak where the warm-up ends, the area of a triangle; a copy by its config is the same."""
    rate = trunks.WarmUpLinearDecay(0.3, steps=200, warm_up=0.25)
    again = keras.optimizers.schedules.deserialize(keras.optimizers.schedules.serialize(rate))
    steps = np.arange(201)
    values = np.array([float(again(step)) for step in steps])
    assert values.argmax() == 50
    assert values.max() == pytest.approx(0.3)
    assert np.abs(np.diff(values)).max() == pytest.approx(0.3 / 50, rel=1e-4)
    assert np.trapezoid(values, steps) == pytest.approx(0.3 * 200 / 2, rel=1e-5)
    assert float(trunks.WarmUpLinearDecay(0.3, steps=10, warm_up=0.0)(0)) == pytest.approx(0.3)
    with pytest.raises(
        ValueError, match=r"(?s)`peak` must be a finite number above 0, got 0.*`warm_up` must be at least 0"
    ):
        trunks.WarmUpLinearDecay(0, 10, 1.0)
