import json
import os
import re
import runpy
import shutil
import stat
import subprocess
import sys
import urllib.error
import urllib.request

import numpy as np
import pytest
import tensorflow as tf
from export.serving import json_rules, served, stand_in

import kmtl.export
from kmtl.export.serving import config, replies, requests

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
    served.exported(folder / "pets", seed=9)
    version = served.exported(folder / "pets")
    policy = {"versions": "all", "labels": {"stable": 1, "canary": 2}}
    files = config.serving_config(folder / "pets", folder / "server", **policy)
    with stand_in.serving(files.command) as (rest, grpc, models):
        ports = {"rest_port": int(rest.rpartition(":")[2]), "grpc_port": int(grpc.rpartition(":")[2])}
        out = requests.request_examples(version, served.samples(), folder / "ready", host="127.0.0.1", **ports)
        yield rest, models, out


@pytest.fixture(scope="module")
def direct(served_pets):
    """What every signature gives for the first sample, in this process."""
    version = served_pets[1]["pets"].versions[2]
    rows = {name: values[:1] for name, values in served.samples().items()}
    files = {**rows, "photo": np.array([served_pets[2].joinpath("samples", "photo.image").read_bytes()], object)}
    return {name: version.run(name, files if "image_bytes" in name else rows) for name in SIGNATURES}


def test_every_signature_has_its_requests(served_pets):
    _, models, out = served_pets
    assert sorted(SIGNATURES) == sorted(models["pets"].versions[2].functions)
    expected = sorted(f"{name}.{form}.json" for name in SIGNATURES for form in ("rows", "columns"))
    assert sorted(path.name for path in (out / "requests").iterdir()) == expected
    assert stat.S_IMODE((out / "curl.sh").stat().st_mode) == 0o755
    assert len((out / "curl.sh").read_text().splitlines()) < 120
    assert max(len(line) for line in (out / "curl.sh").read_text().splitlines()) < 500


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_as_written_brings_the_written_replies_and_the_models_outputs(served_pets, direct, tmp_path):
    _, _, out = served_pets
    parts = re.split(r"^== (.*)\n", run(out / "curl.sh", cwd=tmp_path), flags=re.MULTILINE)
    found = {title: json.loads(text) for title, text in zip(parts[1::2], parts[2::2], strict=True)}
    status, metadata = found.pop("status"), found.pop("metadata")
    assert [(state["version"], state["state"]) for state in status["model_version_status"]] == [
        ("1", "AVAILABLE"),
        ("2", "AVAILABLE"),
    ]
    assert set(SIGNATURES) < set(metadata["metadata"]["signature_def"]["signature_def"])
    page = re.findall(
        r"^## (.*?)\n.*?```json\n(.*?)\n```.*?```json\n(.*?)\n```", *[(out / "replies.md").read_text()], re.M | re.S
    )
    written = {
        f"{name}, {form}": json.loads(text)
        for name, *both in page
        for form, text in zip(("rows", "columns"), both, strict=True)
    }
    assert set(found) == set(written) == {f"{name}, {form}" for name in SIGNATURES for form in ("rows", "columns")}
    for title, reply in found.items():
        assert_same(reply, written[title])
        name, form = title.split(", ")
        assert_same(reply, json_rules.answer(direct[name], form == "rows"))


def test_replies_have_the_documented_shapes(served_pets):
    text = (served_pets[2] / "replies.md").read_text()
    shapes = {}
    for name in ("species", "serving_default", "species.decoded", "decoded"):
        part = text.split(f"\n## {name}\n")[1].split("\n## ")[0]
        shapes[name] = [json.loads(block) for block in re.findall(r"```json\n(.*?)\n```", part, re.DOTALL)]
    (rows, columns) = shapes["species"]
    assert np.shape(rows["predictions"]) == (1, 3)
    assert rows["predictions"] == columns["outputs"]
    (rows, columns) = shapes["serving_default"]
    assert {task: np.shape(value) for task, value in rows["predictions"][0].items()} == {
        "species": (3,),
        "age-1.y": (1,),
        "box": (4,),
    }
    assert np.shape(columns["outputs"]["box"]) == (1, 4)
    (rows, _) = shapes["decoded"]
    assert rows["predictions"][0]["species_label"] in {"cat", "dog", "лиса"}
    assert isinstance(rows["predictions"][0]["age-1.y"], float)


