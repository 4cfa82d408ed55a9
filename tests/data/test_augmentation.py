"""`augment`: what lies in an image goes where the image goes, and everything else stays."""

import keras
import numpy as np
import pages
import pytest
import tensorflow as tf

import kmtl
from kmtl.data.augmentation import augment
from kmtl.feeding.resume import stream_from

layers = keras.layers
SIDE = 32
DOWN, RIGHT = np.mgrid[0:SIDE, 0:SIDE] - (SIDE - 1) / 2
ANGLES = np.array([0.0, 40.0, -75.0, 130.0, np.nan, 10.0], "float32")
TASKS = [kmtl.Segmentation("mask", 3, shape=(SIDE, SIDE)), kmtl.Regression("angle"), kmtl.Classification("kind", 4)]


def bars():
    """Bars that point to their angles from the middle, counter-clockwise on the screen, where rows go down."""
    radians = np.radians(np.nan_to_num(ANGLES))[:, None, None]
    along = RIGHT * np.cos(radians) - DOWN * np.sin(radians)
    across = RIGHT * np.sin(radians) + DOWN * np.cos(radians)
    return ((along > 0) & (along < 11) & (abs(across) < 1.5)).astype("float32")[..., None]


def dataset(batch_size=3, **more):
    """The bars; the mask of one is missing, the mask of the others tells where they are."""
    images = bars()
    mask = 2 * images[..., 0].astype("int32")
    mask[1] = -1
    labels = {"mask": mask, "angle": ANGLES, "kind": np.arange(6) % 4 - 1, **more}
    return tf.data.Dataset.from_tensor_slices((images, labels)).batch(batch_size)


def whole(batches):
    """All images and labels of a pass."""
    parts = list(batches.as_numpy_iterator())
    labels = {name: np.concatenate([part[1][name] for part in parts]) for name in parts[0][1]}
    return np.concatenate([part[0] for part in parts]), labels


def turned(angle, layer, drawn):
    """An angle under a rotation and under a mirror."""
    if isinstance(layer, layers.RandomRotation):
        return angle + drawn["angle"]
    return tf.where(tf.reshape(drawn["flips"], (-1,)), 180.0 - angle, angle)


def test_a_mirrored_image_mirrored_again_is_the_image_and_its_labels():
    images, labels = whole(augment(dataset(), layers.RandomFlip("horizontal"), TASKS, moves={"angle": turned}, seed=1))
    before, told = whole(dataset())
    was = (images != before).any(axis=(1, 2, 3))
    assert 0 < was.sum() < 6
    np.testing.assert_array_equal(labels["angle"], np.where(was, 180 - ANGLES, ANGLES))
    np.testing.assert_array_equal(np.where(was[:, None, None, None], images[:, :, ::-1], images), before)
    np.testing.assert_array_equal(
        np.where(was[:, None, None], labels["mask"][:, :, ::-1], labels["mask"]), told["mask"]
    )
    np.testing.assert_array_equal(labels["kind"], told["kind"])


def test_a_turned_bar_points_where_its_label_says():
    chain = [layers.RandomRotation(0.1, fill_mode="constant", fill_value=1.0), layers.RandomFlip("horizontal")]
    images, labels = whole(augment(dataset(), chain, TASKS, moves={"angle": turned}))
    # What comes in from outside is white, and has no label.
    inside = np.hypot(DOWN, RIGHT) < 13
    mass = images[..., 0] * inside
    seen = np.degrees(np.arctan2(-(mass * DOWN).sum((1, 2)), (mass * RIGHT).sum((1, 2))))
    there = ~np.isnan(ANGLES)
    np.testing.assert_array_equal(np.isnan(labels["angle"]), ~there)
    away = (labels["angle"][there] - seen[there] + 180) % 360 - 180
    assert np.abs(away).max() < 2.0
    assert np.abs(labels["angle"][there] - ANGLES[there]).max() > 5
    mask = labels["mask"]
    assert (mask[1] == -1).all()
    known = np.delete(np.arange(6), 1)
    assert ((mask[known] == 2) == (mass[known] > 0.5))[:, inside].mean() > 0.99
    assert (mask[known][:, 0, 0] == -1).all()
    assert set(np.unique(mask)) == {-1, 0, 2}


