"""Labels that are images: the same pixels out of every source, missing where there are none."""

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from kmtl.data import from_arrays, from_folder, from_frame, from_shards, hide_labels, mix, split_by_task, write_shards
from kmtl.data.hiding import blank
from kmtl.data.shards.manifests import FORMATS
from kmtl.tasks import Regression, Segmentation

SIZE = (4, 6)
MASK = Segmentation("mask", classes=5, shape=SIZE)
TASKS = [MASK, Regression("weight")]
# One of several sizes, and 255 where nobody looked.
FREE = Segmentation("mask", classes=5, ignore=255)


def masks(count=3):
    found = np.random.default_rng(0).integers(0, 5, (count, *SIZE)).astype("uint8")
    found[0, 0] = 255
    return found


def rows(count=3):
    """An image whose pixels tell its row."""
    return np.broadcast_to(np.arange(count, dtype="float32")[:, None, None, None], (count, 4, 4, 1))


def whole(dataset):
    return tf.nest.map_structure(lambda *parts: np.concatenate(parts), *dataset.as_numpy_iterator())


@pytest.mark.parametrize("task", [MASK, FREE], ids=["fixed size", "any size"])
def test_arrays_keep_every_pixel(task):
    given = np.where(masks() == 255, -1, masks().astype("int64")) if task is MASK else masks()
    x, labels = whole(from_arrays(rows(), {"mask": given}, [task, TASKS[1]], batch_size=2))
    assert labels["mask"].dtype == np.int32
    np.testing.assert_array_equal(labels["mask"], given)
    assert np.isnan(labels["weight"]).all()
    np.testing.assert_array_equal(x, rows())


def test_a_mask_of_another_size_or_class_is_refused():
    with pytest.raises(ValueError, match=r"`labels\['mask'\]` must have shape \(batch, 4, 6\), got \(3, 6, 4\)"):
        from_arrays(rows(), {"mask": np.zeros((3, 6, 4), int)}, TASKS)
    with pytest.raises(
        ValueError, match=r"`labels\['mask'\]` must lie in 0\.\.4, or be -1 where missing, got 0\.\.255"
    ):
        from_arrays(rows(), {"mask": masks()}, TASKS)
    with pytest.raises(ValueError, match=r"^from_frame: `tasks` must have labels that fit into columns"):
        from_frame(pd.DataFrame({"a": [1.0], "mask": ["m.png"]}), TASKS, features=["a"])


@pytest.mark.parametrize("kind", FORMATS)
def test_shards_give_back_what_was_written(tmp_path, kind):
    given = from_arrays(rows(), {"mask": masks()}, [FREE], batch_size=None)
    path = write_shards(given, tmp_path / "set", shards=2, format=kind)
    _, labels = whole(from_shards(path, [FREE, Regression("weight")], batch_size=2))
    np.testing.assert_array_equal(labels["mask"], masks())
    with pytest.raises(ValueError, match=r"`labels\['mask'\]` must have shape \(batch, 4, 4\)"):
        from_shards(path, [Segmentation("mask", 5, shape=(4, 4))])
    other = write_shards(from_arrays(rows(), {"weight": [1.0] * 3}, TASKS[1:], batch_size=None), tmp_path / "other")
    streamed = from_shards(other, TASKS, batch_size=3)
    assert streamed.element_spec[1]["mask"].shape == (None, *SIZE)
    np.testing.assert_array_equal(whole(streamed)[1]["mask"], np.full((3, *SIZE), -1))


@pytest.mark.parametrize("tasks", [None, TASKS, [FREE, TASKS[1]]], ids=["no tasks", "fixed size", "any size"])
def test_a_mixed_stream_fills_in_masks_that_are_missing(tasks):
    def slices(**labels):
        return tf.data.Dataset.from_tensor_slices((rows(), *labels.values()))

    stream = mix({"mask": slices(mask=masks()), "weight": slices(weight=[1.0, 2.0, 3.0])}, tasks=tasks, batch_size=6)
    assert stream.element_spec[1]["mask"].shape == (6, *SIZE)
    x, labels = next(stream.as_numpy_iterator())
    segmented = np.isnan(labels["weight"])
    assert 0 < segmented.sum() < 6
    np.testing.assert_array_equal(labels["mask"][segmented], masks()[x[segmented, 0, 0, 0].astype(int)])
    np.testing.assert_array_equal(labels["mask"][~segmented], np.full((6 - segmented.sum(), *SIZE), -1))


