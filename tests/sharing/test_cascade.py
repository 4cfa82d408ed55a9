"""Heads that read other heads: what they read, what goes back, and in which order they are built."""

import keras
import numpy as np
import pytest

import kmtl
from kmtl.sharing import Cascade
from kmtl.sharing.read_predictions import ReadPredictions, can_read
from kmtl.tasks import FusedHeads

GENERATOR = np.random.default_rng(9)
X = GENERATOR.normal(size=(12, 5)).astype("float32")
Y = {
    "far": GENERATOR.normal(30, 5, 12).astype("float32"),
    "near": GENERATOR.integers(0, 3, 12).astype("int32"),
    "mid": GENERATOR.integers(0, 2, 12).astype("int32"),
}


def tasks():
    """The last reader first, so that the order of building is not that of the tasks."""
    return [kmtl.Regression("far"), kmtl.Classification("near", 3), kmtl.BinaryClassification("mid")]


def network(reads, **options):
    """Heads on the very input, the same on every call."""
    keras.utils.set_random_seed(2)
    row = keras.Input((5,), name="row")
    return kmtl.MultiTaskModel(row, Cascade(reads, **options)(row, tasks()), tasks=tasks())


def dense(model, name):
    return model.get_layer(name).get_weights()


def test_a_chain_reads_probabilities_and_standardised_values():
    reads = {"near": ["far"], "mid": ["near", "far"]}
    model = network(reads)
    model.scalers["far"].learn([30.0], [5.0])
    assert list(model.output) == ["far", "near", "mid"]
    kernel, bias = dense(model, "far_standardized")
    far = X @ kernel + bias
    kernel, bias = dense(model, "near")
    near = np.exp(np.concatenate([X, far], axis=1) @ kernel + bias)
    near /= near.sum(axis=1, keepdims=True)
    kernel, bias = dense(model, "mid")
    mid = 1 / (1 + np.exp(-np.concatenate([X, near, far], axis=1) @ kernel - bias))
    found = model(X)
    for name, expected in {"far": 30 + 5 * far, "near": near, "mid": mid}.items():
        np.testing.assert_allclose(found[name], expected, rtol=1e-4, atol=1e-5)


def moves(stop_gradient, missing):
    """What one step does to each layer, and its logs."""
    model = network({"far": ["near"]}, stop_gradient=stop_gradient)
    model.scalers["far"].learn([30.0], [5.0])
    model.compile(keras.optimizers.SGD(0.5), run_eagerly=True)
    before = {layer: dense(model, layer) for layer in ("far_standardized", "near", "mid")}
    labels = {name: np.full_like(value, -1) if name in missing else value for name, value in Y.items()}
    logs = model.train_on_batch(X, labels, return_dict=True)
    return {name: dense(model, name)[0] - old[0] for name, old in before.items()}, logs


@pytest.mark.parametrize("stop_gradient", [False, True])
def test_without_labels_of_its_own_a_head_moves_by_its_reader_alone_unless_that_is_stopped(stop_gradient):
    alone, logs = moves(stop_gradient, ("near", "mid"))
    both, others = moves(stop_gradient, ())
    assert bool(np.any(alone["near"] != 0)) is not stop_gradient
    # The reader reads predictions: that labels of what it reads are missing is nothing to it.
    np.testing.assert_array_equal(alone["far_standardized"], both["far_standardized"])
    assert logs["far_loss"] == others["far_loss"]
    assert np.any(both["near"] != 0)


def test_heads_that_are_read_or_multiplied_are_not_fused_and_the_others_are():
    names = ["a", "b", "c", "d", "e", "f"]
    row = keras.Input((3,))
    alike = [kmtl.BinaryClassification(name) for name in names]
    product = kmtl.BinaryClassification("both", product_of=("a", "f"))
    reader = kmtl.Regression("value", standardize=False)
    given = [product, reader, *alike]
    outputs = Cascade({"value": ["both"]})(row, given)
    model = kmtl.MultiTaskModel(row, outputs, tasks=given)
    fused = [layer.names for layer in model.layers if isinstance(layer, FusedHeads)]
    assert fused == [["b", "c", "d", "e"]]
    found = model(X[:, :3])
    np.testing.assert_allclose(found["both"], found["a"] * found["f"], rtol=1e-6)
    kernel, bias = dense(model, "value")
    expected = np.concatenate([X[:, :3], found["both"]], axis=1) @ kernel + bias
    np.testing.assert_allclose(found["value"], expected, rtol=1e-5)


