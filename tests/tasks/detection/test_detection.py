"""The kind: its options, its head, what it refuses in labels, and how it is read and drawn."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kmtl
from kmtl._checks import Refusals
from kmtl.losses import group_tasks

NONE = [-1.0] * 5


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"classes": 0}, "`classes` must be a whole number of at least 1, got 0"),
        ({"grid": (2, 2, 2)}, r"`grid` must be \(rows, columns\) or one number"),
        ({"boxes_per_cell": 0}, "`boxes_per_cell` must be a whole number of at least 1"),
        ({"loss": "modrn"}, "`loss` must be a Keras loss, got 'modrn'. Did you mean 'modern'"),
        (
            {"bounding_box_format": "rel_xyxyy"},
            "`bounding_box_format` must be one of Keras's, .*Did you mean 'rel_xyxy'",
        ),
        ({"bounding_box_format": "xywh"}, r"`image_shape` must be \(height, width\): 'xywh' is in pixels, got None"),
        ({"image_shape": (4, 4)}, r"`image_shape` must be left out: 'rel_xyxy' is in fractions, got \(4, 4\)"),
        ({"score_threshold": 1.5}, r"`score_threshold` must lie in 0\.\.1, got 1\.5"),
        ({"iou_threshold": -1}, r"`iou_threshold` must lie in 0\.\.1, got -1"),
        ({"crowded": "keep"}, "`crowded` must be 'refuse' or 'drop', got 'keep'"),
        ({"losses": {"a": "mse"}, "loss": "mse"}, "`loss` must be left out beside `losses`"),
    ],
)
def test_bad_options_are_refused(options, rule):
    with pytest.raises(ValueError, match=rf"^Detection\('boxes'\): {rule}"):
        kmtl.Detection("boxes", **{"classes": 3, "grid": 2, **options})


def test_class_weights_are_no_option_of_it():
    with pytest.raises(TypeError, match="`class_weight` must be an argument that it takes"):
        kmtl.Detection("boxes", 3, grid=2, class_weight="balanced")


def test_options_survive_the_file():
    names = ["cat", "dog", "cow"]
    options = {"bounding_box_format": "xywh", "image_shape": (8, 6), "crowded": "drop", "label_names": names}
    options |= {"score_threshold": 0.2, "iou_threshold": 0.6, "most": 9, "boxes_per_cell": 3, "loss": "yolov1"}
    task = kmtl.Detection("boxes", 3, grid=(4, 3), **options)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(task))
    assert again == task
    assert (again.layout, again.resolved_loss().kind) == (task.layout, "yolov1")
    assert {name: value for name, value in again.get_config().items() if name in options} == {
        **options,
        "image_shape": [8, 6],
        "label_names": tuple(names),
    }


def test_of_several_maps_it_takes_the_one_of_its_grid():
    task = kmtl.Detection("boxes", 2, grid=(4, 2), hidden=())
    maps = [keras.Input((2 * side, side, 3)) for side in (4, 2, 1)]
    assert task.chosen_map(maps) is maps[1]
    image = keras.Input((8, 4, 3), name="image")
    fine, coarse = (keras.layers.Conv2D(3, 1, strides=stride)(image) for stride in (1, 2))
    model = kmtl.MultiTaskModel.from_features(image, {"map": [image, fine, coarse]}, [task])
    assert model.output["boxes"].shape == (None, 4, 2, 12)
    with pytest.raises(ValueError, match=r"got \(8, 4\), \(8, 4\)\. Give the task grid=\(8, 4\)"):
        kmtl.MultiTaskModel.from_features(image, {"map": [image, fine]}, [task])
    image = keras.Input((8, 8, 3), name="image")
    with pytest.raises(ValueError, match=r"must be a map of \(4, 2\), the grid of task 'boxes', got \(8, 8\)\. Give"):
        kmtl.MultiTaskModel.from_features(image, image, [task])
    with pytest.raises(ValueError, match=r"got \(None, None\)\. Give the pictures a size"):
        task.check_features(keras.Input((None, None, 3)), "demo")


def test_a_head_starts_with_boxes_of_several_sizes_that_hold_nothing():
    task = kmtl.Detection("boxes", 4, grid=(4, 8), boxes_per_cell=2, hidden=())
    features = keras.Input((4, 8, 1))
    output = keras.Model(features, task.head(features)).predict(np.zeros((1, 4, 8, 1)), verbose=0)
    cells = task.layout.cells(output)
    np.testing.assert_allclose(cells.confidence, 0.05, rtol=1e-5)
    np.testing.assert_allclose(cells.probabilities, 0.25, rtol=1e-5)
    columns, rows = np.meshgrid((np.arange(8) + 0.5) / 8, (np.arange(4) + 0.5) / 4)
    np.testing.assert_allclose(cells.centers[0, :, 0, :2], np.stack([columns, rows], -1).reshape(-1, 2), rtol=1e-5)
    # Evenly by their logarithm between one cell and the picture.
    np.testing.assert_allclose(cells.centers[0, 0, :, 2:], [[8**-0.75, 4**-0.75], [8**-0.25, 4**-0.25]], rtol=1e-5)


REFUSED = [
    ([[0.1, 0.1, 1.2, 0.5, 0]], "must have boxes inside the picture, got 1 that are not, such as"),
    (
        [[10.0, 20.0, 30.0, 30.0, 1]],
        "must have boxes inside the picture.*They look like pixels: give the task bounding_box_format='xyxy'",
    ),
    ([[0.5, 0.1, 0.2, 0.5, 0]], "must have right and bottom behind left and top"),
    ([[0.5, 0.1, 0.5, 0.5, 0]], "must have boxes with an area"),
    ([[0.1, 0.1, 0.2, 0.5, 3]], "must have a whole number below the number of classes behind each box"),
    ([[0.1, 0.1, 0.2, 0.5, 0.5]], "must have a whole number below the number of classes behind each box"),
    ([[0.1, 0.1, 0.2, 0.5, -1]], "must be -1 in all five numbers of an unused row"),
    ([[-1, -1, -1, -1, 2]], "must have boxes with an area|inside the picture"),
    ([[0.1, np.nan, 0.2, 0.5, 1]], "must be NaN in every row of a missing label"),
    ([[0.1, 0.1, 0.2, 0.5, 1], [np.nan] * 5], "must be NaN in every row of a missing label"),
    ([[0.1, 0.1, 0.2, np.inf, 1]], "must be finite or NaN"),
    (
        [[0.1, 0.1, 0.2, 0.2, 0]] * 3,
        r"must have at most 2 objects in a cell of the 2 x 2 grid, got 1 cells of more, 3 in the fullest\. "
        r"Take a finer grid or boxes_per_cell=3; or crowded='drop'",
    ),
]


@pytest.mark.parametrize(("rows", "rule"), REFUSED)
def test_labels_that_are_none_are_refused_by_the_look_at_the_data(rows, rule):
    task = kmtl.Detection("boxes", 3, grid=2)
    label = np.array([[*rows, NONE], [[0.0, 0.0, 0.5, 0.5, 2]] + [NONE] * len(rows), [[np.nan] * 5] * (1 + len(rows))])
    statistics = task.statistics()
    statistics.update(label)
    with pytest.raises(ValueError, match=rf"^fit: `y\['boxes'\]` {rule}") as caught, Refusals("fit") as refusals:
        statistics.refuse(refusals, "y['boxes']")
    assert len(str(caught.value).splitlines()) == 1
    # What one label alone tells is told of every batch, too.
    possible = np.asarray(task.possible(label))
    assert possible[1:].all()
    fine_alone = "at most 2" in rule or rows[-1] == [np.nan] * 5
    assert possible[0].all() == fine_alone


def test_fractions_are_refused_where_pixels_belong_and_a_crowd_may_be_dropped():
    task = kmtl.Detection("boxes", 3, grid=2, bounding_box_format="xywh", image_shape=(30, 40), crowded="drop")
    statistics = task.statistics()
    statistics.update(np.array([[[0.1, 0.1, 0.2, 0.2, 0]] * 3]))
    rule = r"in pixels, 'xywh', got no number above 0\.2, as of fr.*'rel_xywh'"
    with pytest.raises(ValueError, match=rule) as caught, Refusals("fit") as refusals:
        statistics.refuse(refusals, "y")
    assert len(str(caught.value).splitlines()) == 1
    assert (statistics.objects.tolist(), statistics.crowded) == ([3, 0, 0], 1)


@pytest.mark.parametrize(
    ("dtype", "shape", "rule"),
    [
        (object, (4,), r"pack lists of boxes by the task's `labels\(boxes, classes\)`"),
        (np.float32, (4, 0, 5), "must have a row at least"),
        (np.float32, (4, 3, 4), r"must have shape \(batch, any, 5\)"),
    ],
)
def test_labels_of_other_forms_are_told_the_way_out(dtype, shape, rule):
    with pytest.raises(ValueError, match=rule), Refusals("fit") as refusals:
        kmtl.Detection("boxes", 3, grid=2).check_labels(refusals, "y", dtype, shape)


def test_a_label_padded_with_unused_rows_is_the_same_label():
    """Of a padded batch: one without objects is labelled, a missing one stays missing."""
    task = kmtl.Detection("boxes", 2, grid=2)
    rows = [[[0.1, 0.1, 0.4, 0.4, 1], [0.6, 0.6, 0.9, 0.9, 0]], [NONE], [[np.nan] * 5]]
    batches = tf.data.Dataset.from_generator(lambda: iter(rows), output_signature=tf.TensorSpec((None, 5)))
    labels = next(iter(batches.padded_batch(3, padding_values=-1.0))).numpy()
    assert labels.shape == (3, 2, 5)
    outputs = np.random.default_rng(0).uniform(0.1, 0.9, (3, *task.output_shape)).astype("float32")
    (group,) = group_tasks([task], {"boxes": task.resolved_loss()}, {})
    sums, counts = group.sums(group.examples({"boxes": labels}, {"boxes": outputs}))
    alone = [group.sums(group.examples({"boxes": np.array([row], "float32")}, {"boxes": outputs[[place]]}))[0]
             for place, row in enumerate(rows[:2])]  # fmt: skip
    assert float(counts[0]) == 2
    assert float(sums[0]) == pytest.approx(sum(float(one[0]) for one in alone), rel=1e-6)
    statistics = task.statistics()
    statistics.update(labels)
    assert (statistics.labelled, statistics.examples, statistics.faults) == (2, 3, {})
    assert np.asarray(task.strata(labels, 4)).sum(axis=1).tolist() == [1, 1, 1]


def test_boxes_are_drawn_and_told():
    from matplotlib.figure import Figure

    task = kmtl.Detection("boxes", 2, grid=2, label_names=["cat", "dog"])
    label = task.labels([[[0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0]]], [[0, 1]])
    output = np.array(task.layout.encoded(label))
    output[0, 0, 0, 2] = 0.4  # of 0.5: four fifths are left
    output[0, 1, 1, 4] = 0.1  # below what is read
    axis = Figure().subplots()
    axis.imshow(np.zeros((20, 40)))
    task.draw(axis, label[0], output[0])
    styles = [(patch.get_linestyle(), patch.get_xy(), patch.get_width(), patch.get_height()) for patch in axis.patches]
    assert styles[0] == ("--", (-0.5, -0.5), 20.0, 10.0)
    assert styles[1] == ("--", (19.5, 9.5), 20.0, 10.0)
    assert styles[2][0] == "solid"
    assert styles[2][2:] == pytest.approx((16.0, 10.0), rel=1e-5)
    assert [text.get_text() for text in axis.texts] == ["cat 1.00"]
    assert task.describe(label[0], output[0]) == "boxes 2 → 1, 0.80 mean IoU"
    assert task.describe(np.full((2, 5), np.nan), output[0]) == "boxes ? → 1"
    assert task.describe(np.full((2, 5), -1.0), output[0]) == "boxes 0 → 1"


def test_an_error_is_the_share_of_boxes_and_objects_that_do_not_meet():
    task = kmtl.Detection("boxes", 2, grid=2)
    places = [[0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0]]
    labels = task.labels([places, places, [], None], [[0, 1], [0, 0], [], None])
    outputs = np.array(task.layout.encoded(task.labels([places] * 4, [[0, 1]] * 4)))
    outputs[0, 1, 1, 4] = 0.1  # below what is read: one of two objects is found, by one box
    # The second picture's second box is of another class; the third has no object, the fourth no label.
    np.testing.assert_allclose(task.example_errors(labels, outputs), [1 - 2 / 3, 1 - 2 / 4, 1.0, np.nan])
    outputs[..., 4::5] = 0.0
    assert task.example_errors(labels[2:3], outputs[2:3]) == [0.0]
