import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema

from kmtl import _checks
from kmtl.export import fresh_process, signatures
from kmtl.export.lite import float_outputs, quantizing


@pytest.fixture(scope="module")
def two():
    row, word = keras.Input((2,), name="row"), keras.Input((), dtype="int32", name="word")
    return keras.Model([row, word], {"b": keras.layers.Dense(3)(row), "a": word})


@pytest.fixture
def given():
    return {"row": np.arange(1400.0).reshape(700, 2), "word": np.arange(700)}


def samples(model, quantize, calibration):
    with _checks.Refusals("litert") as refusals:
        return quantizing.samples(refusals, model, quantize, calibration)


def test_nothing_is_calibrated_without_int8(two):
    for mode in (None, "float16", "dynamic"):
        assert samples(two, mode, None) == {}


def test_arrays_and_datasets_give_the_same_first_rows(two, given):
    whole = samples(two, "int8", given)
    assert {name: (array.dtype, len(array)) for name, array in whole.items()} == {
        "row": ("float32", 512),
        "word": ("int32", 512),
    }
    batches = tf.data.Dataset.from_tensor_slices(given).batch(300)
    labelled = tf.data.Dataset.zip(batches, batches)
    for dataset in (batches, labelled, batches.repeat(), batches.batch(1).unbatch()):
        found = samples(two, "int8_io", dataset)
        for name, array in whole.items():
            np.testing.assert_array_equal(found[name], array)
            assert array[511].tolist() == given[name][511].tolist()


def test_one_input_needs_no_name(small, rows):
    batches = tf.data.Dataset.from_tensor_slices((rows, rows[:, 0])).batch(2)
    for calibration in (rows, rows.tolist(), batches):
        np.testing.assert_array_equal(samples(small, "int8", calibration)["row"], rows)


def hole(given):
    return {**given, "row": np.where(given["row"] == 7, np.nan, given["row"])}


@pytest.mark.parametrize(
    ("calibration", "words"),
    [
        (lambda given: given["row"], r"must be a dict with the keys \['row', 'word'\], got none"),
        (lambda given: {**given, "word": given["word"][:3]}, r"as many rows for every input, got {'row': 700, 'word'"),
        (lambda given: {**given, "row": given["row"][:, :1]}, r"the shape \(None, 2\) for input 'row', got \(700, 1\)"),
        (lambda given: {name: values[:0] for name, values in given.items()}, r"for input 'row', got \(0, 2\)"),
        (lambda given: {**given, "word": given["word"] + 0.5}, "must hold int32 for input 'word', got float64"),
        (hole, "must hold finite numbers for input 'row', got 1 that are not. Drop those rows"),
        (lambda given: tf.data.Dataset.from_tensor_slices(given).batch(2).take(0), "at least one batch, got none"),
        (lambda given: tf.data.Dataset.from_tensor_slices(given), r"the shape \(None, 2\) for input 'row'"),
    ],
)
def test_calibration_data_that_does_not_fit_is_refused(two, given, calibration, words):
    with pytest.raises(ValueError, match=f"^litert: `calibration` .*{words}"):
        samples(two, "int8", calibration(given))


def test_what_is_stored_comes_back_within_half_a_step():
    detail = {"dtype": np.int8, "quantization": (0.25, 40)}
    values = np.linspace(-42.0, 21.75, 99)
    stored = fresh_process.quantize(values, detail)
    assert (stored.dtype, stored[0], stored[-1]) == ("int8", -128, 127)
    assert np.abs(fresh_process.dequantize(stored, detail) - values).max() <= 0.125
    assert fresh_process.quantize(np.array([-1e9, 1e9]), detail).tolist() == [-128, 127]
    plain = {"dtype": np.float32, "quantization": (0.0, 0)}
    assert fresh_process.quantize(values, plain) is fresh_process.dequantize(values, plain) is values


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """Output `scaled` ends in steps that no kernel takes in, `plain` in a kernel, `chosen` in a softmax."""
    row = keras.Input((6,), name="row")
    hidden = keras.layers.Dense(8, activation="relu")(row)
    outputs = {
        "scaled": keras.layers.Rescaling([2.0, 3.0], [4.0, 5.0])(keras.layers.Dense(2, activation="tanh")(hidden)),
        "plain": keras.layers.Dense(3)(hidden),
        "chosen": keras.layers.Dense(4, activation="softmax")(hidden),
    }
    model = keras.Model(row, outputs)
    folder = str(tmp_path_factory.mktemp("saved"))
    names = signatures.save(model, outputs, folder)
    rows = {"row": np.random.default_rng(2).normal(size=(40, 6)).astype("float32")}

    def convert(quantize, exact):
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=names)
        return quantizing.convert(converter, quantize, names, rows, exact)

    return convert


def operations(content):
    """The operations of the joint signature: their numbers in the format, with the types of what they make."""
    model = schema.ModelT.InitFromPackedBuf(content)
    place = next(item.subgraphIndex for item in model.signatureDefs if item.signatureKey == b"serving_default")
    graph = model.subgraphs[place]
    return [
        (model.operatorCodes[operation.opcodeIndex].builtinCode, graph.tensors[operation.outputs[0]].type)
        for operation in graph.operators
    ]


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:\\s*Warning. tf.lite.Interpreter is deprecated")
def test_only_the_last_layers_of_the_tasks_named_stay_float(converted):
    code, number = schema.BuiltinOperator, schema.TensorType
    found = operations(converted("int8", ["scaled", "plain"]))
    assert found.count((code.FULLY_CONNECTED, number.FLOAT32)) == 1
    assert found.count((code.FULLY_CONNECTED, number.INT8)) == 3
    assert {(code.MUL, number.FLOAT32), (code.ADD, number.FLOAT32), (code.TANH, number.INT8)} <= set(found)
    assert (code.SOFTMAX, number.INT8) in found
    found = operations(converted("int8", []))
    assert (code.FULLY_CONNECTED, number.FLOAT32) not in found
    assert {(code.MUL, number.INT8), (code.ADD, number.INT8)} <= set(found)


def test_the_last_layers_are_found_in_every_signature(converted):
    content = converted(None, [])
    model = schema.ModelT.InitFromPackedBuf(content)
    names = float_outputs.nodes(content, ["scaled"])
    made = [
        sum(graph.tensors[index].name.decode() in names for operation in graph.operators for index in operation.outputs)
        for graph in model.subgraphs
    ]
    tasks = {item.subgraphIndex: item.signatureKey.decode() for item in model.signatureDefs}
    assert {tasks[place]: count for place, count in enumerate(made) if count} == {"serving_default": 2, "scaled": 2}
    assert float_outputs.nodes(content, []) == []
