"""The loader of TensorFlow Serving, in C++, and `saved_model_cli` run every signature."""

import os
import pathlib
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from states import with_scales
from tensorflow.core.framework import tensor_pb2
from tensorflow.python.tools import saved_model_cli

import kmtl

SOURCE = pathlib.Path(__file__).parent / "native" / "loader.cc"
COMPILER = shutil.which("g++") or shutil.which("clang++")
QUIET = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}


def told(command, **options):
    """What a program prints; it must succeed."""
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, env=QUIET, **options)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def loader(tmp_path_factory):
    """The program, built against the headers and libraries of TensorFlow's wheel."""
    if COMPILER is None:
        pytest.skip("no C++ compiler")
    library = tf.sysconfig.get_lib()
    if not pathlib.Path(library, "libtensorflow_cc.so.2").exists():
        pytest.skip("TensorFlow's wheel for this system has no C++ library")
    program = tmp_path_factory.mktemp("native") / "loader"
    # Without --no-as-needed the library that registers the sessions is dropped.
    linked = ["-Wl,--no-as-needed", "-l:libtensorflow_cc.so.2", "-l:libtensorflow_framework.so.2"]
    paths = [f"-L{library}", f"-Wl,-rpath,{library}"]
    told([COMPILER, "-w", SOURCE, "-o", program, *tf.sysconfig.get_compile_flags(), *paths, *linked], timeout=300)
    return program


@pytest.fixture(scope="module")
def birds():
    """Fused heads, batch normalisation, an image and a table, tasks of every kind."""
    keras.utils.set_random_seed(9)
    photo, row = keras.Input((8, 6, 3), name="photo"), keras.Input((2,), name="row")
    hidden = keras.layers.BatchNormalization(momentum=0.5)(keras.layers.Conv2D(4, 3)(photo))
    hidden = keras.layers.Concatenate()([keras.layers.GlobalAveragePooling2D()(hidden), row])
    tasks = [
        kmtl.Regression("span", unit="cm"),
        kmtl.Classification("bird", 3, label_names=("wren", "../tit", "rook\n")),
        kmtl.MultiLabel("marks", 2),
        *(kmtl.BinaryClassification(f"mark-{number}") for number in (3, 1)),
    ]
    return with_scales(kmtl.MultiTaskModel.from_features({"photo": photo, "row": row}, hidden, tasks))


@pytest.fixture(scope="module")
def samples():
    generator = np.random.default_rng(4)
    return {"photo": generator.random((3, 8, 6, 3), "float32"), "row": generator.normal(size=(3, 2)).astype("float32")}


@pytest.fixture(scope="module")
def version(birds, samples, tmp_path_factory):
    folder = tmp_path_factory.mktemp("native") / "birds"
    options = {"decode": True, "images": kmtl.export.Images(), "warmup": samples}
    return kmtl.export.saved_model(birds, folder, **options)


def given(samples, name):
    """The inputs of a signature."""
    if not name.endswith("image_bytes"):
        return samples
    pixels = np.round(samples["photo"] * 255).astype("uint8")
    return {**samples, "photo": np.array([tf.io.encode_png(one).numpy() for one in pixels], object)}


def asked(folder, name, inputs):
    """Writes a request for the C++ program."""
    folder.mkdir()
    (folder / "signature").write_text(name)
    (folder / "inputs").write_text("\n".join(inputs))
    for place, values in enumerate(inputs.values()):
        (folder / f"input-{place}.pb").write_bytes(tf.make_tensor_proto(values).SerializeToString())
    return folder


def answered(folder):
    """Reads what the program answered."""
    names = (folder / "outputs").read_text().splitlines()
    files = [folder / f"output-{place}.pb" for place in range(len(names))]
    protos = [tensor_pb2.TensorProto.FromString(file.read_bytes()) for file in files]
    return {key: tf.make_ndarray(proto) for key, proto in zip(names, protos, strict=True)}


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for key, values in expected.items():
        if values.dtype == tf.string:
            assert found[key].tolist() == values.numpy().tolist()
        else:
            np.testing.assert_allclose(found[key], values, atol=1e-6)


@pytest.mark.long
def test_the_native_loader_runs_every_signature(loader, birds, version, samples, tmp_path):
    signatures = tf.saved_model.load(str(version)).signatures
    assert len(signatures) == 3 * (1 + len(birds.tasks))
    folders = {name: asked(tmp_path / str(place), name, given(samples, name)) for place, name in enumerate(signatures)}
    # The last one, which there is no signature for, ends the program.
    wrong = asked(tmp_path / "wrong", "birds", {})
    command = [loader, version, *folders.values(), wrong]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=QUIET, timeout=120)
    assert done.returncode == 1, done.stderr[-3000:]
    assert "no signature birds" in done.stderr
    for name, signature in signatures.items():
        inputs = {key: tf.constant(values) for key, values in given(samples, name).items()}
        assert_same(answered(folders[name]), signature(**inputs))
    expected = birds(samples, training=False)
    assert_same(answered(folders["serving_default"]), expected)
    for task, values in expected.items():
        assert_same(answered(folders[task]), {task: values})


@pytest.mark.long
def test_saved_model_cli_shows_and_runs_every_signature(birds, samples, tmp_path, capsys):
    options = {"decode": True, "images": kmtl.export.Images()}
    version = kmtl.export.saved_model(birds, tmp_path / "birds", tasks=["bird"], **options)
    # The tool's own functions, here and below: Python is started anew for one signature only.
    saved_model_cli._show_all(str(version))
    shown = capsys.readouterr().out
    signatures = tf.saved_model.load(str(version)).signatures
    for place, (name, signature) in enumerate(signatures.items()):
        assert f"signature_def['{name}']" in shown
        inputs = given(samples, name)
        files = {key: tmp_path / f"{place}-{key}.npy" for key in inputs}
        for key, values in inputs.items():
            np.save(files[key], values.astype(bytes) if values.dtype == object else values)
        pairs = ";".join(f"{key}={file}" for key, file in files.items())
        out = tmp_path / f"outputs-{place}"
        if name == "bird":
            asked_for = ["--tag_set", "serve", "--signature_def", name, "--inputs", pairs, "--outdir", out]
            told([sys.executable, saved_model_cli.__file__, "run", "--dir", version, *asked_for], timeout=120)
        else:
            feed = saved_model_cli.load_inputs_from_input_arg_string(pairs, "", "")
            saved_model_cli.run_saved_model_with_feed_dict(str(version), "serve", name, feed, str(out), False)
        found = {file.stem: np.load(file, allow_pickle=True) for file in out.iterdir()}
        assert_same(found, signature(**{key: tf.constant(values) for key, values in inputs.items()}))
