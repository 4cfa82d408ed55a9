"""All layers in one model: missing labels and inputs, mixed precision, files, replicas, exports."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from states import with_scales

import kmtl
from kmtl.sharing import AveragedHeads, Cascade, ConceptExpansion, CrossStitch, FeatureFusion, present_rows

MODES = ["concat", "sum", "mean", "max", "gated", "attention", "bilinear"]
COUNT = 8
TASKS = [
    kmtl.Classification("kind", classes=3),
    *(kmtl.MultiLabel(name, labels=2) for name in ("read", "bought", "wanted")),
    kmtl.Regression("stars"),
]
PROGRAM = """
import json
import kmtl
from sharing.test_every_layer import trained

kmtl.distribution.logical_devices(2)
with kmtl.distribution.strategy("mirrored").scope():
    model, logs = trained(run_eagerly=True)
print(json.dumps([logs, [weight.ravel().tolist() for weight in model.get_weights()]]))
"""


def build():
    """A row of numbers and a text, either of which may be missing, fused in every way; the same on every call."""
    keras.utils.set_random_seed(4)
    inputs = {"numbers": keras.Input((5,), name="numbers"), "text": keras.Input((4,), dtype="int32", name="text")}
    there = {name: present_rows(one) for name, one in inputs.items()}
    tokens = keras.layers.Embedding(7, 3)(inputs["text"])
    branches = {"numbers": keras.layers.Dense(4, "tanh")(inputs["numbers"])}
    branches["text"] = keras.layers.GlobalAveragePooling1D()(tokens)
    fused = {mode: FeatureFusion(mode, units=3, activation="tanh")(branches, present=there) for mode in MODES}
    masks = dict.fromkeys(fused, there["numbers"])
    concepts = ConceptExpansion(6)(fused, present=masks)
    towers = CrossStitch(by="channel")([keras.layers.Dense(4, "relu")(concepts) for _ in range(2)])
    outputs = AveragedHeads.from_tasks(TASKS[1:4], mean="wanted")(dict(zip(("read", "bought"), towers, strict=True)))
    others = Cascade({"stars": ["kind"]}, stop_gradient=True)(concepts, [TASKS[0], TASKS[4]])
    return kmtl.MultiTaskModel(inputs, {**outputs, **others}, tasks=TASKS)


def data():
    """Rows of which some lack numbers, some text, and one both; labels of which a third is missing."""
    generator = np.random.default_rng(3)
    x = {
        "numbers": generator.normal(size=(COUNT, 5)).astype("float32"),
        "text": generator.integers(1, 7, (COUNT, 4)).astype("int32"),
    }
    x["numbers"][[0, 5]], x["text"][[1, 5, 6]] = 0, 0
    labels = {
        "kind": generator.integers(0, 3, COUNT).astype("int32"),
        **{name: generator.integers(0, 2, (COUNT, 2)).astype("int32") for name in ("read", "bought", "wanted")},
        "stars": generator.normal(3, 1, COUNT).astype("float32"),
    }
    for task in TASKS:
        # Uneven between the halves of the batch, which two replicas see.
        labels[task.name][generator.choice(6, 3, replace=False)] = task.missing
    return x, labels


def trained(epochs=2, **options):
    """Two steps on all rows, and the logs."""
    model = build()
    model.compile(keras.optimizers.SGD(0.3), **options)
    history = model.fit(*data(), batch_size=COUNT, epochs=epochs, shuffle=False, verbose=0).history
    return model, {key: [float(value) for value in values] for key, values in history.items()}


@pytest.fixture
def mixed():
    """Layers of half precision, and back."""
    keras.mixed_precision.set_global_policy("mixed_float16")
    yield
    keras.mixed_precision.set_global_policy("float32")


@pytest.mark.usefixtures("mixed")
def test_it_trains_in_mixed_precision_on_what_is_there_and_comes_back_from_its_file(tmp_path):
    model, logs = trained(epochs=1, run_eagerly=True)
    assert np.isfinite(list(logs.values())).all()
    # All but the scales of `stars`, a token that does not occur, and the like.
    start = build().get_weights()
    assert sum(np.any(one != other) for one, other in zip(start, model.get_weights(), strict=True)) > 0.9 * len(start)
    x, _ = data()
    outputs = model.predict_on_batch(x)
    assert {output.dtype for output in outputs.values()} == {np.dtype("float32")}
    assert all(np.isfinite(output).all() for output in outputs.values())
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras").predict_on_batch(x)
    for name, output in outputs.items():
        np.testing.assert_array_equal(again[name], output)


@pytest.mark.long
def test_two_replicas_train_as_one_device():
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    code = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(code, capture_output=True, text=True, timeout=300, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    logs, weights = json.loads(done.stdout.splitlines()[-1])
    model, expected = trained(run_eagerly=True)
    for key, values in expected.items():
        assert logs[key] == pytest.approx(values, rel=1e-4), key
    for found, weight in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_allclose(found, weight.ravel(), rtol=1e-4, atol=1e-6)


@pytest.mark.long
def test_exports_give_what_the_model_gives_with_inputs_missing(tmp_path):
    model = with_scales(build())
    x, _ = data()
    expected = model.predict_on_batch(x)
    saved = tf.saved_model.load(kmtl.export.saved_model(model, tmp_path / "model"))
    file = kmtl.export.litert(model, tmp_path / "model.tflite")
    runners = {
        "saved": lambda given: saved.signatures["serving_default"](**{key: tf.constant(v) for key, v in given.items()}),
        "lite": lambda given: Interpreter(model_path=str(file)).get_signature_runner("serving_default")(**given),
    }
    for form, run in runners.items():
        found = run(x)
        for name, output in expected.items():
            np.testing.assert_allclose(found[name], output, rtol=1e-4, atol=1e-5, err_msg=f"{form} {name}")
