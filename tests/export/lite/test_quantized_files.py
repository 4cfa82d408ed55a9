"""Files with fewer bits: what they compute, what they cost, and when they are not written."""

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from cases import cases

import kmtl
import kmtl.export
from kmtl.export.lite import metadata, running
from kmtl.export.lite.quality import quality

MODES = ("float16", "dynamic", "int8", "int8_io")
TASKS = ["species", "area", "age-1.y"]


@pytest.fixture(scope="module")
def data():
    """Labels that the inputs tell; the two elements of `area` are of sizes that no common scale fits."""
    generator = np.random.default_rng(8)
    photo = generator.random((192, 8, 8, 1), "float32")
    word = generator.integers(0, 9, (192, 2)).astype("int32")
    mean = photo.mean(axis=(1, 2, 3))
    labels = {
        "species": word[:, 0] % 3,
        "area": np.stack([3000 * word[:, 1], 5 + 10 * mean], axis=1).astype("float32"),
        "age-1.y": (40 + 5 * word[:, 0]).astype("float32"),
    }
    return {"photo-1.x": photo, "word": word}, labels


@pytest.fixture(scope="module")
def pets(data):
    """Two inputs, one of them integer; batch normalisation that folds; standardised regressions."""
    keras.utils.set_random_seed(4)
    photo, word = keras.Input((8, 8, 1), name="photo-1.x"), keras.Input((2,), dtype="int32", name="word")
    hidden = kmtl.trunks.convnet(photo, widths=(8, 16), units=16)
    hidden = keras.layers.Concatenate()([hidden, keras.layers.Flatten()(keras.layers.Embedding(9, 8)(word))])
    hidden = keras.layers.Dense(64, activation="relu")(hidden)
    tasks = [kmtl.Classification("species", 3), kmtl.Regression("area", shape=(2,)), kmtl.Regression("age-1.y")]
    model = kmtl.MultiTaskModel.from_features([photo, word], hidden, tasks)
    model.compile(keras.optimizers.Adam(1e-2))
    model.fit(*data, epochs=12, batch_size=32, verbose=0)
    return model


@pytest.fixture(scope="module")
def quantized(pets, data, tmp_path_factory):
    """One file a way to store numbers, made when first asked for."""
    made = {}

    def make(mode):
        if mode not in made:
            path = tmp_path_factory.mktemp("lite") / f"{mode}.tflite"
            calibration = data[0] if mode.startswith("int8") else None
            options = {"quantize": mode, "calibration": calibration, "validation": data, "tolerance": None}
            made[mode] = kmtl.export.litert(pets, path, **options)
        return made[mode]

    return make


@pytest.mark.long
@pytest.mark.parametrize("mode", cases(MODES, "int8_io"))
def test_every_signature_of_every_mode_gives_the_models_outputs_for_any_batch(pets, data, quantized, mode):
    run = running.runner(quantized(mode).read_bytes())
    expected = {task: values.numpy() for task, values in pets(list(data[0].values())).items()}
    for size in (1, 5, 192):
        found = run({name: values[:size] for name, values in data[0].items()})
        assert set(found) == {"serving_default", *TASKS}
        for name, outputs in found.items():
            assert set(outputs) == (set(TASKS) if name == "serving_default" else {name})
            for task, values in outputs.items():
                # The scale of all elements together: with int8 outputs the small one of `area` is lost.
                allowed = 0.05 * np.ptp(expected[task])
                np.testing.assert_allclose(values, expected[task][:size], atol=allowed)


@pytest.mark.long
def test_types_at_the_door(quantized):
    for mode in MODES:
        signature = Interpreter(model_path=str(quantized(mode))).get_signature_runner("serving_default")
        number = np.int8 if mode == "int8_io" else np.float32
        given = {name: detail["dtype"] for name, detail in signature.get_input_details().items()}
        assert given == {"photo-1.x": number, "word": np.int32}
        assert {detail["dtype"] for detail in signature.get_output_details().values()} == {number}


@pytest.mark.parametrize("mode", ["int8", "int8_io"])
def test_every_signature_is_calibrated(quantized, mode):
    model = schema.ModelT.InitFromPackedBuf(quantized(mode).read_bytes())
    heavy = (schema.BuiltinOperator.CONV_2D, schema.BuiltinOperator.FULLY_CONNECTED)
    for signature in model.signatureDefs:
        graph = model.subgraphs[signature.subgraphIndex]
        ends = {entry.tensorIndex for entry in signature.outputs}
        made = [
            operation.outputs[0]
            for operation in graph.operators
            if model.operatorCodes[operation.opcodeIndex].builtinCode in heavy
        ]
        inside = {graph.tensors[index].type for index in made if index not in ends}
        assert len(made) >= 4
        assert inside == {schema.TensorType.INT8}


