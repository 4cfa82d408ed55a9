"""What all tasks need is one graph for all signatures, wherever a model parts."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kmtl
from kmtl.export import signatures, stems
from kmtl.tasks import FusedHeads


def dense(width, name=None):
    return keras.layers.Dense(width, activation="tanh", name=name)


def straight():
    row = keras.Input((5,), name="row")
    hidden = dense(7, "trunk")(row)
    return keras.Model(row, {"zoo": dense(2)(hidden), "ant": dense(3)(dense(4)(hidden))})


def two_edges():
    """Two tensors leave the trunk, one made of the other."""
    row = keras.Input((5,), name="row")
    first = dense(7)(row)
    second = dense(4)(first)
    heads = {name: keras.layers.Concatenate()([first, second]) for name in ("zoo", "ant")}
    return keras.Model(row, {name: dense(width)(heads[name]) for name, width in (("zoo", 2), ("ant", 3))})


def an_input_of_its_own():
    """One head reads an input that no other reads; two read more of the trunk than the third."""
    row, extra = keras.Input((5,), name="row"), keras.Input((2,), name="extra")
    first = dense(7)(row)
    second = dense(4)(first)
    outputs = {
        "zoo": dense(2)(keras.layers.Concatenate()([first, extra])),
        "ant": dense(3)(second),
        "bee": dense(1)(keras.layers.Concatenate()([first, second])),
    }
    return keras.Model({"row": row, "extra": extra}, outputs)


def an_output_inside():
    """One task's output is what the other tasks are built on."""
    row = keras.Input((5,), name="row")
    first = dense(3)(row)
    return keras.Model(row, {"zoo": first, "ant": dense(2)(first), "bee": first})


def nothing_shared():
    row = keras.Input((5,), name="row")
    return keras.Model(row, {"zoo": dense(2)(row), "ant": dense(3)(row)})


def fused():
    """Heads that are one layer, and one that is built on two of them."""
    row = keras.Input((5,), name="row")
    heads = FusedHeads(["zoo", "ant", "bee"], 2)(dense(6)(row))
    both = keras.layers.Concatenate()([heads["zoo"], heads["bee"]])
    return keras.Model(row, {**heads, "cat": dense(2)(both)})


def mixed():
    row = keras.Input((5,), name="row")
    hidden = keras.layers.Dense(7, dtype="mixed_bfloat16")(row)
    return keras.Model(row, {"zoo": keras.layers.Dense(2, dtype="float32")(hidden), "ant": hidden * 2})


def masked():
    """A mask goes from the shared embedding to a head that looks at it."""
    row = keras.Input((5,), name="row", dtype="int32")
    words = keras.layers.Embedding(10, 4, mask_zero=True)(row)
    pooled = keras.layers.GlobalAveragePooling1D()
    return keras.Model(row, {"zoo": pooled(words), "ant": dense(2)(words)})


CUTS = [two_edges, an_input_of_its_own, an_output_inside, nothing_shared, mixed]


def samples(model):
    generator = np.random.default_rng(2)
    made = {
        "float32": lambda shape: generator.normal(size=shape),
        "int32": lambda shape: generator.integers(0, 3, shape),
    }
    return {one.name: made[one.dtype]((4, *one.shape[1:])).astype(one.dtype) for one in model.inputs}


# One edge, heads that are one layer, a mask; the others are ways to cut a graph.
@pytest.mark.parametrize(
    "build", [straight, fused, masked, *(pytest.param(one, marks=pytest.mark.long) for one in CUTS)]
)
def test_every_signature_gives_the_models_outputs(build, tmp_path):
    keras.utils.set_random_seed(1)
    model = build()
    given = {name: tf.constant(values) for name, values in samples(model).items()}
    expected = model(given if len(given) > 1 else given["row"], training=False)
    loaded = tf.saved_model.load(str(kmtl.export.saved_model(model, tmp_path)))
    for name in ("serving_default", *model.output):
        found = loaded.signatures[name](**given)
        assert set(found) == (set(model.output) if name == "serving_default" else {name})
        for task, values in found.items():
            np.testing.assert_allclose(tf.cast(values, "float32"), tf.cast(expected[task], "float32"), atol=1e-6)


@pytest.mark.parametrize(
    ("build", "edges"),
    [
        (straight, 1),
        (an_input_of_its_own, 1),
        (an_output_inside, 1),
        (nothing_shared, 0),
        (fused, 1),
        (mixed, 1),
        (masked, 0),
    ],
)
def test_the_stem_ends_where_the_tasks_part(build, edges):
    model = build()
    found = stems.stem(model, signatures.specs(model))
    assert len(found.tensors if found else ()) == edges


def test_the_shared_layers_are_written_once(tmp_path):
    version = kmtl.export.saved_model(straight(), tmp_path)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        graph = tf.compat.v1.saved_model.load(session, ["serve"], str(version)).graph_def
    products = [node for function in graph.library.function for node in function.node_def if node.op == "MatMul"]
    # The trunk's one; the joint signature's three of the heads, and those of each task alone.
    assert len(products) == 1 + 3 + 3


def test_a_task_alone_runs_no_other_head(tmp_path):
    loaded = tf.saved_model.load(str(kmtl.export.saved_model(an_input_of_its_own(), tmp_path)))
    shapes = {tuple(variable.shape) for variable in loaded.signatures["bee"].variables}
    assert (11, 1) in shapes
    assert not shapes & {(9, 2), (4, 3)}


def test_the_model_itself_is_not_touched(tmp_path):
    keras.utils.set_random_seed(2)
    model = straight()
    before = model.get_config()
    for _ in range(2):
        kmtl.export.saved_model(model, tmp_path / "versions")
    assert model.get_config() == before
    assert model.get_layer("trunk").output.shape == (None, 7)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    rows = samples(model)["row"]
    np.testing.assert_array_equal(again(rows)["ant"], model(rows)["ant"])
