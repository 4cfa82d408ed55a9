import json
import logging
import re
import resource
import sys

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf
from states import with_scales

import kmtl
import kmtl.export
from kmtl.export.onnx import _rename, read_description
from kmtl.export.onnx import onnx as export

LABELS = ["pomme", "苹果", 'a"/\n..']


def session(path):
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def given_names(path):
    found = session(path)
    return [one.name for one in found.get_inputs()], [one.name for one in found.get_outputs()]


@pytest.fixture(scope="module")
def pets(model, tmp_path_factory):
    return export(model, tmp_path_factory.mktemp("onnx") / "new" / "pets.onnx", metrics={"loss": 0.25})


def test_outputs_are_those_of_keras_together_and_each_alone_for_any_batch(model, pets, samples):
    assert pets.parts[-2:] == ("new", "pets.onnx")
    assert pets._repr_html_() == f"<code>{pets}</code>"
    assert given_names(pets) == (["photo-1.x", "extra"], ["species", "age-1.y", "area"])
    found = session(pets)
    for size in (1, 6):
        part = {name: values[:size] for name, values in samples.items()}
        expected = model([part["photo-1.x"], part["extra"]], training=False)
        together = dict(zip(expected, found.run(None, part), strict=True))
        for task in expected:
            np.testing.assert_allclose(together[task], expected[task], atol=1e-5)
            (alone,) = found.run([task], part)
            np.testing.assert_array_equal(alone, together[task])


def test_weights_are_stored_once_and_the_batch_has_one_name(model, pets):
    assert pets.stat().st_size < 1.1 * sum(weight.nbytes for weight in model.get_weights())
    graph = onnx.load(pets).graph
    sizes = [value.type.tensor_type.shape.dim[0] for value in (*graph.input, *graph.output)]
    assert {size.dim_param for size in sizes} == {"batch"}


def test_the_file_tells_of_itself(pets, tmp_path):
    told = read_description(pets)
    assert (told["name"], list(told["tasks"]), told["metrics"]) == (
        "pets",
        ["species", "age-1.y", "area"],
        {"loss": 0.25},
    )
    assert [entry.key for entry in onnx.load(pets).metadata_props] == ["kmtl.json"]
    foreign = onnx.load(pets)
    del foreign.metadata_props[:]
    onnx.save(foreign, tmp_path / "foreign.onnx")
    assert read_description(tmp_path / "foreign.onnx") is None


def test_what_is_no_onnx_file_tells_nothing(pets, tmp_path):
    for content in (b"", b"not a model", pets.read_bytes()[:1000]):
        (tmp_path / "bad.onnx").write_bytes(content)
        with pytest.raises(ValueError, match=r"^read_description: `path` must be an ONNX file, got .*bad\.onnx"):
            read_description(tmp_path / "bad.onnx")
    with pytest.raises(FileNotFoundError):
        read_description(tmp_path / "none.onnx")


def test_label_names_of_any_script_come_back_and_kinds_decide(rows, tmp_path):
    row = keras.Input((4,), name="row")
    tasks = [
        kmtl.Classification("fruit", 3, label_names=LABELS),
        kmtl.Regression("size", unit="µm"),
        kmtl.BinaryClassification("ripe"),
    ]
    model = with_scales(kmtl.MultiTaskModel.from_features(row, keras.layers.Dense(3)(row), tasks))
    path = export(model, tmp_path / "m.onnx")
    told = read_description(path)["tasks"]
    assert told["fruit"]["label_names"] == LABELS
    assert told["size"]["unit"] == "µm"
    table = kmtl.export.check(model, path, rows, tolerance=1e-5)
    assert [row.decisions for row in table.rows] == [1.0, None, 1.0]


def test_names_that_look_alike_stay_apart(rows, tmp_path):
    first, second = keras.Input((4,), name="in-1"), keras.Input((4,), name="in.2")
    scales = {"b-c": 1.0, "b.c": 10.0, "b_c": 100.0, "output_000000": 0.5, "input_000000": 0.25}
    outputs = {name: keras.layers.Rescaling(scale)(first - 2 * second) for name, scale in scales.items()}
    path = export(keras.Model([first, second], outputs), tmp_path / "m.onnx")
    assert given_names(path) == (["in-1", "in.2"], list(scales))
    given = {"in-1": rows, "in.2": rows + 1}
    for scale, found in zip(scales.values(), session(path).run(None, given), strict=True):
        np.testing.assert_allclose(found, scale * (rows - 2 * (rows + 1)), rtol=1e-5)


