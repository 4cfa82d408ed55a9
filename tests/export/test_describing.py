"""What an artifact tells of itself, whatever its labels are called."""

import json

import keras
import numpy as np
import pytest
from states import with_scales

import kmtl
from kmtl.export import cards, describing

HOSTILE = ("../../etc/passwd", "line\nbreak", "zażółć 中文 🦆", 'quote"|`<b>', "\ud800")


@pytest.fixture(scope="module")
def birds():
    keras.utils.set_random_seed(8)
    row = keras.Input((4,), name="row")
    tasks = [
        kmtl.Regression("span", shape=(2,), unit="c|m"),
        kmtl.Classification("bird", 5, label_names=HOSTILE),
        kmtl.BinaryClassification("alive"),
    ]
    model = with_scales(kmtl.MultiTaskModel.from_features(row, keras.layers.Dense(3)(row), tasks))
    model.compile("adam", loss_weights={"bird": 0.5}, balancer=kmtl.balancers.UPGrad())
    return model


@pytest.fixture(scope="module")
def version(birds, tmp_path_factory):
    return kmtl.export.saved_model(
        birds,
        tmp_path_factory.mktemp("models") / "birds",
        metrics={"bird_accuracy": np.float32(0.75), "loss": float("nan")},
        about={"Data": "Birds of *one* garden.", "Limits": "By day."},
    )


def test_the_file_tells_tasks_inputs_signatures_and_how_it_was_made(version):
    text = (version / "assets.extra" / "kmtl.json").read_bytes()
    told = json.loads(text)
    assert text.isascii()
    assert told["name"] == "birds"
    assert told["tasks"]["bird"]["label_names"] == list(HOSTILE)
    assert told["tasks"]["span"] == {
        "kind": "regression",
        "shape": [2],
        "meaning": "values",
        "label_names": None,
        "unit": "c|m",
        "threshold": None,
    }
    assert told["tasks"]["alive"]["threshold"] == 0.5
    assert list(told["tasks"]) == ["span", "bird", "alive"]
    assert told["inputs"] == {"row": {"shape": [None, 4], "dtype": "float32"}}
    assert told["metrics"] == {"bird_accuracy": 0.75, "loss": None}
    assert told["balancer"] == "UPGrad"
    assert told["loss_weights"] == {"span": 1.0, "bird": 0.5, "alive": 1.0}
    assert told["made"]["keras"] == keras.__version__
    assert told["signatures"]["bird"]["outputs"] == {"bird": {"shape": [None, 5], "dtype": "float32"}}
    assert set(told["signatures"]) == {"serving_default", "span", "bird", "alive"}


def test_parameters_are_those_of_the_exported_tasks(birds):
    told = describing.description(birds, {"alive": birds.output["alive"]})
    assert told["parameters"] == 4 * 3 + 3 + 3 * 1 + 1
    assert list(told["tasks"]) == ["alive"]


def test_a_plain_model_tells_what_it_knows():
    row = keras.Input((4,), name="row")
    told = describing.description(keras.Model(row, {"a": row * 2}), {"a": row * 2})
    unknown = {"kind": None, "meaning": None, "label_names": None, "unit": "", "threshold": None}
    assert told["tasks"]["a"] == {**unknown, "shape": [4]}
    assert told["balancer"] is None
    assert json.loads(describing.text(told)) == told


def test_the_card_is_markdown_whose_tables_hold_whatever_a_label_is_called(version):
    text = (version / "assets.extra" / "model_card.md").read_text(encoding="utf-8")
    lines = text.splitlines()
    (row,) = [line for line in lines if line.startswith("| bird | classification")]
    cells = row.replace(r"\|", "").split("|")
    assert len(cells) == 7
    assert "line break" in cells[5]
    assert r"\<b\>" in cells[5]
    assert "Birds of *one* garden." in lines
    for words in ("## Tasks", "## Metrics", "## Signatures", "## Size", "## How it was made", "## Data", "## Limits"):
        assert words in lines
    assert "| bird\\_accuracy | 0.75 |" in lines
    assert "the balancer UPGrad on the loss weights span 1, bird 0.5, alive 1." in text


def test_a_card_without_data_and_metrics_says_so(birds, tmp_path):
    version = kmtl.export.saved_model(birds, tmp_path / "birds")
    text = (version / "assets.extra" / cards.FILE).read_text(encoding="utf-8")
    assert text.count("Not told.") == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"metrics": [0.5, 0.3]}, "`metrics` must be numbers by name"),
        ({"metrics": {"accuracy": "high"}}, "`metrics` must be numbers by name"),
        ({"metrics": {3: 0.5}}, "`metrics` must be numbers by name"),
        ({"about": 3}, "`about` must be text"),
        ({"about": {"Data": None}}, "`about` must be text"),
    ],
)
def test_what_is_no_text_and_no_number_is_told(birds, tmp_path, options, words):
    with pytest.raises(ValueError, match=f"^saved_model: {words}"):
        kmtl.export.saved_model(birds, tmp_path, **options)
    assert list(tmp_path.iterdir()) == []