def test_float_outputs_of_an_int8_file_are_not_rounded_to_its_steps(pets, data, quantized):
    rows = {mode: quality(pets, quantized(mode), *data).rows for mode in ("int8", "int8_io")}
    found = {mode: next(row for row in rows[mode] if row.metric == "r2_against_keras") for mode in rows}
    assert found["int8"].task == found["int8_io"].task == "area"
    assert found["int8"].after > 0.99
    assert found["int8_io"].after < 0.5


def test_a_file_that_is_too_much_worse_is_not_written(pets, data, tmp_path):
    path = tmp_path / "m.tflite"
    path.write_bytes(b"the old one")
    with pytest.raises(ValueError, match=r"task 'area', got r2_against_keras 1 before and .* % worse") as caught:
        kmtl.export.litert(pets, path, ["area"], quantize="int8_io", calibration=data[0])
    assert str(caught.value).startswith("litert: `tolerance` of 0.01 must hold")
    assert "quantize='int8', 'dynamic' or 'float16', or pass tolerance=None" in str(caught.value)
    assert [entry.name for entry in tmp_path.iterdir()] == ["m.tflite"]
    assert path.read_bytes() == b"the old one"


def test_the_tasks_own_metric_decides_where_there_are_labels(pets, data, tmp_path):
    labels = {"age-1.y": pets(list(data[0].values()))["age-1.y"].numpy()[:, 0] + 0.001}
    with pytest.raises(ValueError, match=r"task 'age-1.y', got mae 0.00.* before and .* after") as caught:
        kmtl.export.litert(
            pets, tmp_path / "m.tflite", ["age-1.y", "species"], quantize="dynamic", validation=(data[0], labels)
        )
    assert "species" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_subset_leaves_the_other_heads_out(pets, data, quantized, tmp_path):
    path = kmtl.export.litert(pets, tmp_path / "m.tflite", ["species"], quantize="int8", calibration=data[0])
    run = running.runner(path.read_bytes())
    assert set(run(data[0])) == {"serving_default", "species"}
    assert path.stat().st_size < quantized("int8").stat().st_size
    assert list(metadata.read(path)["tasks"]) == ["species"]


def test_the_file_tells_what_it_is(pets, data, quantized):
    told = metadata.read(quantized("int8"))
    assert list(told["tasks"]) == TASKS
    assert told["quantize"] == "int8"
    assert sorted(told["signatures"]) == sorted(["serving_default", *TASKS])
    rows = quality(pets, quantized("int8"), *data).rows
    for stored, row in zip(told["quality"], rows, strict=True):
        assert (stored["task"], stored["metric"]) == (row.task, row.metric)
        assert stored["after"] == pytest.approx(row.after)


@pytest.mark.long
def test_int8_is_a_quarter_of_float32(tmp_path):
    row = keras.Input((64,), name="row")
    hidden = keras.layers.Dense(1024, activation="relu")(keras.layers.Dense(512, activation="relu")(row))
    model = keras.Model(row, {"b": keras.layers.Dense(2)(hidden), "a": keras.layers.Dense(3)(hidden)})
    rows = np.random.default_rng(1).normal(size=(64, 64))
    sizes = {}
    for mode, calibration in ((None, None), ("int8", rows)):
        path = kmtl.export.litert(model, tmp_path / "m.tflite", quantize=mode, calibration=calibration, tolerance=0.05)
        sizes[mode] = path.stat().st_size
    assert model.count_params() > 500_000
    assert sizes["int8"] <= 0.30 * sizes[None]


def test_fused_heads_in_mixed_precision_become_int8(tmp_path):
    tasks = [kmtl.Regression(name, shape=(2,)) for name in ("d", "b", "a", "c")]
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        row = keras.Input((4,), name="row")
        model = kmtl.MultiTaskModel.from_features(row, keras.layers.Dense(32, activation="relu")(row), tasks)
    finally:
        keras.config.set_dtype_policy(before)
    for place, task in enumerate(tasks):
        model.get_layer(task.name).learn([10.0**place, 5.0], [10.0**place, 1e5])
    rows = np.random.default_rng(1).normal(size=(99, 4)).astype("float32")
    path = kmtl.export.litert(model, tmp_path / "m.tflite", ["c", "d"], quantize="int8", calibration=rows)
    table = quality(model, path, rows)
    assert [(row.task, row.metric) for row in table.rows] == [(name, "r2_against_keras") for name in ("d", "c")]
    assert table.worst <= 1.0