def test_an_inner_tensor_makes_way_for_a_task_of_its_name():
    """The converter numbers its own names anew in every run, so that a graph is written by hand."""
    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n"]) for name in ("given", "plain")]
    nodes = [
        onnx.helper.make_node("Relu", ["given"], ["Const__1"]),
        onnx.helper.make_node("Neg", ["Const__1"], ["plain"]),
    ]
    graph = onnx.helper.make_graph(nodes, "graph", values[:1], values[1:])
    _rename(graph, {"given": "row", "plain": "Const__1"})
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 15)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    (found,) = session(model.SerializeToString()).run(["Const__1"], {"row": np.array([-1.0, 2.0], "float32")})
    assert found.tolist() == [0.0, -2.0]


@keras.saving.register_keras_serializable("tests.export")
class Branch(keras.layers.Layer):
    """Reads its input from inside the two branches of a condition."""

    def call(self, inputs):
        return keras.ops.cond(keras.ops.sum(inputs) > 0, lambda: inputs * 2.0, lambda: inputs - 1.0)

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(inputs.shape)


def test_branches_find_the_inputs_and_tasks_under_their_names(rows, tmp_path):
    row = keras.Input((4,), name="row-1")
    hidden = Branch()(row)
    path = export(keras.Model(row, {"z": Branch()(hidden), "a-b": hidden}), tmp_path / "m.onnx")
    for values in (np.abs(rows), -np.abs(rows)):
        second, first = session(path).run(["z", "a-b"], {"row-1": values})
        np.testing.assert_allclose(first, values * 2 if values.sum() > 0 else values - 1, rtol=1e-6)
        np.testing.assert_allclose(second, first * 2 if values.sum() > 0 else first - 1, rtol=1e-6)


def test_tasks_left_out_take_their_heads_along(model, samples, tmp_path):
    path = export(model, tmp_path / "m.onnx", ["area"])
    assert given_names(path) == (["photo-1.x", "extra"], ["area"])
    shapes = {tuple(weight.dims) for weight in onnx.load(path).graph.initializer}
    assert (300, 2) in shapes
    assert not shapes & {(300, 3), (300, 1)}
    assert list(read_description(path)["tasks"]) == ["area"]
    assert [row.task for row in kmtl.export.check(model, path, samples, tolerance=1e-5).rows] == ["area"]


def test_fused_heads_are_cut_to_the_tasks_asked_for(tmp_path):
    row = keras.Input((4,), name="row")
    tasks = [kmtl.Regression(f"t{place}") for place in range(40)]
    model = with_scales(kmtl.MultiTaskModel.from_features(row, keras.layers.Dense(50)(row), tasks, fuse=True))
    whole = export(model, tmp_path / "whole.onnx")
    part = export(model, tmp_path / "part.onnx", ["t7", "t30"])
    assert given_names(part)[1] == ["t7", "t30"]
    size = {path: sum(np.prod(one.dims) for one in onnx.load(path).graph.initializer) for path in (whole, part)}
    assert size[part] < 0.5 * size[whole]
    values = np.ones((3, 4), "float32")
    for task, found in zip(["t7", "t30"], session(part).run(None, {"row": values}), strict=True):
        np.testing.assert_allclose(found, model(values)[task], rtol=1e-5, atol=1e-6)


