import re
import shlex
import subprocess

import pytest
from export.serving import json_rules, served, stand_in
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from tensorflow_serving.config import model_server_config_pb2

from kmtl.export.serving import config


def folder_of(path, *versions):
    """A folder of versions, as far as a configuration looks at them."""
    for version in versions:
        (path / str(version)).mkdir(parents=True)
        (path / str(version) / "saved_model.pb").touch()
    return path


@pytest.fixture
def pets(tmp_path):
    return folder_of(tmp_path / "pets", 1, 3, 12)


def parsed(files):
    text = files.models.read_text()
    return list(text_format.Parse(text, model_server_config_pb2.ModelServerConfig()).model_config_list.config)


def batching_parameters(text):
    """Parses by a descriptor of the server's BatchingParameters, whose fields hold a message of one int64 each."""
    int64 = {"label": 1, "type": 3}
    wrapper = {"name": "Int64Value", "field": [{"name": "value", "number": 1, **int64}]}
    names = ["max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads"]
    fields = [
        {"name": name, "number": number, "label": 1, "type": 11, "type_name": ".test.Int64Value"}
        for number, name in enumerate(names, 1)
    ]
    file = descriptor_pb2.FileDescriptorProto(name="batching.proto", package="test", syntax="proto3")
    for message in (wrapper, {"name": "BatchingParameters", "field": fields}):
        file.message_type.append(
            descriptor_pb2.DescriptorProto(
                name=message["name"],
                field=[descriptor_pb2.FieldDescriptorProto(**field) for field in message["field"]],
            )
        )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    message = message_factory.GetMessageClass(pool.FindMessageTypeByName("test.BatchingParameters"))
    return {field.name: value.value for field, value in text_format.Parse(text, message()).ListFields()}


@pytest.mark.parametrize(
    ("versions", "choice", "content"),
    [
        ("latest", "latest", 1),
        (2, "latest", 2),
        (9, "latest", 9),
        ("all", "all", None),
        ([12, 1], "specific", [1, 12]),
        (range(3, 4), "specific", [3]),
    ],
)
def test_version_policies_are_the_servers_own(pets, tmp_path, versions, choice, content):
    (model,) = parsed(config.serving_config(pets, tmp_path / "server", versions=versions))
    policy = model.model_version_policy
    assert (model.name, model.base_path, model.model_platform) == ("pets", "/models/pets", "tensorflow")
    assert policy.WhichOneof("policy_choice") == choice
    if choice == "latest":
        assert policy.latest.num_versions == content
    if choice == "specific":
        assert list(policy.specific.versions) == content


def test_several_models_have_policies_and_labels_of_their_own(pets, tmp_path):
    zebras = folder_of(tmp_path / "other" / "z", 1, 7)
    files = config.serving_config(
        {"zebras": zebras, "pets.v-2": pets},
        tmp_path / "new" / "server",
        base_path="gs://bucket/models/",
        versions={"pets.v-2": "all"},
        labels={"pets.v-2": {"stable": 1, "canary_2": 12}},
    )
    first, second = parsed(files)
    assert (first.name, first.base_path) == ("zebras", "gs://bucket/models/zebras")
    assert (second.name, second.base_path) == ("pets.v-2", "gs://bucket/models/pets.v-2")
    assert first.model_version_policy.latest.num_versions == 1
    assert second.model_version_policy.HasField("all")
    assert dict(first.version_labels) == {}
    assert dict(second.version_labels) == {"stable": 1, "canary_2": 12}
    mounts, flags = stand_in.options(str(files))
    assert mounts == {"/serving_config": tmp_path / "new" / "server"}
    assert flags["model_config_file_poll_wait_seconds"] == "60"


def test_batching_is_the_documented_text(pets, tmp_path):
    given = {"max_batch_size": 2**40, "batch_timeout_micros": 0, "max_enqueued_batches": 7, "num_batch_threads": 3}
    files = config.serving_config(pets, tmp_path / "server", **given)
    assert batching_parameters(files.batching.read_text()) == given
    files = config.serving_config(pets, tmp_path / "server")
    expected = {"max_batch_size": 64, "batch_timeout_micros": 1000, "max_enqueued_batches": 100}
    assert batching_parameters(files.batching.read_text()) == expected


