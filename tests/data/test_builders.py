"""The builders of the sets that kmtl ships: TFDS's own checks, and what is in them."""

from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

import numpy as np
import pytest
import tensorflow_datasets as tfds

from kmtl.data.built_in.digits import SPLIT_SIZES, draw_evenly, source_digits, split_sources
from kmtl.data.built_in.scenes import INK, MOST_DIGITS, OVERLAP, box_of, shared
from kmtl.data.built_in.transforms import draw, to_bytes
from kmtl.data.digit_poses import digit_poses_dataset_builder as digit_poses
from kmtl.data.digit_scenes import digit_scenes_dataset_builder as digit_scenes
from kmtl.data.multi_digits import multi_digits_dataset_builder as multi_digits
from kmtl.data.multi_digits.multi_digits_dataset_builder import enlarge

FEW = MappingProxyType({"train": 60, "validation": 20, "test": 10})


class DigitPosesTest(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = digit_poses.Builder
    SPLITS = FEW
    EXAMPLE_DIR = str(Path(__file__).parent)
    SKIP_CHECKSUMS = True

    @pytest.fixture(autouse=True)
    def few_examples(self, monkeypatch):
        monkeypatch.setattr(digit_poses, "SPLIT_SIZES", FEW)


class MultiDigitsTest(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = multi_digits.Builder
    SPLITS = FEW
    EXAMPLE_DIR = str(Path(__file__).parent)
    SKIP_CHECKSUMS = True

    @pytest.fixture(autouse=True)
    def few_examples(self, monkeypatch):
        monkeypatch.setattr(multi_digits, "SPLIT_SIZES", FEW)


class DigitScenesTest(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = digit_scenes.Builder
    SPLITS = FEW
    # Every split has scenes without a digit, which are all alike.
    OVERLAPPING_SPLITS: ClassVar = list(FEW)
    EXAMPLE_DIR = str(Path(__file__).parent)
    SKIP_CHECKSUMS = True

    @pytest.fixture(autouse=True)
    def few_examples(self, monkeypatch):
        monkeypatch.setattr(digit_scenes, "SCENES", FEW)


@pytest.fixture(scope="module")
def read(prepared):
    """Reads a set as `tfds.load` gives it, whole splits as arrays."""
    loaded = {}

    def splits(name):
        if name not in loaded:
            loaded[name] = tfds.as_numpy(tfds.load(name, data_dir=prepared, batch_size=-1))
        return loaded[name]

    return splits


@pytest.mark.parametrize(
    ("name", "keys"), [("digit_poses", ["source"]), ("multi_digits", ["left_source", "right_source"])]
)
def test_splits_share_no_source(read, name, keys):
    used = {split: {int(value) for key in keys for value in data[key]} for split, data in read(name).items()}
    assert {split: len(data["image"]) for split, data in read(name).items()} == SPLIT_SIZES
    assert sum(map(len, used.values())) == len(set.union(*used.values())) == 1797


@pytest.mark.parametrize(
    ("name", "key"), [("digit_poses", "source"), ("multi_digits", "left_source"), ("multi_digits", "right_source")]
)
def test_the_sources_of_a_split_are_used_about_equally_often(read, name, key):
    for split, data in read(name).items():
        counts = np.unique_counts(data[key]).counts
        assert counts.sum() == SPLIT_SIZES[split]
        assert counts.max() - counts.min() <= 1


def test_splits_of_scenes_share_no_source_and_use_each_about_equally_often(read):
    used = {split: data["sources"][data["sources"] >= 0] for split, data in read("digit_scenes").items()}
    allowed = split_sources(source_digits()[1])
    for split, sources in used.items():
        found, counts = np.unique(sources, return_counts=True)
        np.testing.assert_array_equal(found, allowed[split])
        assert counts.max() - counts.min() <= 1


def test_every_split_has_its_share_of_every_digit():
    digits = source_digits()[1]
    whole = np.bincount(digits)
    for split, sources in split_sources(digits).items():
        share = SPLIT_SIZES[split] / sum(SPLIT_SIZES.values())
        np.testing.assert_allclose(np.bincount(digits[sources]), whole * share, atol=1)


def test_the_sources_of_a_split_are_drawn_from_all_over():
    # One writer's digits lie together in the source.
    for sources in split_sources(source_digits()[1]).values():
        assert np.mean(sources) == pytest.approx(898, abs=100)


def test_the_image_of_a_pose_is_what_its_labels_say(read):
    images, digits = source_digits()
    for data in read("digit_poses").values():
        for index in range(0, 1000, 97):
            source, angle, scale, position = (data[key][index] for key in ("source", "angle", "scale", "position"))
            assert data["digit"][index] == digits[source]
            np.testing.assert_array_equal(
                data["image"][index, ..., 0], to_bytes(draw(images[source], angle, scale, position))
            )


def test_poses_differ_between_the_splits(read):
    data = read("digit_poses")
    assert not np.isin(data["validation"]["angle"], data["test"]["angle"]).any()


def test_the_two_digits_lie_where_the_recipe_says(read):
    images, digits = source_digits()
    data = read("multi_digits")["test"]
    for index in range(0, 1000, 97):
        left, right = images[data["left_source"][index]], images[data["right_source"][index]]
        image = data["image"][index, ..., 0]
        # The tile's pixel 3 k + 1 is the middle of source pixel k, and shows exactly its ink.
        np.testing.assert_array_equal(image[1:8:3, 1:8:3], to_bytes(left[:3, :3]))
        np.testing.assert_array_equal(image[24:31:3, 24:31:3], to_bytes(right[5:, 5:]))
        shared = np.maximum(enlarge(left)[8:, 8:], enlarge(right)[:16, :16])
        np.testing.assert_array_equal(image[8:24, 8:24], to_bytes(shared))
        assert data["left"][index] == digits[data["left_source"][index]]
        assert data["right"][index] == digits[data["right_source"][index]]


def test_the_sum_is_that_of_the_two_digits(read):
    for data in read("multi_digits").values():
        assert data["sum"].dtype == np.float32
        np.testing.assert_array_equal(data["sum"], data["left"] + data["right"])
        assert len(np.unique(data["sum"])) == 19


def test_a_scene_is_what_its_labels_say(read):
    digits = source_digits()[1]
    for split, data in read("digit_scenes").items():
        there = data["sources"] >= 0
        numbers = np.bincount(data["count"])
        assert (len(numbers), numbers.sum()) == (MOST_DIGITS + 1, digit_scenes.SCENES[split])
        assert numbers.max() - numbers.min() <= 1
        np.testing.assert_array_equal(data["count"], there.sum(axis=1))
        classes = np.where(there, digits[data["sources"]], -1)
        np.testing.assert_array_equal(data["boxes"][..., 4], classes)
        assert (data["boxes"][~there] == -1).all()
        np.testing.assert_array_equal(data["digits"], (classes[..., None] == np.arange(10)).any(axis=1))
        np.testing.assert_array_equal(data["mask"] > 0, data["image"][..., 0] >= INK)


def test_a_box_holds_the_pixels_of_its_digit(read):
    data = read("digit_scenes")["test"]
    sides = []
    for boxes, mask in zip(data["boxes"], data["mask"], strict=True):
        corners = boxes[boxes[:, 4] >= 0, :4] * 64
        sides.extend(corners[:, 2:] - corners[:, :2])
        inside = np.zeros_like(mask, dtype=bool)
        for place, (left, top, right, bottom) in enumerate(corners.astype(int)):
            inside[top:bottom, left:right] = True
            others = np.delete(corners, place, axis=0)
            touched = shared(corners[place], others) > 0
            assert (shared(corners[place], others) <= OVERLAP).all()
            if not touched.any():
                own = np.pad(mask[top:bottom, left:right] == 1 + boxes[place, 4], 1) * INK
                np.testing.assert_array_equal(box_of(own), [1, 1, 1 + right - left, 1 + bottom - top])
        assert inside[mask > 0].all()
    # A digit that fills its source has a side of 12 to 24 pixels, and a pixel more where interpolation spreads its ink.
    assert 9 < np.max(sides, axis=1).min() < 14
    assert 20 < np.max(sides) < 26


def test_supervised_pairs_are_ready_for_fit(prepared):
    image, labels = next(iter(tfds.load("digit_poses", split="test", data_dir=prepared, as_supervised=True)))
    assert image.shape == (32, 32, 1)
    assert {name: label.shape.as_list() for name, label in labels.items()} == {
        "digit": [],
        "angle": [],
        "position": [2],
    }


def test_a_draw_with_more_sources_than_examples_uses_none_twice():
    assert len(set(draw_evenly(np.arange(50), 20, np.random.default_rng(0)).tolist())) == 20
