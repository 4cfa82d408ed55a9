"""Preparing a set: quietly, once, and whole or not at all."""

import ast
import random
from pathlib import Path

import pytest
import tensorflow_datasets as tfds

import kmtl.data
from kmtl.data.built_in.preparing import SHIPPED, prepare, register
from kmtl.data.digit_poses import digit_poses_dataset_builder as digit_poses

FEW = {"train": 30, "validation": 10, "test": 10}


@pytest.fixture
def meanwhile(monkeypatch):
    """Makes `digit_poses` small, and calls what is in the list, once each, while the set is being written."""
    events = []
    plain = digit_poses.Builder._generate_examples

    def generate(builder, split):
        for index, example in plain(builder, split):
            if index == FEW[split] // 2 and split == "validation" and events:
                events.pop(0)(builder)
            yield index, example

    monkeypatch.setattr(digit_poses, "SPLIT_SIZES", FEW)
    monkeypatch.setattr(digit_poses.Builder, "_generate_examples", generate)
    return events


def counts(data_dir):
    splits = tfds.load("digit_poses", data_dir=data_dir, download=False)
    return {split: sum(1 for _ in examples) for split, examples in splits.items()}


def test_of_two_that_prepare_at_once_both_end_with_the_whole_set(tmp_path, meanwhile):
    meanwhile.append(lambda _: prepare("digit_poses", tmp_path))
    prepare("digit_poses", tmp_path)
    assert not meanwhile
    assert counts(tmp_path) == FEW
    assert [path.name for path in (tmp_path / "digit_poses").iterdir()] == ["1.0.0"]


def test_an_interrupted_preparation_leaves_no_set_and_can_be_repeated(tmp_path, meanwhile):
    def interrupt(_):
        raise KeyboardInterrupt

    meanwhile.append(interrupt)
    with pytest.raises(KeyboardInterrupt):
        prepare("digit_poses", tmp_path)
    assert not list((tmp_path / "digit_poses").iterdir())
    prepare("digit_poses", tmp_path)
    assert counts(tmp_path) == FEW


def test_what_a_killed_process_leaves_behind_is_no_set(tmp_path, meanwhile):
    remains = tmp_path / "digit_poses" / "incomplete.ABC123_1.0.0"
    remains.mkdir(parents=True)
    (remains / "digit_poses-train.tfrecord-00000-of-00001").write_bytes(b"half a record")
    prepare("digit_poses", tmp_path)
    assert counts(tmp_path) == FEW
    assert not meanwhile


def test_a_failure_that_left_no_set_is_told(tmp_path, meanwhile):
    def fill_disk(_):
        raise OSError("no space left on device")

    meanwhile.append(fill_disk)
    with pytest.raises(OSError, match="no space left"):
        prepare("digit_poses", tmp_path)


def test_equal_seeds_write_into_different_directories(tmp_path, meanwhile):
    written = []
    for place in ("one", "other"):
        meanwhile.append(lambda builder: written.append(Path(builder.data_dir).name))
        random.seed(0)
        prepare("digit_poses", tmp_path / place)
    assert len(set(written)) == 2


def test_the_caller_keeps_its_random_numbers(tmp_path, meanwhile):
    random.seed(7)
    expected = random.random()
    random.seed(7)
    prepare("digit_poses", tmp_path)
    assert random.random() == expected
    assert not meanwhile


def test_preparing_says_one_line_and_reading_says_nothing(tmp_path, meanwhile, capsys):
    prepare("digit_poses", tmp_path)
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == f"kmtl.data: preparing digit_poses in {tmp_path}/digit_poses/1.0.0\n"
    prepare("digit_poses", tmp_path)
    assert capsys.readouterr() == ("", "")
    assert not meanwhile


def test_registered_sets_are_known_to_tfds():
    register()
    for name in SHIPPED:
        assert tfds.builder_cls(name).__module__ == f"kmtl.data.{name}.{name}_dataset_builder"


def test_heavy_packages_are_imported_where_they_are_needed():
    folder = Path(kmtl.data.__file__).parent
    for path in folder.glob("*.py"):
        for node in ast.parse(path.read_text()).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            assert not {name.partition(".")[0] for name in names} & {"tensorflow_datasets", "sklearn", "scipy"}, path