def test_what_comes_in_from_outside_has_no_label_whatever_it_is_filled_with():
    depth = np.full((6, SIDE, SIDE, 1), 7.5, "float32")
    depth[0, :4] = np.nan
    weights = {"mask": np.broadcast_to(np.arange(SIDE, dtype="float32"), (6, SIDE, SIDE)), "kind": np.ones(6)}
    plain = tf.data.Dataset.zip(dataset(6), tf.data.Dataset.from_tensors(weights))
    given = plain.map(lambda pair, weight: ({"picture": pair[0], "row": pair[1]["angle"]}, pair[1], weight))
    for value in (0.0, 1.0, -1.0):
        shift = layers.RandomTranslation((0.25, 0.25), 0.0, fill_mode="constant", fill_value=value)
        (x, labels, moved), *_ = augment(given, shift, TASKS).as_numpy_iterator()
        assert (labels["mask"][:, :8] == -1).all()
        np.testing.assert_array_equal(labels["mask"][0, 8:], 2 * bars()[0, :-8, :, 0])
        assert (x["picture"][:, :8] == value).all()
        np.testing.assert_array_equal(x["row"], ANGLES)
        np.testing.assert_array_equal(moved["mask"][:, 8:], weights["mask"][:, 8:])
        np.testing.assert_array_equal(moved["kind"], weights["kind"])


def test_a_box_goes_where_its_rectangle_goes():
    size, form = (48, 64), "center_xywh"
    task = kmtl.Detection("boxes", 2, grid=4, bounding_box_format=form, image_shape=size)
    corners = np.array([[20, 12, 30, 30], [52, 2, 64, 12]], "float32")
    images = np.zeros((8, *size, 1), "float32")
    images[:, 12:30, 20:30], images[:, 2:12, 52:64] = 1.0, 1.0
    boxes = keras.utils.bounding_boxes.convert_format(corners, "xyxy", form, *size)
    labels = task.labels([boxes] * 6 + [[], boxes], [[0, 1]] * 6 + [[], [0, 1]], most=3)
    labels[7, 0] = np.nan  # A label with NaN in it is missing as a whole.
    masks = np.stack([images[..., 0] == 1, np.zeros((8, *size))], -1)
    masks[:, 2:12, 52:64] = [0, 1]
    mask = kmtl.Segmentation("mask", 3, shape=size)
    given = {"boxes": labels, "mask": masks[..., 0].astype("int32") + 2 * masks[..., 1].astype("int32")}
    still = {"fill_mode": "constant"}
    chain = [layers.RandomTranslation(0.2, 0.2, **still), layers.RandomRotation(0.02, **still), layers.RandomFlip()]
    moved = augment(tf.data.Dataset.from_tensors((images, given)), chain, [task, mask], seed=5)
    (_, found), *_ = moved.as_numpy_iterator()
    assert np.isnan(found["boxes"][7]).all()
    assert (found["boxes"][6] == -1).all()
    seen = 0
    for rows, drawn in zip(found["boxes"][:6], found["mask"][:6], strict=True):
        for row, number in zip(rows, (1, 2), strict=False):
            where = drawn == number
            if row[4] < 0 or not where.any():
                assert (row == -1).all()
                assert where.sum() < 20
                continue
            down, right = np.nonzero(where)
            box = keras.utils.bounding_boxes.convert_format(row[None, :4], form, "xyxy", *size).numpy()[0]
            assert row[4] == number - 1
            assert box.min() >= 0
            assert (box[2:] <= [64, 48]).all()
            truth = np.array([right.min(), down.min(), right.max() + 1, down.max() + 1])
            if truth[:2].min() > 0 and (truth[2:] < [64, 48]).all():
                np.testing.assert_allclose(box, truth, atol=1.6)
                seen += 1
    assert seen > 4
    assert (found["boxes"][:, 2, 4][:7] == -1).all()


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (layers.RandomCrop(24, 24), "must move boxes as they move the images, got RandomCrop, whose boxes Keras"),
        (
            layers.RandomRotation(0.1),
            r"fill_mode='constant' where boxes move, got RandomRotation\(fill_mode='reflect'\)",
        ),
        (layers.RandomElasticTransform(fill_mode="constant"), "must move bounding boxes with the images, got"),
    ],
)
def test_layers_that_leave_boxes_behind_are_refused(layer, message):
    boxes = tf.data.Dataset.from_tensors((bars(), {"boxes": np.full((6, 1, 5), -1.0, "float32")}))
    with pytest.raises(ValueError, match=message):
        augment(boxes, layer, [kmtl.Detection("boxes", 2, grid=4)])


