"""`load`: what comes out, in which order, with what hidden, and drawn anew."""

import numpy as np
import pytest

from kmtl.data.built_in.catalogue import find, tasks
from kmtl.data.built_in.digits import source_digits
from kmtl.data.built_in.examples import column
from kmtl.data.built_in.loading import load
from kmtl.data.built_in.transforms import ANGLES, SCALES, draw

KNOWN = "Known: 'digit_poses', 'multi_digits', 'digit_scenes', 'shapes3d', 'dsprites', 'celeb_a', 'oxford_iiit_pet'."
PART = ("train[:600]", "validation[:60]", "test[:60]")
EVERYTHING = ["scale", "digit", "position", "angle"]


@pytest.fixture
def loaded(prepared):
    """Loads a built-in set from the prepared directory; a part of it, for speed, unless the splits are given."""

    def from_disk(name="digit_poses", splits=PART, **options):
        return load(name, data_dir=prepared, splits=splits, **options)

    return from_disk


def epoch(dataset):
    """Reads one whole pass: images, and labels by name."""
    batches = list(dataset.as_numpy_iterator())
    labels = {name: np.concatenate([batch[1][name] for batch in batches]) for name in batches[0][1]}
    return np.concatenate([batch[0] for batch in batches]), labels


@pytest.mark.long
def test_digit_poses_has_the_documented_form(loaded):
    parts = loaded(batch_size=96, splits=None)
    assert [len(part) for part in parts] == [105, 21, 21]
    for part, count in zip(parts, (10_000, 2_000, 2_000), strict=True):
        images, labels = epoch(part)
        assert images.shape == (count, 32, 32, 1)
        assert (images.dtype, images.min(), images.max()) == (np.float32, 0.0, 1.0)
        assert {name: (value.dtype.name, value.shape) for name, value in labels.items()} == {
            "digit": ("int32", (count,)),
            "angle": ("float32", (count,)),
            "position": ("float32", (count, 2)),
        }
        assert list(labels) == ["digit", "angle", "position"]
        assert np.unique(labels["digit"]).tolist() == list(range(10))


def test_multi_digits_has_the_documented_form(loaded):
    train, _, test = loaded("multi_digits", splits=("train[:600]", "validation", "test"))
    images, labels = epoch(test)
    assert [(name, value.dtype.name) for name, value in labels.items()] == [
        ("left", "int32"),
        ("right", "int32"),
        ("sum", "float32"),
    ]
    assert images.shape == (2_000, 32, 32, 1)
    np.testing.assert_array_equal(labels["sum"], labels["left"] + labels["right"])
    assert len(train) == 10


def test_digit_scenes_has_the_documented_form(loaded):
    wanted = tasks("digit_scenes")
    images, labels = epoch(loaded("digit_scenes", hide={"mask": 0.5, "boxes": 0.5})[0])
    assert (images.shape, images.dtype) == ((600, 64, 64, 1), np.float32)
    assert list(labels) == [task.name for task in wanted]
    for task in wanted:
        assert labels[task.name].dtype.name == task.label_dtype
        assert task.fits(labels[task.name].shape)
    assert labels["boxes"].shape == (600, 5, 5)
    assert (labels["mask"] == -1).all(axis=(1, 2)).sum() == 300
    assert np.isnan(labels["boxes"]).all(axis=(1, 2)).sum() == 300


@pytest.mark.parametrize("fresh", [False, True])
def test_labels_are_selected_and_ordered(loaded, fresh):
    train, validation, _ = loaded(labels=EVERYTHING, fresh=fresh, batch_size=60)
    for part in (train, validation):
        images, labels = next(iter(part))
        assert list(labels) == EVERYTHING
        assert images.shape == (60, 32, 32, 1)
        assert [label.shape.rank for label in labels.values()] == [1, 1, 2, 1]


@pytest.mark.parametrize("fresh", [pytest.param(False, marks=pytest.mark.long), True])
def test_epochs_differ_and_repeat_by_seed(loaded, fresh):
    one, again, other = (loaded(seed=seed, fresh=fresh)[0] for seed in (3, 3, 4))
    epochs = [epoch(one) for _ in range(2)]
    for images, labels in epochs:
        images_again, labels_again = epoch(again)
        np.testing.assert_array_equal(images, images_again)
        np.testing.assert_array_equal(labels["position"], labels_again["position"])
    assert (epochs[0][0] != epochs[1][0]).any(axis=(1, 2, 3)).mean() > 0.9
    assert (epochs[0][0] != epoch(other)[0]).any(axis=(1, 2, 3)).mean() > 0.9
    assert (epochs[0][1]["digit"] != epochs[1][1]["digit"]).mean() > 0.8


