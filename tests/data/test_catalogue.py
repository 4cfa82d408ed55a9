"""The catalogue's labels as tasks, on TFDS's own mock data and on examples whose labels are known."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from cases import cases
from tensorflow_datasets.datasets.oxford_iiit_pet import oxford_iiit_pet_dataset_builder

from kmtl.data.built_in.catalogue import find, names, tasks
from kmtl.data.built_in.loading import load
from kmtl.tasks import BinaryClassification, Classification, Detection, MultiLabel, Regression, Segmentation

DOWNLOADED = ["shapes3d", "dsprites", "celeb_a", "oxford_iiit_pet"]
KINDS = {
    "digit_poses": {"digit": 10, "angle": (), "position": (2,)},
    "multi_digits": {"left": 10, "right": 10, "sum": ()},
    "shapes3d": {"shape": 4, "scale": (), "orientation": (), "floor_hue": 10, "wall_hue": 10, "object_hue": 10},
    "dsprites": {"shape": 3, "scale": (), "position": (2,)},
    "oxford_iiit_pet": {"breed": 37, "species": 2, "head_box": (4,)},
}


def info(name):
    with tfds.testing.mock_data():
        return tfds.builder(name).info


def serving(examples):
    """Mocks TFDS to serve these examples, whatever the split."""
    columns = tf.nest.map_structure(lambda *values: np.stack(values), *examples)
    return tfds.testing.mock_data(as_dataset_fn=lambda *_, **__: tf.data.Dataset.from_tensor_slices(columns))


def first_batch(name, examples, **options):
    with serving(examples):
        images, labels = next(iter(load(name, shuffle=False, **options)[0]))
        return images.numpy(), {key: value.numpy() for key, value in labels.items()}


@pytest.mark.parametrize("name", cases(DOWNLOADED, "celeb_a", "oxford_iiit_pet"))
def test_what_is_loaded_fits_the_tasks(name):
    with tfds.testing.mock_data(num_examples=7):
        parts = load(name, batch_size=4)
        sizes = [[len(images) for images, _ in part] for part in parts]
    wanted = tasks(name)
    assert sizes == [[4, 3]] * 3
    for part in parts:
        images, labels = part.element_spec
        assert (images.dtype, images.shape.rank) == (tf.float32, 4)
        assert None not in images.shape[1:]
        assert list(labels) == [task.name for task in wanted]
        for task in wanted:
            assert labels[task.name].dtype.name == task.label_dtype
            assert labels[task.name].shape.as_list() == [None, *task.label_shape]


@pytest.mark.parametrize("name", KINDS)
def test_tasks_are_of_the_right_kind_and_width(name):
    assert [task.name for task in tasks(name)] == list(KINDS[name])
    for task, width in zip(tasks(name), KINDS[name].values(), strict=True):
        if isinstance(width, int):
            assert isinstance(task, Classification)
            assert task.classes == width
        else:
            assert isinstance(task, Regression)
            assert task.label_shape == width


def test_a_scene_is_counted_named_detected_and_segmented():
    digits = list("0123456789")
    assert tasks("digit_scenes") == [
        Classification("count", classes=6),
        MultiLabel("digits", labels=10),
        Detection("boxes", classes=10, grid=8, label_names=digits),
        Segmentation("mask", classes=11, shape=(64, 64), label_names=["paper", *digits]),
    ]


@pytest.mark.parametrize("name", ["shapes3d", "dsprites", "oxford_iiit_pet"])
def test_classes_are_those_of_tfds(name):
    features, row = info(name).features, find(name, "test")
    classified = [task for task in tasks(name) if isinstance(task, Classification)]
    assert classified
    for task in classified:
        feature = row.labels[task.name].read(features)
        assert task.classes == feature.num_classes
        if name == "oxford_iiit_pet":
            assert list(task.label_names) == feature.names


def test_every_attribute_of_celeb_a_is_a_task_and_landmarks_are_a_vector():
    features = info("celeb_a").features
    *attributes, landmarks = tasks("celeb_a")
    assert all(isinstance(task, BinaryClassification) for task in attributes)
    assert [task.name for task in attributes] == [
        key.lower() if key[0].isalpha() else "five_o_clock_shadow" for key in features["attributes"]
    ]
    assert landmarks == Regression("landmarks", shape=(10,), unit="px")


def test_attributes_and_landmarks_keep_their_places():
    features = info("celeb_a").features
    attributes = {key: index % 3 == 0 for index, key in enumerate(features["attributes"])}
    points = "lefteye_x lefteye_y righteye_x righteye_y nose_x nose_y leftmouth_x leftmouth_y rightmouth_x rightmouth_y"
    landmarks = {key: np.int64(10 * index) for index, key in enumerate(points.split())}
    assert set(landmarks) == set(features["landmarks"])
    example = {"image": np.zeros((218, 178, 3), np.uint8), "attributes": attributes, "landmarks": landmarks}
    _, labels = first_batch("celeb_a", [example])
    assert labels["landmarks"].tolist() == [[10.0 * index for index in range(10)]]
    assert [labels[task.name].tolist() for task in tasks("celeb_a")[:-1]] == [[value] for value in attributes.values()]


def test_the_empty_box_of_a_pet_is_missing_and_others_are_not():
    sentinel = list(oxford_iiit_pet_dataset_builder._EMPTY_BBOX)
    boxes = [sentinel, [0.0, 0.0, 0.5, 0.25], [0.1, 0.2, 0.9, 0.8]]
    examples = [
        {"image": np.zeros((5, 9, 3), np.uint8), "label": 36, "species": 1, "head_bbox": np.array(box, np.float32)}
        for box in boxes
    ]
    images, labels = first_batch("oxford_iiit_pet", examples)
    assert images.shape == (3, 160, 160, 3)
    np.testing.assert_array_equal(labels["head_box"], np.array([[np.nan] * 4, *boxes[1:]], np.float32))
    assert labels["breed"].tolist() == [36, 36, 36]


def test_sprites_are_as_bright_as_other_images():
    # The set's pixels are 0 and 1.
    sprite = np.zeros((64, 64, 1), np.uint8)
    sprite[:32] = 1
    keys = ("label_shape", "label_scale", "label_orientation", "label_x_position", "label_y_position")
    values = {"value_scale": 0.5, "value_x_position": 0.25, "value_y_position": 0.75}
    example = {"image": sprite, **dict.fromkeys(keys, 2), **{key: np.float32(value) for key, value in values.items()}}
    images, labels = first_batch("dsprites", [example], labels=["position", "orientation"], image_size=(8, 4))
    assert images.shape == (1, 8, 4, 1)
    np.testing.assert_array_equal(images[0, [0, 7], 0, 0], [1.0, 0.0])
    assert {key: value.tolist() for key, value in labels.items()} == {"position": [[0.25, 0.75]], "orientation": [2]}


@pytest.mark.parametrize("name", ["shapes3d", "dsprites", "oxford_iiit_pet"])
def test_sets_without_splits_are_cut_without_gap_or_overlap(name):
    train = {"train": SimpleNamespace(num_examples=3680)}
    parts = [tfds.core.ReadInstruction.from_spec(split).to_absolute(train) for split in find(name, "test").splits]
    assert [(part.from_, part.to) for (part,) in parts] == [(None, 2944), (2944, 3312), (3312, None)]


@pytest.mark.parametrize("name", names())
def test_the_usual_labels_are_among_those_there_are(name):
    row = find(name, "test")
    assert set(row.default) <= set(row.labels)
    assert [task.name for task in tasks(name, labels=list(row.labels))] == list(row.labels)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"name": "dsprite"},
            "tasks: `name` must be a dataset of kmtl.data.names(), got 'dsprite'. Did you mean 'dsprites'?",
        ),
        (
            {"name": "dsprites", "labels": ["scal", "depth"]},
            "tasks: `labels` must be labels of 'dsprites', got 'scal'. Did you mean 'scale'?\n"
            "tasks: `labels` must be labels of 'dsprites', got 'depth'. "
            "Known: 'shape', 'scale', 'position', 'orientation'.",
        ),
        (
            {"name": "dsprites", "labels": "scale"},
            "tasks: `labels` must be a list of labels, got 'scale'. Known: shape, scale, position, orientation.",
        ),
        (
            {"name": "dsprites", "labels": []},
            "tasks: `labels` must be a list of labels, got []. Known: shape, scale, position, orientation.",
        ),
        (
            {"name": "dsprites", "labels": ["scale", "scale"]},
            "tasks: `labels` must name each label once, got ['scale', 'scale'].",
        ),
    ],
)
def test_bad_names_are_refused(arguments, message):
    with pytest.raises(ValueError) as refused:  # noqa: PT011 -- the whole message is compared below
        tasks(**arguments)
    assert str(refused.value) == message
