"""Some tasks alone: no other head is run or stored, fused ones included."""

from itertools import pairwise

import keras
import numpy as np
import pytest
import tensorflow as tf
from states import with_scales

import kmtl
from kmtl.export import further_signatures
from kmtl.tasks import FusedHeads

NAMES = ["wing", "tail", "beak", "crest", "foot"]


def fused(hidden=(7,)):
    """Five fused heads behind a fork, and one head of another form."""
    keras.utils.set_random_seed(4)
    row = keras.Input((6,), name="row")
    tasks = [kmtl.Regression(name, shape=(2,), hidden=hidden) for name in NAMES]
    tasks.insert(2, kmtl.Classification("species", 3))
    return with_scales(kmtl.MultiTaskModel.from_features(row, keras.layers.Dense(9, activation="relu")(row), tasks))


def stored(version):
    """Shapes in the variables file."""
    names = tf.train.list_variables(str(version / "variables" / "variables"))
    return sorted(tuple(shape) for name, shape in names if name != "_CHECKPOINTABLE_OBJECT_GRAPH")


@pytest.fixture
def rows():
    return np.random.default_rng(3).normal(size=(4, 6)).astype("float32")


@pytest.mark.parametrize("hidden", [(), (7,), (7, 4)])
def test_a_subset_of_fused_heads_gives_the_same_numbers_from_its_own_weights_alone(hidden, rows, tmp_path):
    model = fused(hidden)
    expected = model(rows, training=False)
    version = kmtl.export.saved_model(model, tmp_path, tasks=["crest", "tail"])
    loaded = tf.saved_model.load(str(version))
    assert set(loaded.signatures) == {"serving_default", "tail", "crest"}
    for name in ("serving_default", "tail", "crest"):
        for task, values in loaded.signatures[name](row=tf.constant(rows)).items():
            np.testing.assert_allclose(values, expected[task], atol=1e-6)
    widths = [9, *hidden, 2]
    heads = [shape for before, after in pairwise(widths) for shape in ((before, after), (after,))]
    count = sum(int(np.prod(shape)) for shape in stored(version))
    standardisation = 2 * 2
    assert count == 6 * 9 + 9 + 2 * (sum(int(np.prod(shape)) for shape in heads) + standardisation)


def test_a_task_alone_runs_its_slice_of_a_fused_kernel_and_the_weights_stay_one(rows, tmp_path):
    model = fused()
    version = kmtl.export.saved_model(model, tmp_path)
    size = sum(path.stat().st_size for path in version.glob("variables/variables.data*"))
    inference = sum(weight.nbytes for weight in model.get_weights())
    assert sum(4 * int(np.prod(shape)) for shape in stored(version)) <= inference < size + 4 * 100
    loaded = tf.saved_model.load(str(version))
    for task in model.tasks:
        outputs = loaded.signatures[task](row=tf.constant(rows))
        np.testing.assert_allclose(outputs[task], model(rows, training=False)[task], atol=1e-6)
    functions, _ = further_signatures.endpoints(model, model.output, further_signatures.Forms(False, {}))
    for name, widths in (("beak", {7}), ("species", {3}), ("serving_default", {35, 3})):
        products = [node for node in functions[name].graph.get_operations() if node.type == "MatMul"]
        assert {node.outputs[0].shape[-1] for node in products} == widths


def test_the_model_computes_all_of_its_heads_afterwards(rows, tmp_path):
    model = fused()
    before = {name: values.numpy() for name, values in model(rows, training=False).items()}
    kmtl.export.saved_model(model, tmp_path, tasks=["beak"])
    for name, values in model(rows, training=False).items():
        np.testing.assert_array_equal(values, before[name])


def test_outputs_under_other_names_than_the_fused_heads_have_keep_their_own(rows, tmp_path):
    keras.utils.set_random_seed(5)
    row = keras.Input((6,), name="row")
    outputs = FusedHeads(["c", "a", "b"], 1)(row)
    swapped = keras.Model(row, {"a": outputs["b"], "b": outputs["a"]})
    version = kmtl.export.saved_model(swapped, tmp_path, tasks=["a"])
    found = tf.saved_model.load(str(version)).signatures["a"](row=tf.constant(rows))["a"]
    np.testing.assert_allclose(found, swapped(rows)["a"], atol=1e-6)


def test_a_fused_layer_used_twice_computes_what_either_use_needs(rows, tmp_path):
    keras.utils.set_random_seed(6)
    row = keras.Input((6,), name="row")
    heads = FusedHeads(["c", "b", "a"], 1)
    model = keras.Model(row, {"x": heads(row)["a"], "y": heads(-row)["b"], "z": heads(2 * row)["c"]})
    for tasks in (["y"], ["x", "y"]):
        loaded = tf.saved_model.load(str(kmtl.export.saved_model(model, tmp_path, tasks=tasks)))
        for name in (*tasks, "serving_default"):
            for task, values in loaded.signatures[name](row=tf.constant(rows)).items():
                np.testing.assert_allclose(values, model(rows)[task], atol=1e-6)


def test_names_that_are_not_there_are_told(tmp_path):
    for tasks, words in (
        (["wings"], "Did you mean 'wing'"),
        ("wing", "list of task names"),
        ([], "list of task names"),
    ):
        with pytest.raises(ValueError, match=f"^saved_model: `tasks` .*{words}"):
            kmtl.export.saved_model(fused(), tmp_path, tasks=tasks)
    assert list(tmp_path.iterdir()) == []
