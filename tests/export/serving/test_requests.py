import json
import os
import re
import shutil
import stat
import subprocess
import urllib.error
import urllib.request

import grpc
import numpy as np
import pytest
import tensorflow as tf
from export.serving import json_rules, served, stand_in
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

import kmtl.export
from kmtl.export.serving import config, requests, rest_json

FORMS = ("rows", "columns")
SIGNATURES = [
    base + form
    for base in ("serving_default", "species", "age-1.y", "box")
    for form in ("", ".decoded", ".image_bytes")
]
SIGNATURES = [name.removeprefix("serving_default.") for name in SIGNATURES]


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def flat(value):
    """Numbers and texts with the way to each, so that replies are compared within a tolerance."""
    if isinstance(value, dict):
        return {(key, *way): leaf for key in value for way, leaf in flat(value[key]).items()}
    if isinstance(value, list):
        return {(place, *way): leaf for place, part in enumerate(value) for way, leaf in flat(part).items()}
    return {(): value}


def assert_same(left, right):
    """Compares replies: numbers within rounding, all else exactly."""
    left, right = flat(left), flat(right)
    assert set(left) == set(right)
    for way, leaf in left.items():
        assert type(leaf) is type(right[way])
        assert leaf == (right[way] if isinstance(leaf, str) else pytest.approx(right[way], rel=1e-6, abs=1e-7)), way


@pytest.fixture(scope="module")
def served_pets(tmp_path_factory):
    """Two versions that differ, served by a stand-in, and the ready requests for the newer one."""
    folder = tmp_path_factory.mktemp("served")
    kmtl.export.saved_model(served.model(seed=9), folder / "pets")
    version = served.exported(folder / "pets")
    policy = {"versions": "all", "labels": {"stable": 1, "canary": 2}}
    files = config.serving_config(folder / "pets", folder / "server", **policy)
    with stand_in.serving(files.command) as (rest, grpc, models):
        address = {"host": "127.0.0.1", "rest_port": int(rest.rpartition(":")[2])}
        out = requests.request_examples(version, served.samples(), folder / "ready", **address)
        yield rest, grpc, models, out


@pytest.fixture(scope="module")
def direct(served_pets):
    """What every signature gives for the first sample, in this process."""
    version = served_pets[2]["pets"].versions[2]
    rows = {name: values[:1] for name, values in served.samples().items()}
    files = {**rows, "photo": np.array([served_pets[3].joinpath("samples", "photo.image").read_bytes()], object)}
    return {name: version.run(name, files if "image_bytes" in name else rows) for name in SIGNATURES}


@pytest.mark.long
def test_every_signature_has_its_requests(served_pets):
    _, _, models, out = served_pets
    assert sorted(SIGNATURES) == sorted(models["pets"].versions[2].functions)
    expected = sorted(f"{name}.{form}.json" for name in SIGNATURES for form in FORMS)
    for folder in ("requests", "replies"):
        assert sorted(path.name for path in (out / folder).iterdir()) == expected
    assert stat.S_IMODE((out / "curl.sh").stat().st_mode) == 0o755
    assert max(len(line) for line in (out / "curl.sh").read_text().splitlines()) < 120


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_as_written_brings_the_written_replies_and_the_models_outputs(served_pets, direct, tmp_path):
    out = served_pets[3]
    parts = re.split(r"^== (.*)\n", run(out / "curl.sh", cwd=tmp_path), flags=re.MULTILINE)
    found = {title: json.loads(text) for title, text in zip(parts[1::2], parts[2::2], strict=True)}
    status, metadata = found.pop("status"), found.pop("metadata")
    assert [(state["version"], state["state"]) for state in status["model_version_status"]] == [
        ("1", "AVAILABLE"),
        ("2", "AVAILABLE"),
    ]
    assert set(SIGNATURES) < set(metadata["metadata"]["signature_def"]["signature_def"])
    assert set(found) == {f"{name}, {form}" for name in SIGNATURES for form in FORMS}
    for title, reply in found.items():
        name, form = title.split(", ")
        assert_same(reply, json.loads((out / "replies" / f"{name}.{form}.json").read_text()))
        assert_same(reply, json_rules.answer(direct[name], form == "rows"))