def test_a_task_on_a_map_reads_a_map_and_a_task_on_a_vector_its_mean():
    image = keras.Input((4, 4, 2))
    mask, kind = kmtl.Segmentation("mask", 3, shape=(8, 8)), kmtl.Classification("kind", 2)
    deep = kmtl.Segmentation("deep", 2, shape=(8, 8))
    features = {"map": image, "vector": keras.layers.GlobalAveragePooling2D()(image)}
    given = [kind, deep, mask]
    model = kmtl.MultiTaskModel(
        image, Cascade({"kind": ["mask"], "deep": ["mask", "kind"]})(features, given), tasks=given
    )
    x = GENERATOR.normal(size=(2, 4, 4, 2)).astype("float32")
    seen = model(x)["mask"].numpy()
    read = keras.Model(
        image, [model.get_layer("kind_reads_mask").output, model.get_layer("deep_reads_mask_kind").output]
    )
    vector, placed = read(x)
    np.testing.assert_allclose(vector[:, 2:], seen.mean(axis=(1, 2)), rtol=1e-5)
    cells = seen.reshape(2, 4, 2, 4, 2, 3).mean(axis=(2, 4))
    np.testing.assert_allclose(placed[..., 2:5], cells, rtol=1e-5)
    np.testing.assert_allclose(placed[..., 5:], np.broadcast_to(model(x)["kind"].numpy()[:, None, None], (2, 4, 4, 2)))


def test_padding_counts_in_no_mean_and_sequences_stand_side_by_side():
    tokens = GENERATOR.normal(size=(2, 3, 4)).astype("float32")
    scores = keras.layers.Masking()(np.array([[[1.0], [3.0], [0.0]], [[5.0], [0.0], [0.0]]], "float32"))
    vector = ReadPredictions()([keras.ops.ones((2, 1)), scores])
    np.testing.assert_allclose(vector, [[1, 2], [1, 5]])
    np.testing.assert_array_equal(ReadPredictions()([tokens, scores])[..., 4:], scores)
    # A side that grows or is no multiple is resized.
    assert ReadPredictions()([np.ones((1, 5, 3, 2)), np.ones((1, 2, 2, 1))]).shape == (1, 5, 3, 3)


def test_what_has_no_common_form_cannot_be_read():
    assert can_read((None, None, 4), (None, 7, 2))
    assert not can_read((None, 6, 4), (None, 7, 2))
    assert not can_read((None, None, None, 4), (None, 8, 8, 2))
    image = keras.Input((None, None, 2))
    given = [kmtl.Segmentation("mask", 3), kmtl.Segmentation("deep", 2)]
    with pytest.raises(ValueError, match=r"^Cascade: `reads of 'deep'` must take what 'mask' predicts: .*known sizes"):
        Cascade({"deep": ["mask"]})(image, given)


@pytest.mark.parametrize(
    ("reads", "words"),
    [
        ({"a": ["b"], "b": ["c"], "c": ["a"]}, "`reads` must not go in a circle, got '[abc]' -> '[abc]' -> '[abc]' ->"),
        ({"a": ["a"]}, "`reads` must not go in a circle, got 'a' -> 'a'"),
        ({"a": "b"}, "`reads of 'a'` must be a list of different task names, got 'b'"),
        ({"a": ["b", "b"]}, "`reads of 'a'` must be a list of different task names"),
        ({"a": []}, "`reads of 'a'` must be a list of different task names"),
        ({}, "`reads` must be a dict"),
        (["a"], "`reads` must be a dict"),
    ],
)
def test_what_cannot_be_a_cascade_is_refused(reads, words):
    with pytest.raises(ValueError, match=f"^Cascade: {words}"):
        Cascade(reads)


def test_names_of_no_task_and_readers_without_a_head_are_refused_all_at_once():
    row = keras.Input((5,))
    product = kmtl.BinaryClassification("both", product_of=("mid", "top"))
    given = [*tasks(), kmtl.BinaryClassification("top"), product]
    expected = (
        r"`reads` must use task names as keys, got 'nearr'. Did you mean 'near'"
        r"(?s:.*)`reads of 'far'` must name tasks, got 'midd'. Did you mean 'mid'"
        r"(?s:.*)`reads of 'both'` must belong to a task with a head"
    )
    with pytest.raises(ValueError, match=expected):
        Cascade({"nearr": ["far"], "far": ["midd"], "both": ["far"]})(row, given)
    # By way of a product, too, a head would need itself.
    with pytest.raises(ValueError, match="must not go in a circle"):
        Cascade({"mid": ["both"]})(row, given)


def test_a_build_of_one_task_may_pass_over_what_is_not_there():
    row = keras.Input((5,))
    with pytest.raises(ValueError, match="must name tasks, got 'near'"):
        Cascade({"far": ["near"]})(row, tasks()[:1])
    alone = Cascade({"far": ["near"], "near": ["mid"]}, skip_absent=True)(row, tasks()[:1])
    assert list(alone) == ["far"]
    assert keras.Model(row, alone).get_layer("far_standardized").kernel.shape == (5, 1)