def test_the_command_survives_a_shell_and_dockers_comma_separated_mounts(tmp_path):
    pets = folder_of(tmp_path / 'odd, "place"; $(touch hacked) ä' / "pets", 2)
    files = config.serving_config(pets, tmp_path / "server's", base_path="/srv/m odels")
    mounts, flags = stand_in.options(str(files))
    assert mounts == {"/serving_config": tmp_path / "server's", "/srv/m odels/pets": pets}
    assert flags["model_config_file"] == "/serving_config/models.config"
    # A real shell splits it as shlex does.
    shown = subprocess.run(
        ["sh", "-c", str(files).replace("docker run", "printf '%s\\n'", 1)], capture_output=True, text=True, check=True
    )
    joined = str(files).replace("\\\n", " ")
    assert shown.stdout.splitlines() == shlex.split(joined)[2:]
    assert not (tmp_path / "hacked").exists()


def test_labels_need_the_flag_that_the_command_has(tmp_path):
    files = config.serving_config(folder_of(tmp_path / "pets", 4), tmp_path / "server", labels={"live": 4})
    without = str(files).replace("--allow_version_labels_for_unavailable_models", "")
    with pytest.raises(stand_in.StartError, match="not loaded yet"):
        stand_in.started(without)


@pytest.mark.long
def test_a_version_that_warms_up_with_more_than_a_batch_holds_is_refused(tmp_path):
    served.exported(tmp_path / "pets")  # warms up with three rows
    with pytest.raises(
        ValueError, match=r"^serving_config: `max_batch_size` must hold the 3 rows that .*1 warms.*got 2"
    ):
        config.serving_config(tmp_path / "pets", tmp_path / "server", max_batch_size=2)
    files = config.serving_config(tmp_path / "pets", tmp_path / "server", max_batch_size=3)
    (model,) = stand_in.started(str(files)).values()
    assert ("species", {3}) in model.versions[1].warmed
    files.batching.write_text(files.batching.read_text().replace("value: 3 ", "value: 2 "))
    with pytest.raises(json_rules.RefusedError, match="Task size 3 is larger than maximum input batch size 2"):
        stand_in.started(str(files))


def test_files_are_replaced_whole_and_nothing_else_is_touched(pets, tmp_path):
    out = tmp_path / "server"
    config.serving_config(pets, out, versions="all")
    (out / "note").write_text("kept")
    files = config.serving_config(pets, out, labels={"live": 12})
    assert "all" not in files.models.read_text()
    assert sorted(path.name for path in out.iterdir()) == ["batching.config", "models.config", "note"]
    assert files.models == out / "models.config"
    assert files.batching == out / "batching.config"


@pytest.mark.parametrize(
    "name", ["", "a/b", "../up", "..", ".hidden", "a\nb", "a b", "a:predict", "猫", "-x", 3, "a%2Fb"]
)
def test_names_that_no_address_holds_are_refused(pets, tmp_path, name):
    told = f"serving_config: `models` must be a name for addresses, got {name!r}."
    with pytest.raises(ValueError, match=f"^{re.escape(told)}"):
        config.serving_config({name: pets}, tmp_path / "server")
    assert not (tmp_path / "server").exists()