def test_an_epoch_holds_every_example_once_whatever_the_order(loaded):
    shuffled, validation, _ = loaded()
    straight = loaded(shuffle=False)[0]
    first, second, in_order = (epoch(part)[1]["angle"] for part in (shuffled, shuffled, straight))
    assert (first != second).any()
    np.testing.assert_array_equal(np.sort(first), np.sort(in_order))
    np.testing.assert_array_equal(np.sort(second), np.sort(in_order))
    np.testing.assert_array_equal(epoch(straight)[1]["angle"], in_order)
    np.testing.assert_array_equal(epoch(validation)[1]["angle"], epoch(validation)[1]["angle"])


@pytest.mark.parametrize("fresh", [False, True])
def test_hidden_labels_are_the_same_ones_every_epoch(loaded, fresh):
    train, validation, test = loaded(hide={"angle": 0.25, "digit": 0.5}, fresh=fresh, shuffle=False)
    (_, first), (_, second) = epoch(train), epoch(train)
    assert np.isnan(first["angle"]).sum() == 150
    assert (first["digit"] == -1).sum() == 300
    assert not np.isnan(first["position"]).any()
    np.testing.assert_array_equal(np.isnan(first["angle"]), np.isnan(second["angle"]))
    np.testing.assert_array_equal(first["digit"], second["digit"])
    for part in (validation, test):
        labels = epoch(part)[1]
        assert not np.isnan(labels["angle"]).any()
        assert labels["digit"].min() == 0


def test_hidden_labels_stay_with_their_images_when_shuffled(loaded):
    shuffled, straight = (loaded(shuffle=shuffle, hide={"digit": 0.5})[0] for shuffle in (True, False))
    by_angle = []
    for part in (straight, shuffled, shuffled):
        labels = epoch(part)[1]
        by_angle.append(dict(zip(labels["angle"], labels["digit"], strict=True)))
    assert all(found == by_angle[0] for found in by_angle)
    assert sum(digit == -1 for digit in by_angle[0].values()) == 300


def test_another_seed_hides_others(loaded):
    one, other = (epoch(loaded(seed=seed, hide=0.5, shuffle=False)[0])[1]["digit"] for seed in (0, 1))
    assert 200 < ((one == -1) != (other == -1)).sum() < 400


def test_one_share_hides_of_every_task(loaded):
    labels = epoch(loaded(hide=0.5)[0])[1]
    assert (labels["digit"] == -1).sum() == np.isnan(labels["angle"]).sum() == 300
    assert np.isnan(labels["position"]).all(axis=1).sum() == 300


def test_fresh_images_are_what_their_labels_say(loaded, prepared):
    train = loaded(fresh=True, labels=EVERYTHING, shuffle=False, batch_size=50)[0]
    sources = column(find("digit_poses", "test"), "source", "train[:600]", prepared)
    images, digits = source_digits()
    for _ in range(2):
        drawn, labels = next(iter(train))
        np.testing.assert_array_equal(labels["digit"], digits[sources[:50]])
        for index in range(50):
            pose = (labels[key][index].numpy() for key in ("angle", "scale", "position"))
            np.testing.assert_allclose(drawn[index, ..., 0], draw(images[sources[index]], *pose), atol=1e-4)


@pytest.mark.long
def test_fresh_changes_the_poses_and_nothing_else(loaded):
    options = {"shuffle": False, "labels": EVERYTHING, "splits": ("train[:2000]", *PART[1:])}
    prepared_train, *rest = loaded(**options)
    fresh_train, *fresh_rest = loaded(fresh=True, **options)
    assert len(fresh_train) == len(prepared_train)
    (_, usual), (_, first), (_, second) = epoch(prepared_train), epoch(fresh_train), epoch(fresh_train)
    np.testing.assert_array_equal(first["digit"], usual["digit"])
    np.testing.assert_array_equal(second["digit"], usual["digit"])
    for key in ("angle", "scale"):
        assert not (first[key] == second[key]).any()
        assert len(np.unique(first[key])) > 1_960
    for key, (low, high) in {"angle": ANGLES, "scale": SCALES}.items():
        assert first[key].min() > low
        assert first[key].max() < high
        # Four standard errors of the mean of 2,000 uniform draws.
        assert first[key].mean() == pytest.approx((low + high) / 2, abs=4 * (high - low) / np.sqrt(12 * 2_000))
    for part, fresh_part in zip(rest, fresh_rest, strict=True):
        np.testing.assert_array_equal(epoch(part)[0], epoch(fresh_part)[0])