def test_all_that_is_wrong_is_told_before_anything_is_converted(pets, small, data, rows, tmp_path):
    x, y = data
    wrong = {**x, "word": x["word"].astype("float32")}
    for options, words in (
        ({"quantize": "int8"}, r"`calibration` must be given for quantize='int8', got None"),
        ({"quantize": "float16", "calibration": x}, "`calibration` must be left out unless .*got quantize='float16'"),
        ({"calibration": x}, "`calibration` must be left out unless .*got quantize=None"),
        ({"quantize": "int8io"}, r"`quantize` must be None or one of .*got 'int8io'. Did you mean 'int8_io'\?"),
        ({"quantize": 8}, "`quantize` must be None or one of"),
        ({"tasks": ["areas"]}, r"`tasks` must name tasks of the model, got 'areas'. Did you mean 'area'\?"),
        ({"validation": x}, r"`validation` must be a tuple .*got dict without labels"),
        ({"validation": (x, None)}, "`validation` must be a tuple"),
        ({"validation": (x, {"areas": y["area"]})}, r"`y` must .*'areas'"),
        ({"tolerance": -0.1}, "`tolerance` must be None or a finite number of at least 0, got -0.1. 0.01 allows one"),
        ({"tolerance": float("nan")}, "`tolerance` must be None or a finite number"),
        ({"select_tf_ops": True, "validation": data}, "`select_tf_ops` must be False .*`validation`"),
        ({"select_tf_ops": 1}, "`select_tf_ops` must be True or False, got 1"),
        ({"metrics": {"mae": "low"}}, "`metrics` must be numbers by name"),
        (
            {"quantize": "int8", "calibration": wrong, "tolerance": "1%"},
            "(?s)`tolerance` .*`calibration` must hold int32",
        ),
    ):
        with pytest.raises(ValueError, match=f"(?s)^litert: {words}" if "(?s)" not in words else words):
            kmtl.export.litert(pets, tmp_path / "m.tflite", **options)
    with pytest.raises(ValueError, match="`model` must know its tasks, to be measured on labels, got Functional"):
        kmtl.export.litert(small, tmp_path / "m.tflite", validation=(rows, {"width": rows[:, :2]}))
    assert list(tmp_path.iterdir()) == []


# The quickstart's own size and length: one percent is what it may lose.
SHOWN_BY_HAND = pytest.param((48, 96, 384), 4, 1.0, marks=pytest.mark.slow)


@pytest.mark.long
@pytest.mark.parametrize(("widths", "epochs", "lost"), [((16, 32, 64), 1, 40.0), SHOWN_BY_HAND])
def test_int8_keeps_what_the_quickstart_learned(prepared, tmp_path, widths, epochs, lost):
    """Of a small model of a few batches int8 loses more, as of every model that has learned little."""
    keras.utils.set_random_seed(0)
    train, validation, test = kmtl.data.load("digit_poses", data_dir=prepared)
    samples = train
    if epochs == 1:
        train, validation, test, samples = train.take(40), validation.take(2), test.take(2), train.take(1)
    image = keras.Input((32, 32, 1), name="image")
    features = kmtl.trunks.convnet(image, widths=widths)
    model = kmtl.MultiTaskModel.from_features(image, features, kmtl.data.tasks("digit_poses"))
    rate = keras.optimizers.schedules.CosineDecay(3e-3, epochs * len(train))
    model.compile(keras.optimizers.Adam(rate), loss_weights={"digit": 1.0, "angle": 2.0, "position": 2.0})
    model.fit(train, epochs=epochs, verbose=0)
    options = {"int8": {"calibration": samples}, None: {}}
    if epochs > 1:
        options["int8_io"] = options["int8"]
    sizes = {}
    for mode, more in options.items():
        path = tmp_path / f"{mode}.tflite"
        kmtl.export.litert(model, path, quantize=mode, validation=validation, tolerance=lost / 100, **more)
        sizes[mode] = path.stat().st_size
        assert quality(model, path, test).worst < lost
    assert sizes["int8"] <= (0.30 if epochs > 1 else 0.5) * sizes[None]