def test_replies_have_the_documented_shapes(served_pets):
    def replies(name):
        return [json.loads((served_pets[3] / "replies" / f"{name}.{form}.json").read_text()) for form in FORMS]

    rows, columns = replies("species")
    assert np.shape(rows["predictions"]) == (1, 3)
    assert rows["predictions"] == columns["outputs"]
    rows, columns = replies("serving_default")
    assert {task: np.shape(value) for task, value in rows["predictions"][0].items()} == {
        "species": (3,),
        "age-1.y": (1,),
        "box": (4,),
    }
    assert np.shape(columns["outputs"]["box"]) == (1, 4)
    rows, _ = replies("decoded")
    assert rows["predictions"][0]["species_label"] in {"cat", "dog", "лиса"}
    assert isinstance(rows["predictions"][0]["age-1.y"], float)


@pytest.mark.long
def test_the_samples_asked_by_grpc_bring_the_models_outputs(served_pets, direct):
    samples, stub = served_pets[3] / "samples", prediction_service_pb2_grpc.PredictionServiceStub
    arrays = {name: np.load(samples / f"{name}.npy") for name in served.samples()}
    files = {**arrays, "photo": [(samples / "photo.image").read_bytes()]}
    with grpc.insecure_channel(served_pets[1]) as channel:
        for name, expected in direct.items():
            request = predict_pb2.PredictRequest()
            request.model_spec.name, request.model_spec.signature_name = "pets", name
            for key, values in (files if "image_bytes" in name else arrays).items():
                request.inputs[key].CopyFrom(tf.make_tensor_proto(values))
            reply = stub(channel).Predict(request, timeout=30).outputs
            assert set(reply) == set(expected)
            for key, values in reply.items():
                np.testing.assert_array_equal(tf.make_ndarray(values), expected[key])