@pytest.mark.long
@pytest.mark.parametrize("fresh", [False, True])
def test_images_are_resized_on_request(loaded, fresh):
    options = {"splits": ("train[:20]", "validation[:20]", "test[:20]"), "fresh": fresh, "shuffle": False}
    for part, full in zip(loaded(image_size=(16, 24), **options), loaded(**options), strict=True):
        (images, labels), (originals, full_labels) = next(iter(part)), next(iter(full))
        assert images.shape == (20, 16, 24, 1)
        # Shrinking an image keeps its mean, up to what is rounded and what is cut at the edges.
        np.testing.assert_allclose(np.mean(images, (1, 2, 3)), np.mean(originals, (1, 2, 3)), rtol=0.05)
        np.testing.assert_array_equal(labels["position"], full_labels["position"])
    assert loaded(image_size=8, **options)[1].element_spec[0].shape.as_list() == [None, 8, 8, 1]


def test_splits_are_read_as_asked(loaded):
    train, validation, test = loaded(splits=("test", "train[:70]", "validation[50%:]"), batch_size=100)
    assert [len(train), len(validation), len(test)] == [20, 1, 10]


def test_a_directory_may_begin_at_home(prepared, monkeypatch):
    monkeypatch.setenv("HOME", str(prepared.parent))
    test = load("digit_poses", data_dir=f"~/{prepared.name}", splits=("test[:5]",) * 3)[2]
    assert len(epoch(test)[0]) == 5


def test_a_set_above_the_limits_is_read_from_disk_every_epoch(loaded, monkeypatch):
    options = {"splits": ("train[:300]", "validation[:30]", "test[:30]"), "hide": 0.5}
    in_memory = epoch(loaded(shuffle=False, **options)[0])[1]
    monkeypatch.setattr("kmtl.data.built_in.loading._READ_AT_ONCE", 0)
    monkeypatch.setattr("kmtl.data.built_in.loading._KEPT", 100 * 32 * 32)
    streamed = loaded(**options)[0]
    first, second = epoch(streamed)[1], epoch(streamed)[1]
    assert (first["angle"] != second["angle"]).any()
    for labels in (first, second):
        np.testing.assert_array_equal(np.sort(labels["angle"]), np.sort(in_memory["angle"]))
        # A buffer of 100 brings nothing forward by more than it holds.
        places = {angle: place for place, angle in enumerate(in_memory["angle"]) if not np.isnan(angle)}
        ahead = [places[angle] - place for place, angle in enumerate(labels["angle"]) if not np.isnan(angle)]
        assert 50 < max(ahead) < 100


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"name": "digit_pose"},
            "load: `name` must be a dataset of kmtl.data.names(), got 'digit_pose'. Did you mean 'digit_poses'?",
        ),
        ({"name": "mnist"}, f"load: `name` must be a dataset of kmtl.data.names(), got 'mnist'. {KNOWN}"),
        ({"name": 3}, f"load: `name` must be a dataset of kmtl.data.names(), got 3. {KNOWN}"),
        ({"labels": ["digt"]}, "load: `labels` must be labels of 'digit_poses', got 'digt'. Did you mean 'digit'?"),
        ({"batch_size": 0}, "load: `batch_size` must be a whole number of at least 1, got 0."),
        ({"batch_size": 2.5}, "load: `batch_size` must be a whole number of at least 1, got 2.5."),
        ({"seed": -1}, "load: `seed` must be a whole number of at least 0, got -1."),
        ({"hide": 1.2}, "load: `hide` must be a share in 0..1, got 1.2."),
        (
            {"hide": {"scale": 0.5}},
            "load: `hide` must name labels of the dataset, got 'scale'. Did you mean 'angle'?",
        ),
        (
            {"name": "multi_digits", "fresh": True},
            "load: `fresh` must be False for 'multi_digits', got True. Only 'digit_poses' can draw new images.",
        ),
        ({"image_size": 0}, "load: `image_size` must hold positive whole numbers, got 0."),
        ({"image_size": (8, 8, 1)}, "load: `image_size` must be one number or (height, width), got (8, 8, 1)."),
        (
            {"splits": ("train", "test")},
            "load: `splits` must be three TFDS split expressions, got ('train', 'test'). "
            "Example: ('train[:1000]', 'validation', 'test').",
        ),
        (
            {"splits": "train"},
            "load: `splits` must be three TFDS split expressions, got 'train'. "
            "Example: ('train[:1000]', 'validation', 'test').",
        ),
        (
            {"batch_size": -1, "hide": {"digit": 3, "angel": 0.5}},
            "load: `batch_size` must be a whole number of at least 1, got -1.\n"
            "load: `hide` must be a share in 0..1, got {'digit': 3}.\n"
            "load: `hide` must name labels of the dataset, got 'angel'. Did you mean 'angle'?",
        ),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_prepared(options, message, tmp_path):
    with pytest.raises(ValueError) as refused:  # noqa: PT011 -- the whole message is compared below
        load(**{"name": "digit_poses", "data_dir": tmp_path, **options})
    assert str(refused.value) == message
    assert not list(tmp_path.iterdir())