def test_mixed_precision_is_written_as_its_float32_twin(rows, tmp_path):
    def build(dtype):
        row = keras.Input((4,), name="row")
        hidden = keras.layers.Dense(3, dtype=dtype)(row)
        return keras.Model(row, {"b": keras.layers.Dense(2, dtype="float32")(hidden), "a": hidden})

    mixed, twin = build("mixed_bfloat16"), build("float32")
    twin.set_weights(mixed.get_weights())
    path = export(mixed, tmp_path / "m.onnx")
    assert {one.type for one in session(path).get_outputs()} == {"tensor(float)"}
    second, first = session(path).run(["b", "a"], {"row": rows})
    np.testing.assert_allclose(second, twin(rows)["b"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(first, twin(rows)["a"], rtol=1e-5, atol=1e-6)


def test_whole_numbers_go_in_and_an_input_may_be_an_output(tmp_path):
    word, row = keras.Input((3,), dtype="int32", name="word"), keras.Input((2,), name="row")
    model = keras.Model(
        {"word": word, "row": row}, {"tone": keras.layers.Embedding(9, 2)(word), "same": row, "twice": row}
    )
    path = export(model, tmp_path / "m.onnx")
    given = {"word": [[1, 2, 8], [0, 0, 3]], "row": [[0.5, 1.0], [2.0, 3.0]]}
    assert kmtl.export.check(model, path, given).worst == 0.0


def test_nothing_is_printed_or_left_changed(model, tmp_path, capfd):
    loggers = [logging.getLogger(name) for name in ("tensorflow", "tf2onnx")]
    levels = [logger.level for logger in loggers]
    export(model, tmp_path / "m.onnx")
    printed = capfd.readouterr()
    # TensorFlow's C++ code tells of its sessions, unless the environment tells it not to.
    told = [line for line in printed.err.splitlines() if not re.match(r"I\d{4} \d\d:", line)]
    assert (printed.out, told) == ("", [])
    assert [logger.level for logger in loggers] == levels
    assert [entry.name for entry in tmp_path.iterdir()] == ["m.onnx"]


@keras.saving.register_keras_serializable("tests.export")
class Foreign(keras.layers.Layer):
    """Uses an operation that ONNX lacks, inside a branch."""

    def call(self, inputs):
        return tf.cond(tf.reduce_sum(inputs) > 0, lambda: tf.math.betainc(inputs, inputs, inputs), lambda: inputs)


@keras.saving.register_keras_serializable("tests.export")
class Untraceable(keras.layers.Layer):
    """Runs eagerly only."""

    def call(self, inputs):
        return keras.ops.convert_to_tensor(inputs.numpy())

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(inputs.shape)


def test_a_model_that_does_not_convert_leaves_the_old_file(small, tmp_path, caplog):
    path = export(small, tmp_path / "m.onnx")
    before = path.read_bytes()
    text, row = keras.Input((), dtype="string", name="text"), keras.Input((4,), name="row")
    words = keras.layers.TextVectorization(output_sequence_length=3, vocabulary=["red", "fox"])
    for model, says in (
        (
            keras.Model(text, {"tone": words(text)}),
            r"read numbers, got text in \['text'\]. ONNX splits no text: export",
        ),
        (keras.Model(row, {"a": Foreign()(row)}), "use operations that ONNX has, got Betainc. Do that"),
    ):
        with pytest.raises(ValueError, match=f"^onnx: `model` must {says}"):
            export(model, path)
        assert path.read_bytes() == before
    assert caplog.records == []
    assert [entry.name for entry in tmp_path.iterdir()] == ["m.onnx"]


def test_a_full_disk_leaves_the_old_file(model, pets, tmp_path):
    path = tmp_path / "m.onnx"
    path.write_text("old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (pets.stat().st_size // 2, hard))
    try:
        with pytest.raises(OSError, match=r"^.*onnx: could not write below .* nothing was left there"):
            export(model, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [entry.name for entry in tmp_path.iterdir()] == ["m.onnx"]
    assert path.read_text() == "old"


def test_what_the_converter_cannot_do_is_told_in_one_line(tmp_path):
    row = keras.Input((4,), name="row")
    with pytest.raises(ValueError, match=r"^onnx: `model` must convert to ONNX, got AttributeError: [^\n]*numpy"):
        export(keras.Model(row, {"a": Untraceable()(row)}), tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


def test_paths_that_cannot_become_a_file_are_refused(small, tmp_path):
    (tmp_path / "note").touch()
    (tmp_path / "folder.onnx").mkdir()
    for path, words in (
        (tmp_path / "m.h5", "must end in .onnx.*Write '.*m.onnx'"),
        (tmp_path / "m", "must end in .onnx"),
        (tmp_path / "note" / "m.onnx", "must lie in a folder"),
        (tmp_path / "folder.onnx", "must be a file"),
    ):
        with pytest.raises(ValueError, match=f"^onnx: `path` {words}"):
            export(small, path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.onnx", "note"]


def test_all_that_is_wrong_is_told_at_once(small, tmp_path):
    with pytest.raises(ValueError, match=r"(?s)`tasks` must.*'wdth'.*'width'.*`path` must.*`metrics` must"):
        export(small, tmp_path / "m.h5", ["wdth"], metrics=3)
    with pytest.raises(ValueError, match=r"^onnx: `model` must be a built functional"):
        export(keras.Sequential([keras.layers.Dense(1)]), tmp_path / "m.onnx")
    row = keras.Input((4,), name="row")
    with pytest.raises(ValueError, match=r"^onnx: `model` must name no task as an input, got 'row'"):
        export(keras.Model(row, {"a": row * 2, "row": row}), tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("package", ["onnx", "tf2onnx"])
def test_a_package_that_is_absent_is_named_with_its_extra(monkeypatch, small, tmp_path, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"^onnx: needs the package '{package}'.*pip install 'kmtl\[onnx\]'"):
        export(small, tmp_path / "m.onnx")


def test_the_description_is_json_of_its_own(pets):
    (entry,) = onnx.load(pets).metadata_props
    assert entry.value.isascii()
    assert json.loads(entry.value)["inputs"]["photo-1.x"] == {"shape": [None, 8, 8, 1], "dtype": "float32"}
