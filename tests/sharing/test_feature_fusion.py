"""Every way to fuse branches against NumPy, row by row, with branches missing."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from kmtl.sharing import FeatureFusion, present_rows

GENERATOR = np.random.default_rng(8)
MODES = ["concat", "sum", "mean", "max", "gated", "attention", "bilinear"]
BRANCHES = [GENERATOR.normal(size=(5, width)).astype("float32") for width in (4, 3, 6)]
# All there, one, two of three, none, all there.
THERE = np.array([[1, 1, 1], [0, 1, 0], [1, 0, 1], [0, 0, 0], [1, 1, 1]], bool).T


def softmax(scores):
    shares = np.exp(scores - scores.max(axis=0))
    return shares / shares.sum(axis=0)


def expected(layer, row, there):
    """One row by NumPy, from the weights of the layer: what is missing is not even looked at."""
    used = [place for place in range(3) if there[place]]
    projected = {}
    for place in used:
        kernel, *bias = layer.projections[place].get_weights()
        projected[place] = np.tanh(row[place] @ kernel + (bias[0] if bias else 0))
    parts = [projected.get(place, np.zeros(2)) for place in range(3)]
    if layer.mode == "concat":
        return np.concatenate(parts)
    if not used:
        return np.zeros(2)
    found = np.stack([parts[place] for place in used])
    if layer.mode == "gated":
        kernel, bias = layer.gate.get_weights()
        gates = (np.concatenate(parts) @ kernel + bias).reshape(3, 2)[used]
        return (softmax(gates) * found).sum(axis=0)
    if layer.mode == "attention":
        (kernel, bias), (query,) = layer.hidden.get_weights(), layer.query.get_weights()
        return (softmax(np.tanh(found @ kernel + bias) @ query) * found).sum(axis=0)
    reduce = {"sum": np.sum, "mean": np.mean, "max": np.max, "bilinear": np.prod}[layer.mode]
    return reduce(found, axis=0)


def fused(mode, **options):
    """A layer whose biases are not 0, so that a missing row of zeros is told from one that takes no part."""
    layer = FeatureFusion(mode, **options)
    layer.build([one.shape for one in BRANCHES])
    layer.set_weights([GENERATOR.normal(size=weight.shape) for weight in layer.get_weights()])
    return layer


@pytest.mark.parametrize("mode", MODES)
def test_what_is_missing_takes_no_part_and_the_rest_is_the_formula(mode):
    layer = fused(mode, units=2, activation="tanh")
    given = [tf.constant(np.where(there[:, None], one, 0)) for one, there in zip(BRANCHES, THERE, strict=True)]
    with tf.GradientTape() as tape:
        tape.watch(given)
        found = layer(given, present=[present_rows(one) for one in given])
    rows = [expected(layer, [one[row] for one in BRANCHES], THERE[:, row]) for row in range(5)]
    np.testing.assert_allclose(found, np.stack(rows), rtol=1e-5, atol=1e-6)
    # Nothing reaches the way that a missing input came by, and nothing is NaN.
    for gradient, there in zip(tape.gradient(found, given), THERE, strict=True):
        reached = np.any(gradient != 0, axis=1)
        # Of the maximum only the largest branch learns.
        assert not np.any(reached & ~there) if mode == "max" else np.array_equal(reached, there)
    # With all there, masks change nothing.
    whole = layer(BRANCHES, present=[np.ones(5, bool)] * 3)
    np.testing.assert_allclose(layer(BRANCHES), whole, rtol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_a_map_is_fused_place_by_place_and_the_shape_is_told(mode):
    layer = fused(mode, units=2)
    maps = [GENERATOR.normal(size=(2, 3, 2, one.shape[-1])).astype("float32") for one in BRANCHES]
    found = layer(maps, present=[np.array([True, True])] * 3)
    flat = layer([one.reshape(12, -1) for one in maps])
    np.testing.assert_allclose(ops.reshape(found, flat.shape), flat, rtol=1e-5, atol=1e-6)
    symbolic = layer([keras.Input((None, 2, one.shape[-1])) for one in BRANCHES])
    assert symbolic.shape == (None, None, 2, found.shape[-1])


def test_without_a_projection_concat_is_kerass_own_and_a_mean_of_alike_ones_is_the_one():
    np.testing.assert_array_equal(FeatureFusion()(BRANCHES), np.concatenate(BRANCHES, axis=1))
    for mode in ("mean", "max", "attention", "gated"):
        np.testing.assert_allclose(FeatureFusion(mode)([BRANCHES[0]] * 3), BRANCHES[0], rtol=1e-5)


def test_bilinear_is_linear_in_each_branch():
    layer = FeatureFusion("bilinear", units=4)
    one, two, three = BRANCHES
    np.testing.assert_allclose(layer([3 * one, two, -2 * three]), -6 * layer([one, two, three]), rtol=1e-4, atol=1e-6)


def test_a_dict_counts_in_the_order_of_its_names():
    layer = FeatureFusion()
    named = dict(zip("cab", BRANCHES, strict=True))
    there = {"c": np.zeros(5), "b": np.ones(5), "a": np.ones(5)}
    found = layer(named, present=there)
    np.testing.assert_array_equal(found, np.concatenate([BRANCHES[1], BRANCHES[2], 0 * BRANCHES[0]], axis=1))


def test_the_padding_of_sequences_goes_on_where_no_branch_has_a_token():
    one, two = ([[1, 2, 0, 0], [1, 0, 0, 0]], [[1, 0, 0, 0], [1, 2, 3, 0]])
    embedding = keras.layers.Embedding(4, 2, mask_zero=True)
    parts = [embedding(np.array(one)) for one in (one, two)]
    total = np.sum(parts, axis=0)
    found = keras.layers.GlobalAveragePooling1D()(FeatureFusion("sum")(parts))
    np.testing.assert_allclose(found, [total[0, :2].mean(axis=0), total[1, :3].mean(axis=0)], rtol=1e-6)
    bare = FeatureFusion("sum")([parts[0], ops.copy(parts[1])])
    np.testing.assert_allclose(keras.layers.GlobalAveragePooling1D()(bare), total.mean(axis=1), rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float16", "int32", "int8", "bool", "string"])
def test_a_row_is_there_unless_it_is_all_zeros(dtype):
    values = np.array([[[0, 0], [0, 1]], [[0, 0], [0, 0]]])
    x = np.where(values, "token", "") if dtype == "string" else values.astype(dtype)
    np.testing.assert_array_equal(present_rows(x), [True, False])
    np.testing.assert_array_equal(present_rows(x[:, 1, 1]), [True, False])


def test_nan_is_there_and_a_keras_tensor_gives_one():
    np.testing.assert_array_equal(present_rows([[np.nan, 0.0], [-0.0, 0.0]]), [True, False])
    assert present_rows(keras.Input((None, 3), dtype="int32")).shape == (None,)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mode": "gate"}, "`mode` must be a way to fuse, got 'gate'. Did you mean 'gated'"),
        ({"units": 0}, "`units` must be a whole number of at least 1"),
        ({"mode": "bilinear"}, "`units` must be a width with mode 'bilinear'"),
        ({"activation": "relu"}, "`activation` must stand beside `units`"),
    ],
)
def test_options_out_of_range_are_refused(options, words):
    with pytest.raises(ValueError, match=f"^FeatureFusion: {words}"):
        FeatureFusion(**options)


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ([(4,), (3,)], "`inputs` must have one width, got .*Give `units`"),
        ([(4,), (2, 2, 4)], "`inputs` must be vectors, sequences or maps of one kind.*Pool maps"),
        ([(8, 8, 4), (4, 8, 4)], "`inputs` must be vectors, sequences or maps of one kind"),
        ([(4,)], "`inputs` must be two or more tensors"),
        ([(), ()], r"`inputs` must be \(batch, ..., width\)"),
        ([(None,), (3,)], r"`inputs` must be \(batch, ..., width\)"),
    ],
)
def test_branches_that_do_not_go_together_are_refused(shapes, words):
    with pytest.raises(ValueError, match=f"FeatureFusion: {words}"):
        FeatureFusion("sum")([keras.Input(shape) for shape in shapes])


@pytest.mark.parametrize("present", [[True], {"a": 1}, [np.ones((5, 1))] * 3, True])
def test_masks_that_do_not_go_with_the_branches_are_refused(present):
    given = [np.ones(5)] * len(present) if isinstance(present, list) and len(present) == 1 else present
    given = {name: np.ones(5) for name in given} if isinstance(given, dict) else given
    with pytest.raises(ValueError, match="FeatureFusion: `present` must hold"):
        FeatureFusion()(BRANCHES, present=given)


@pytest.mark.parametrize("x", [np.float32(3.0), np.zeros((2, 0))])
def test_what_has_no_rows_is_refused(x):
    with pytest.raises(ValueError, match=r"^present_rows: `x` must have rows"):
        present_rows(x)
