"""What reads boxes is made of operations that every exported form has: no op of TensorFlow's own."""

import numpy as np
import pytest
import tensorflow as tf

from kmtl.tasks import Detection

pytestmark = pytest.mark.long
TASK = Detection("boxes", 3, grid=4, score_threshold=0.2)
OUTPUTS = np.random.default_rng(0).uniform(0.05, 0.95, (3, *TASK.output_shape)).astype("float32")


@pytest.fixture(scope="module")
def expected():
    read = {key: value.numpy() for key, value in TASK.read(OUTPUTS).items()}
    assert len(set(read["count"])) > 1
    assert 0 < read["count"].min() < read["count"].max() < TASK.most
    return read


@pytest.fixture(scope="module")
def traced():
    return tf.function(TASK.read, input_signature=[tf.TensorSpec((None, *TASK.output_shape), name="outputs")])


def same(found, expected):
    for key, value in expected.items():
        np.testing.assert_allclose(found[key], value, atol=1e-6)


def test_litert_reads_as_keras_does(traced, expected, tmp_path):
    from ai_edge_litert.interpreter import Interpreter

    tf.saved_model.save(tf.Module(), str(tmp_path), signatures={"read": traced})
    converter = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path), signature_keys=["read"])
    interpreter = Interpreter(model_content=converter.convert())
    same(interpreter.get_signature_runner("read")(outputs=OUTPUTS), expected)


def test_onnx_reads_as_keras_does(traced, expected):
    tf2onnx = pytest.importorskip("tf2onnx")
    runtime = pytest.importorskip("onnxruntime")
    model, _ = tf2onnx.convert.from_function(traced, input_signature=list(traced.input_signature))
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_outputs()]
    found = dict(zip(names, session.run(None, {session.get_inputs()[0].name: OUTPUTS}), strict=True))
    same(dict(zip(sorted(expected), [found[name] for name in names], strict=True)), expected)
