"""Text in, the name of its class and of the tag of every word out, by TensorFlow alone."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import kmtl

TOKENS = 6
TEXTS = ["play queen now", "rain in new york", "play the beatles", "weather in paris today", "play"]
TAGS = ["O B-artist O", "O O B-city I-city", "O B-artist I-artist", "O O B-city O", "O"]
READ = """
import json, sys
import tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
found = model.signatures["decoded"](text=tf.constant(json.loads(sys.argv[2])))
assert "kmtl" not in sys.modules
slots = [[tag.decode() for tag in row] for row in found["slots_label"].numpy()]
print(json.dumps({"intent": [one.decode() for one in found["intent_label"].numpy()], "slots": slots}))
"""


@pytest.mark.long
def test_a_served_text_gets_its_class_and_its_tags_by_name(tmp_path):
    keras.utils.set_random_seed(1)
    slots = kmtl.Tagging("slots", ["O", "B-artist", "I-artist", "B-city", "I-city"], tokens=TOKENS)
    intent = kmtl.Classification("intent", 2, label_names=["PlayMusic", "GetWeather"])
    text = keras.Input((), dtype="string", name="text")
    words = kmtl.trunks.vocabulary(TEXTS, least=1)
    sequence = kmtl.trunks.text(text, words, tokens=TOKENS, width=16, depth=1, pooling=None)
    features = {"sequence": sequence, "vector": kmtl.trunks.pool(sequence, units=None)}
    model = kmtl.MultiTaskModel.from_features(text, features, [intent, slots])
    model.compile(keras.optimizers.Adam(0.03))
    labels = {"intent": np.array([0, 1, 0, 1, 0]), "slots": slots.labels([row.split() for row in TAGS])}
    data = tf.data.Dataset.from_tensor_slices((tf.constant(TEXTS), labels)).batch(5).repeat(60)
    model.fit(data, epochs=1, verbose=0)
    found = kmtl.export.saved_model(model, tmp_path / "assistant", decode=True)
    asked = [*TEXTS, "Play  QUEEN", ""]
    command = [sys.executable, "-c", READ, str(found), json.dumps(asked)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["intent"][:5] == ["PlayMusic", "GetWeather", "PlayMusic", "GetWeather", "PlayMusic"]
    # Behind the last word stands O.
    expected = [row.split() + ["O"] * (TOKENS - len(row.split())) for row in [*TAGS, "O B-artist"]]
    assert told["slots"] == [*expected, ["O"] * TOKENS]
    assert slots.spans(told["slots"][1]) == [("city", 2, 4)]


@pytest.mark.long
def test_the_rule_of_bio_is_kept_by_files_for_phones_too():
    """What a user's own converter makes of `decide`: it holds no loop, and no operation that LiteRT or ONNX lacks."""
    task = kmtl.Tagging("slots", ["O", "B-artist", "I-artist", "B-city", "I-city"], tokens=TOKENS)
    outputs = np.random.default_rng(0).dirichlet(np.full(5, 0.5), (3, TOKENS)).astype("float32")
    expected = keras.ops.convert_to_numpy(task.decide(outputs))
    assert (expected != outputs.argmax(axis=-1)).any()
    form = [tf.TensorSpec((None, TOKENS, 5), name="values")]
    decide = tf.function(lambda values: {"tags": task.decide(values)}, form)
    content = tf.lite.TFLiteConverter.from_concrete_functions([decide.get_concrete_function()]).convert()
    interpreter = pytest.importorskip("ai_edge_litert.interpreter").Interpreter(model_content=content)
    interpreter.resize_tensor_input(interpreter.get_input_details()[0]["index"], outputs.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], outputs)
    interpreter.invoke()
    found = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.testing.assert_array_equal(found, expected)
    converter, runtime = pytest.importorskip("tf2onnx.convert"), pytest.importorskip("onnxruntime")
    proto, _ = converter.from_function(decide, form, opset=17)
    session = runtime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_array_equal(session.run(None, {session.get_inputs()[0].name: outputs})[0], expected)