def test_a_folders_own_name_is_checked_too(tmp_path, monkeypatch):
    odd = folder_of(tmp_path / "odd name", 1)
    monkeypatch.chdir(odd)
    with pytest.raises(ValueError, match="name for addresses, got 'odd name'"):
        config.serving_config(".", tmp_path / "server")
    (model,) = parsed(config.serving_config({"fine": "."}, tmp_path / "server"))
    assert model.base_path == "/models/fine"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"versions": []}, "`versions` must be 'latest', 'all', a number of latest ones or a list of versions, got []"),
        ({"versions": 0}, "got 0"),
        ({"versions": True}, "got True"),
        ({"versions": 2**32}, "got 4294967296"),
        ({"versions": "newest"}, "got 'newest'"),
        ({"versions": [1.0]}, "got [1.0]"),
        ({"versions": None}, "got None"),
        ({"versions": [1, 2]}, "must be on disk for model 'pets', got 2. There: 1, 3, 12."),
        ({"versions": {"petz": 1}}, "`versions` must use the models' names as keys, got 'petz'. Did you mean 'pets'?"),
        ({"labels": {"old": 1}}, "must be for served versions of model 'pets', got 1. Served: 12."),
        ({"labels": {"old": 1}, "versions": 2}, "must be for served versions of model 'pets', got 1. Served: 3, 12."),
        ({"labels": {"old": 2}, "versions": "all"}, "got 2. Served: 1, 3, 12."),
        ({"labels": {"old": True}, "versions": [1]}, "got True"),
        ({"labels": {"a-b": 12}}, "`labels` must be made of letters, digits and '_', got 'a-b'"),
        ({"labels": {"": 12}}, "digits and '_', got ''"),
        ({"labels": {"ä": 12}}, "digits and '_', got 'ä'"),
        ({"labels": ["stable"]}, "`labels` must be a dict of versions by label, got ['stable']"),
        ({"labels": {"dogs": {"stable": 12}}}, "`labels` must use the models' names as keys, got 'dogs'"),
        ({"base_path": "models"}, "`base_path` must be an absolute path or a URL, got 'models'"),
        ({"base_path": "/a\nb"}, "`base_path` must"),
        ({"max_batch_size": 0}, "`max_batch_size` must be a whole number of at least 1, got 0"),
        ({"batch_timeout_micros": -1}, "`batch_timeout_micros` must be a whole number of at least 0, got -1"),
        ({"max_enqueued_batches": 1.5}, "`max_enqueued_batches` must be a whole number of at least 1, got 1.5"),
        ({"max_batch_size": None}, "`max_batch_size` must be a whole number of at least 1, got None"),
        (
            {"num_batch_threads": 2**63},
            "`num_batch_threads` must be a whole number of at least 1, got 9223372036854775808",
        ),
    ],
)
def test_what_a_server_would_refuse_is_refused_here(pets, tmp_path, options, words):
    with pytest.raises(ValueError, match=f"^serving_config: .*{re.escape(words)}"):
        config.serving_config(pets, tmp_path / "server", **options)
    assert not (tmp_path / "server").exists()


def test_folders_that_hold_no_versions_are_refused(pets, tmp_path):
    (tmp_path / "note").write_text("kept")
    (tmp_path / "empty" / "latest").mkdir(parents=True)
    for models, words in (
        (tmp_path / "absent", "must be folders of versions.*Export the model there first"),
        (tmp_path / "empty", "must be folders of versions.*Export the model there first"),
        (tmp_path / "note", "must be folders of versions"),
        (pets / "3", "must be folders of versions.*That is a version: pass its parent"),
        ({}, "must be a folder of versions or a dict of such folders by name"),
        ({"pets": None}, "must be a folder of versions or a dict"),
        (None, "must be a folder of versions or a dict"),
    ):
        with pytest.raises(ValueError, match=f"^serving_config: `models` {words}"):
            config.serving_config(models, tmp_path / "server")
    for out in (tmp_path / "note", tmp_path / "note" / "below"):
        with pytest.raises(ValueError, match=r"^serving_config: `out` must lie in a folder"):
            config.serving_config(pets, out)
    (tmp_path / "server" / "models.config").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"^serving_config: `out` must have room for the file models\.config"):
        config.serving_config(pets, tmp_path / "server")


def test_a_numbered_folder_without_a_model_is_refused_if_the_server_would_load_it(pets, tmp_path):
    (pets / "20").mkdir()
    for versions in ("latest", "all", [1, 20]):
        with pytest.raises(ValueError, match=r"`versions` must each hold a saved_model.pb, got '.*20'"):
            config.serving_config(pets, tmp_path / "server", versions=versions)
    (model,) = parsed(config.serving_config(pets, tmp_path / "server", versions=[3]))
    assert list(model.model_version_policy.specific.versions) == [3]


def test_all_that_is_wrong_is_told_at_once(pets, tmp_path):
    with pytest.raises(ValueError, match="at least 1, got 0") as caught:
        config.serving_config(
            {"a/b": pets, "c": tmp_path / "none"},
            tmp_path / "server",
            base_path="x",
            labels={"old": 1},
            max_batch_size=0,
        )
    arguments = re.findall(r"^serving_config: `(\w+)`", str(caught.value), re.MULTILINE)
    assert arguments == ["models", "labels", "models", "base_path", "max_batch_size"]