def test_a_seed_tells_every_epoch_and_the_stream_from_any_batch():
    chain = [layers.RandomFlip(), layers.RandomTranslation(0.1, 0.1)]
    one, again = (augment(dataset(), chain, TASKS, seed=3) for _ in range(2))
    first, second = whole(one)[0], whole(one)[0]
    np.testing.assert_array_equal(whole(again)[0], first)
    np.testing.assert_array_equal(whole(again)[0], second)
    assert (first != second).any(axis=(1, 2, 3)).all()
    stream = [images for images, _ in stream_from(one, 0).take(5).as_numpy_iterator()]
    later = [images for images, _ in stream_from(again, 3).take(2).as_numpy_iterator()]
    np.testing.assert_array_equal(stream[3:], later)
    assert (stream[0] != stream[2]).any()


def test_a_point_goes_as_the_page_moves_it():
    code = next(block for block in pages.blocks("keras.md") if "def placed" in block)
    names = {"keras": keras, "tf": tf}
    exec(compile(code[code.index("def placed") : code.index("spot =")], "docs/keras.md", "exec"), names)
    points = np.array([[9.0, 20.0], [22.0, 12.0], [16.0, 8.0], [15.0, np.nan]], "float32")
    away = np.hypot(RIGHT + 15.5 - np.nan_to_num(points)[:, 0, None, None], DOWN + 15.5 - points[:, 1, None, None])
    dots = np.maximum(3 - np.nan_to_num(away, nan=9.0), 0).astype("float32")[..., None]
    given = tf.data.Dataset.from_tensors((dots, {"position": points}))
    chain = [
        layers.RandomFlip("horizontal"),
        layers.RandomRotation(0.1, fill_mode="constant"),
        layers.RandomTranslation(0.1, 0.1, fill_mode="constant"),
    ]
    moves = {"position": names["placed"]}
    images, labels = whole(augment(given, chain, [kmtl.Regression("position", shape=(2,))], moves=moves, seed=2))
    assert np.isnan(labels["position"][3]).any()
    mass = images[:3, ..., 0] / images[:3].sum(axis=(1, 2, 3))[:, None, None]
    seen = np.stack([(mass * (RIGHT + 15.5)).sum((1, 2)), (mass * (DOWN + 15.5)).sum((1, 2))], axis=1)
    np.testing.assert_allclose(labels["position"][:3], seen, atol=0.2)
    assert np.abs(labels["position"][:3] - points[:3]).max() > 3


@pytest.mark.parametrize(
    ("chain", "options", "message"),
    [
        (
            [layers.MixUp(), layers.RandAugment()],
            {},
            "augment: `layers` must be image layers of Keras that move each image by itself, got <MixUp.*"
            "augment: `layers` must draw from the seed that they are given, got RandAugment.",
        ),
        (layers.GaussianNoise(0.1), {}, "must be image layers of Keras .* put them into the model."),
        (
            layers.RandomFlip(),
            {"moves": {"angel": turned, "mask": turned, "angle": 3}, "seed": -1},
            "`seed` must be a whole number of at least 0, got -1.\n.*'angel'. Did you mean 'angle'.*\n"
            ".*leave out labels that go with their image by themselves, got 'mask'.\n"
            r".*`moves\['angle'\]` must be a function",
        ),
        (layers.RandomFlip(), {"image": "photo"}, "`image` must name an input of images, got 'photo'."),
    ],
)
def test_bad_arguments_are_refused(chain, options, message):
    with pytest.raises(ValueError, match=f"(?s){message}"):
        augment(dataset(), chain, TASKS, **options)


def test_masks_of_another_size_than_the_images_are_refused():
    small = dataset(mask=np.zeros((6, 8, 8), "int32"))
    with pytest.raises(
        ValueError, match=r"`labels\['mask'\]` must be as large as the images, \(32, 32\), got \(8, 8\)"
    ):
        augment(small, layers.RandomFlip(), [kmtl.Segmentation("mask", 3, shape=(8, 8))])