def test_hidden_masks_are_hidden_whole_and_only_whole_ones_are_left_out():
    given = tf.data.Dataset.from_tensor_slices((rows(4), {"mask": masks(4).astype("int32"), "weight": [1.0] * 4}))
    hidden = hide_labels(given, {"mask": 0.5}, seed=1)
    labels = np.stack([labels["mask"] for _, labels in hidden.as_numpy_iterator()])
    lost = (labels == -1).all(axis=(1, 2))
    assert lost.sum() == 2
    np.testing.assert_array_equal(labels[~lost], masks(4)[~lost])
    parts = split_by_task(hidden, [FREE], batched=False, count=True)
    assert int(parts["mask"].cardinality()) == 2
    ignored = given.map(lambda x, _: (x, {"mask": tf.fill(SIZE, 255)}))
    assert int(split_by_task(ignored, [FREE], batched=False, count=True)["mask"].cardinality()) == 0
    assert int(split_by_task(ignored, ["mask"], batched=False, count=True)["mask"].cardinality()) == 4


def test_of_a_batch_the_masks_of_hidden_rows_are_blank():
    given = masks().astype("int32")
    labels = blank({"mask": tf.constant(given)}, {"mask": tf.constant([False, True, False])})["mask"].numpy()
    np.testing.assert_array_equal(labels, [given[0], np.full(SIZE, -1), given[2]])


@pytest.fixture
def folder(tmp_path):
    """Images and their masks, of 8 and of 16 bits; the last image has none."""
    for number, mask in enumerate(masks(2)):
        (tmp_path / f"{number}.png").write_bytes(tf.io.encode_png(np.full((9, 9, 1), 255, np.uint8)).numpy())
        kind = (np.uint8, np.uint16)[number]
        (tmp_path / f"m{number}.png").write_bytes(tf.io.encode_png(mask[..., None].astype(kind)).numpy())
    (tmp_path / "labels.csv").write_text("file,mask,weight\n0.png,m0.png,1\n1.png,m1.png,\n1.png,,3\n")
    return tmp_path


@pytest.mark.parametrize("task", [Segmentation("mask", 5, shape=SIZE, ignore=255), FREE], ids=["fixed", "any"])
def test_a_column_names_files_of_masks(folder, task):
    dataset = from_folder(folder, folder / "labels.csv", [task, TASKS[1]], image_size=8, batch_size=2)
    assert dataset.element_spec[1]["mask"] == tf.TensorSpec((None, *SIZE), tf.int32)
    x, labels = whole(dataset)
    assert x.shape == (3, 8, 8, 3)
    np.testing.assert_array_equal(labels["mask"], [*masks(2), np.full(SIZE, -1)])
    np.testing.assert_array_equal(labels["weight"], [1.0, np.nan, 3.0])


def test_files_of_masks_that_are_none_are_refused(folder):
    colour = tf.io.encode_png(np.zeros((*SIZE, 3), np.uint8)).numpy()
    (folder / "colour.png").write_bytes(colour)
    (folder / "large.png").write_bytes(tf.io.encode_png(np.zeros((6, 4, 1), np.uint8)).numpy())
    names = ["m0.png", "colour.png", "large.png", "nowhere.png"]
    table = pd.DataFrame({"file": "0.png", "mask": names})
    with pytest.raises(ValueError, match=r"^from_folder: ") as caught:
        from_folder(folder, table, [MASK], image_size=8)
    kinds, sizes = str(caught.value).splitlines()
    assert "`labels['mask']` must name grey PNG files" in kinds
    assert "2 that are not, first 'colour.png', 'nowhere.png'" in kinds
    assert "must name images of 4 x 6 pixels, got 1 that are not, first 'large.png'" in sizes


def test_a_folder_without_masks_has_none(folder):
    table = pd.read_csv(folder / "labels.csv")
    dataset = from_folder(folder, table, TASKS, image_size=8, columns={"mask": None})
    np.testing.assert_array_equal(whole(dataset)[1]["mask"], np.full((3, *SIZE), -1))