@pytest.mark.long
def test_the_grpc_client_as_written_brings_the_models_outputs(served_pets, direct, tmp_path):
    out = run(sys.executable, served_pets[2] / "grpc_client.py", cwd=tmp_path, env={**os.environ, "PYTHONPATH": ""})
    first, *lines = out.splitlines()
    assert set(SIGNATURES) < set(json.loads(first.removeprefix("signatures: ")))
    seen = []
    for line in lines:
        name, wanted, reply = re.fullmatch(r"(\S+) (\[.*?\]): (.*)", line).groups()
        wanted, reply = json.loads(wanted), json.loads(reply)
        assert set(reply) == set(wanted or direct[name])
        for key, values in reply.items():
            expected = [text.decode() for text in direct[name][key]] if key.endswith("_label") else direct[name][key]
            np.testing.assert_array_equal(values, expected)
        seen.append((name, len(wanted)))
    several = [name for name in SIGNATURES if len(direct[name]) > 1]
    assert sorted(seen) == sorted([(name, 0) for name in SIGNATURES] + [(name, 1) for name in several])


def ask(rest, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(f"http://{rest}/v1/models/{path}", data, timeout=30) as reply:
        return json.load(reply)


def test_versions_and_labels_reach_the_version_meant(served_pets):
    rest, models, out = served_pets
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


def test_text_bytes_and_numbers_that_json_lacks(tmp_path, monkeypatch, capsys):
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
    page = (out / "replies.md").read_text()
    assert "ask by gRPC" in page.split("## half")[1].split("## ")[0]
    told, only = (page.split(f"## {name}\n")[1].split("\n## ")[0] for name in ("told", "only"))
    (row,) = json.loads(re.search(r"```json\n(.*?)\n```", told, re.DOTALL)[1])["predictions"]
    assert row["text"] == "Füße\n'\"$x"
    assert row["text_bytes"] == {"b64": "RsO8w59lCiciJHg="}
    assert row["size"] == 11
    assert row["long"] is True
    assert '{"predictions": [[NaN, -Infinity, 0.1]]}' in only
    files = config.serving_config(tmp_path / "words", tmp_path / "server")
    with stand_in.serving(files.command) as (rest, grpc, _):
        listed = run(out / "curl.sh", env={**os.environ, "SERVER": f"http://{rest}"}) if shutil.which("curl") else page
        for text in ('"RsO8w59lCiciJHg="', "NaN", "-Infinity"):
            assert text in listed
        monkeypatch.setattr(sys, "argv", ["grpc_client.py", grpc])
        runpy.run_path(str(out / "grpc_client.py"), run_name="__main__")
    assert 'half []: {"half": [11.0]}' in capsys.readouterr().out


def test_large_outputs_do_not_flood_the_page(tmp_path):
    def mask(row):
        return {"mask": tf.tile(row[:, :, None], (1, 1, 500))}

    function = tf.function(mask, input_signature=[tf.TensorSpec((None, 20), tf.float32, "row")])
    tf.saved_model.save(tf.Module(), str(tmp_path / "m" / "1"), {"mask": function.get_concrete_function()})
    out = requests.request_examples(tmp_path / "m" / "1", np.ones((3, 20)), tmp_path / "ready", name="masks")
    page = (out / "replies.md").read_text()
    assert "| mask | float32 | (1, 20, 500) |" in page
    assert len(page) < 8000
    assert "/v1/models/masks" in (out / "curl.sh").read_text()


def test_image_files_of_the_users_own(tmp_path):
    version = served.exported(tmp_path / "pets")
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


def test_all_that_is_wrong_is_told_at_once(tmp_path):
    version = kmtl.export.saved_model(served.model(), tmp_path / "odd name")
    (tmp_path / "note").touch()
    with pytest.raises(ValueError, match="name for addresses, got 'odd name'") as caught:
        requests.request_examples(
            version, np.ones((2, 2)), tmp_path / "note", host="a b", rest_port=0, grpc_port="8500"
        )
    arguments = re.findall(r"^request_examples: `(\w+)`", str(caught.value), re.MULTILINE)
    assert arguments == ["name", "host", "rest_port", "grpc_port", "out", "samples"]
    for artifact, words in (
        (tmp_path / "odd name", "Pass one of its versions: 1"),
        (tmp_path, "Export the model first"),
    ):
        with pytest.raises(ValueError, match=f"^request_examples: `artifact` must be the folder of one.*{words}"):
            requests.request_examples(artifact, served.samples(), tmp_path / "ready", name="pets")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numbers_are_told_with_the_digits_that_bring_them_back(dtype):
    values = np.array([[0.1, 1 / 3, 1e-30, 16777217.0, -0.0]], dtype)
    (row,) = json.loads(json.dumps(replies.row_reply({"one": values})))["predictions"]
    np.testing.assert_array_equal(np.array(row, dtype), values[0])
    assert repr(row[0]) == "0.1"