def ask(rest, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(f"http://{rest}/v1/models/{path}", data, timeout=30) as reply:
        return json.load(reply)


def test_versions_and_labels_reach_the_version_meant(served_pets):
    rest, _, models, out = served_pets
    body = json.loads((out / "requests" / "box.rows.json").read_text())
    rows = {name: values[:1] for name, values in served.samples().items()}
    for way, number in (("", 2), ("/versions/1", 1), ("/versions/2", 2), ("/labels/stable", 1), ("/labels/canary", 2)):
        expected = models["pets"].versions[number].run("box", rows)["box"]
        found = ask(rest, f"pets{way}:predict", body)["predictions"]
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    one, two = (models["pets"].versions[number].run("box", rows)["box"] for number in (1, 2))
    assert np.abs(one - two).max() > 0.01


def test_the_stand_in_refuses_what_the_documentation_refuses(served_pets):
    rest = served_pets[0]
    row = {name: values[0].tolist() for name, values in served.samples().items()}
    for path, body, code in (
        ("dogs:predict", {"instances": [row]}, 404),
        ("pets/versions/7:predict", {"instances": [row]}, 404),
        ("pets/labels/none:predict", {"instances": [row]}, 400),
        ("pets:predict", {"signature_name": "none", "instances": [row]}, 400),
        ("pets:predict", {"instances": [row], "inputs": row}, 400),
        ("pets:predict", {"instances": [{"photo": row["photo"]}]}, 400),
        ("pets:predict", {"instances": [row["photo"]]}, 400),
        ("pets:predict", {"instances": [{**row, "photo": "text"}]}, 400),
        ("pets:predict", {"inputs": row}, 400),
    ):
        with pytest.raises(urllib.error.HTTPError) as caught:
            ask(rest, path, body)
        with caught.value as reply:
            assert reply.code == code, path
            assert json.load(reply)["error"]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_text_bytes_and_numbers_that_json_lacks(tmp_path):
    """A plain TensorFlow module: text in and out, bytes out, NaN, integers, and a dtype that REST does not carry."""
    texts = tf.TensorSpec((None,), tf.string, "text")

    def told(text):
        size = tf.strings.length(text)
        odd = tf.stack([tf.fill(tf.shape(text), value) for value in (float("nan"), float("-inf"), 0.1)], 1)
        return {"text": text, "text_bytes": text, "size": size, "odd": odd, "long": size > 2}

    def half(text):
        return {"half": tf.cast(tf.strings.length(text), tf.float16)}

    functions = {
        "told": tf.function(told, input_signature=[texts]).get_concrete_function(),
        "only": tf.function(lambda text: {"odd": told(text)["odd"]}, input_signature=[texts]).get_concrete_function(),
        "half": tf.function(half, input_signature=[texts]).get_concrete_function(),
    }
    tf.saved_model.save(tf.Module(), str(tmp_path / "words" / "5"), functions)
    out = requests.request_examples(tmp_path / "words" / "5", ["Füße\n'\"$x", "second"], tmp_path / "ready")
    assert not list(out.glob("*/half.*"))
    told, only = ((out / "replies" / f"{name}.rows.json").read_text() for name in ("told", "only"))
    (row,) = json.loads(told)["predictions"]
    assert row["text"] == "Füße\n'\"$x"
    assert row["text_bytes"] == {"b64": "RsO8w59lCiciJHg="}
    assert row["size"] == 11
    assert row["long"] is True
    assert '{"predictions": [[NaN, -Infinity, 0.1]]}' in only
    files = config.serving_config(tmp_path / "words", tmp_path / "server")
    with stand_in.serving(files.command) as (rest, _, _):
        listed = run(out / "curl.sh", env={**os.environ, "SERVER": f"http://{rest}"})
    for text in ('"RsO8w59lCiciJHg="', "NaN", "-Infinity"):
        assert text in listed


def test_image_files_of_the_users_own(served_pets, tmp_path):
    version = served_pets[3].parent / "pets" / "2"
    picture = tf.io.encode_jpeg(np.full((30, 40, 3), 200, "uint8")).numpy()
    out = requests.request_examples(version, served.samples(), tmp_path / "ready", files={"photo": picture})
    assert (out / "samples" / "photo.image").read_bytes() == picture
    for options, words in (
        ({"files": {"extra-1.x": picture}}, "`files` must be for inputs among \\['photo'\\], got 'extra-1.x'"),
        ({"files": {"photo": "cat.jpg"}}, "`files` must be bytes for input 'photo', got 'cat.jpg'"),
    ):
        with pytest.raises(ValueError, match=f"^request_examples: {words}"):
            requests.request_examples(version, served.samples(), tmp_path / "other", **options)
    assert not (tmp_path / "other").exists()


def test_all_that_is_wrong_is_told_at_once(served_pets, tmp_path):
    version = tmp_path / "odd name" / "1"
    shutil.copytree(served_pets[3].parent / "pets" / "1", version)
    (tmp_path / "note").touch()
    with pytest.raises(ValueError, match="name for addresses, got 'odd name'") as caught:
        requests.request_examples(version, np.ones((2, 2)), tmp_path / "note", host="a b", rest_port=0)
    arguments = re.findall(r"^request_examples: `(\w+)`", str(caught.value), re.MULTILINE)
    assert arguments == ["name", "host", "rest_port", "out", "samples"]
    for artifact, words in (
        (tmp_path / "odd name", "Pass one of its versions: 1"),
        (tmp_path, "Export the model first"),
    ):
        with pytest.raises(ValueError, match=f"^request_examples: `artifact` must be the folder of one.*{words}"):
            requests.request_examples(artifact, served.samples(), tmp_path / "ready", name="pets")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numbers_are_told_with_the_digits_that_bring_them_back(dtype):
    values = np.array([[0.1, 1 / 3, 1e-30, 16777217.0, -0.0]], dtype)
    (row,) = json.loads(json.dumps(rest_json.row_reply({"one": values})))["predictions"]
    np.testing.assert_array_equal(np.array(row, dtype), values[0])
    assert repr(row[0]) == "0.1"
