"""Arrays, frames and folders as datasets: labels as the tasks want them, and what is refused."""

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import kmtl
from kmtl.data.mixing.mix import mix
from kmtl.data.partition.split import split
from kmtl.data.shards.writing import write_shards
from kmtl.data.sources import from_arrays, from_folder, from_frame
from kmtl.tasks import BinaryClassification, Classification, MultiLabel, Regression, Segmentation

NAN = float("nan")
TASKS = [
    Regression("weight"),
    Classification("digit", classes=10),
    MultiLabel("findings", labels=2, label_names=["rib", "lung"]),
    Regression("angle", shape=(2,)),
    BinaryClassification("adult", label_names=["no", "yes"]),
]
X = np.arange(12, dtype=np.float64).reshape(4, 3)
LABELS = {
    "digit": np.array([9, -1, 0, 3], np.int64),
    "weight": [1, 2, 3, 4],
    "angle": np.array([[0.5, NAN], [1, 2], [3, 4], [5, 6]]),
    "adult": np.array([True, False, True, False]),
}


def whole(dataset):
    """The dataset's parts as arrays, batches put together."""
    parts = list(dataset)
    return tf.nest.map_structure(lambda *batches: np.concatenate([item.numpy() for item in batches]), *parts)


def test_labels_have_the_form_of_their_tasks():
    dataset = from_arrays(X, LABELS, TASKS, batch_size=3)
    assert dataset.element_spec == (
        tf.TensorSpec((None, 3), tf.float32),
        {
            "weight": tf.TensorSpec((None,), tf.float32),
            "digit": tf.TensorSpec((None,), tf.int32),
            "findings": tf.TensorSpec((None, 2), tf.int32),
            "angle": tf.TensorSpec((None, 2), tf.float32),
            "adult": tf.TensorSpec((None,), tf.int32),
        },
    )
    assert list(dataset.element_spec[1]) == [task.name for task in TASKS]
    assert dataset.cardinality() == 2
    x, labels = whole(dataset)
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(labels["digit"], LABELS["digit"])
    np.testing.assert_array_equal(labels["weight"], LABELS["weight"])
    np.testing.assert_array_equal(labels["angle"], LABELS["angle"])
    np.testing.assert_array_equal(labels["adult"], [1, 0, 1, 0])
    np.testing.assert_array_equal(labels["findings"], np.full((4, 2), -1))


def test_inputs_may_be_several_of_any_kind():
    x = {"image": np.zeros((4, 2, 2, 1), np.uint8), "word": ["a", "b", "c", "d"], "age": pd.Series([1.0, 2, 3, 4])}
    got, _ = whole(from_arrays(x, LABELS, TASKS))
    assert (got["image"].shape, got["image"].dtype) == ((4, 2, 2, 1), np.uint8)
    assert got["word"].tolist() == [b"a", b"b", b"c", b"d"]
    assert got["age"].dtype == np.float32


def test_frames_as_inputs_and_labels():
    labels = pd.DataFrame({"digit": pd.array([3, None], dtype="Int64"), "weight": [NAN, 2.0]}, index=[7, 8])
    x, got = whole(from_arrays(pd.DataFrame({"a": [1, 2], "b": [3, 4]}), labels, TASKS))
    np.testing.assert_array_equal(x, [[1, 3], [2, 4]])
    np.testing.assert_array_equal(got["digit"], [3, -1])
    np.testing.assert_array_equal(got["weight"], [NAN, 2])


def test_a_column_of_labels_is_as_good_as_a_row():
    _, labels = whole(from_arrays(X, {"weight": np.ones((4, 1)), "digit": np.ones((4, 1), int)}, TASKS))
    assert (labels["weight"].shape, labels["digit"].shape) == ((4,), (4,))


def test_single_examples():
    dataset = from_arrays(X, LABELS, TASKS, batch_size=None)
    assert dataset.cardinality() == 4
    x, labels = list(dataset)[2]
    np.testing.assert_array_equal(x, X[2])
    np.testing.assert_array_equal(labels["angle"], [3, 4])


def test_shuffled_passes_keep_rows_together_and_differ():
    count = 50
    dataset = from_arrays(np.arange(count)[:, None], {"weight": np.arange(count) * 2}, TASKS[:1], shuffle=True, seed=3)
    passes = [whole(dataset) for _ in range(2)]
    for x, labels in passes:
        np.testing.assert_array_equal(labels["weight"], x[:, 0] * 2)
        np.testing.assert_array_equal(np.sort(x[:, 0]), np.arange(count))
    first, second = passes[0][0], passes[1][0]
    assert (first != second).any()
    again = from_arrays(np.arange(count)[:, None], {"weight": np.arange(count)}, TASKS[:1], shuffle=True, seed=3)
    np.testing.assert_array_equal(whole(again)[0], first)
    other = from_arrays(np.arange(count)[:, None], {"weight": np.arange(count)}, TASKS[:1], shuffle=True, seed=4)
    assert (whole(other)[0] != first).any()


def test_sample_weights_by_task_or_for_all():
    _, _, weights = whole(from_arrays(X, LABELS, TASKS, sample_weight={"digit": [1, 2, 3, 4]}))
    np.testing.assert_array_equal(weights["digit"], [1, 2, 3, 4])
    np.testing.assert_array_equal(weights["angle"], [1, 1, 1, 1])
    assert list(weights) == [task.name for task in TASKS]
    _, _, weights = whole(from_arrays(X, LABELS, TASKS, sample_weight=[0, 0.5, 1, 2]))
    assert all(weight.tolist() == [0, 0.5, 1, 2] for weight in weights.values())


def test_a_set_is_a_source_of_a_resumable_stream():
    dataset = from_arrays(X, LABELS, TASKS, batch_size=None)

    def rows(stream):
        return [float(x[0]) for x, _ in stream.take(12)]

    names = tuple(task.name for task in TASKS)
    stream = mix({names: dataset}, tasks=TASKS, shuffle=4)
    assert rows(stream.skip(6)) == rows(mix({names: dataset}, tasks=TASKS, shuffle=4, start=6))
    assert sorted(rows(stream)[:4]) == X[:, 0].tolist()


ARRAYS_REFUSED = {
    "misspelt label": ((X, {"digt": [1] * 4, **LABELS}), {}, "`labels` must use task names as keys, got 'digt'. Did"),
    "labels as a list": ((X, [LABELS["digit"]]), {}, "`labels` must be a dict of arrays or a frame, got list"),
    "no label at all": ((X, {}), {}, "`labels` must hold labels of at least one of ['weight', 'digit'"),
    "short labels": (
        (X, {"digit": [1, 2]}),
        {},
        "`labels['digit']` must have 4 rows, as many as the first input, got 2",
    ),
    "one label": ((X, {"digit": 3}), {}, "`labels['digit']` must have 4 rows"),
    "short inputs": (
        ({"a": X, "b": X[:2]}, LABELS),
        {},
        "`x['b']` must have 4 rows, as many as the first input, got 2",
    ),
    "no rows": ((X[:0], {"digit": []}), {}, "`x` must hold at least one example, got 0"),
    "no inputs": (({}, LABELS), {}, "`x` must hold at least one input"),
    "one number": ((3.0, LABELS), {}, "`x` must be an array of numbers or of text, got float64 ()"),
    "mixed frame": ((pd.DataFrame({"a": [1] * 4, "b": ["c"] * 4}), LABELS), {}, "goes to from_frame."),
    "NaN input": ((np.where(X > 10, NAN, X), LABELS), {}, "`x` must be finite, got 1 NaN or infinite values"),
    "float classes": (
        (X, {"digit": [1.0, 2, 3, 4]}),
        {},
        "`labels['digit']` must be integers: it is a classification, got float64. Cast to int",
    ),
    "too large a class": ((X, {"digit": [1, 10, 11, 2]}), {}, "must lie in 0..9, or be -1 where missing, got 1..11."),
    "class that would wrap around": ((X, {"digit": np.full(4, 2**64 - 1, np.uint64)}), {}, "must lie in 0..9"),
    "below -1": (
        (X, {"findings": [[0, 1], [1, -2], [0, 0], [1, 1]]}),
        {},
        "must lie in 0..1, or be -1 where missing, got -2..1",
    ),
    "text labels": ((X, {"adult": ["yes", "no", "no", "no"]}), {}, "`labels['adult']` must be numbers, got <U3"),
    "None labels": ((X, {"weight": [1.0, None, 2, 3]}), {}, "`labels['weight']` must be numbers, got object"),
    "infinite label": ((X, {"weight": [1.0, np.inf, 2, 3]}), {}, "`labels['weight']` must be finite or NaN"),
    "wrong width": ((X, {"angle": np.ones((4, 3))}), {}, "`labels['angle']` must have shape (batch, 2), got (4, 3)"),
    "scalar as vector": (
        (X, {"weight": np.ones((4, 2))}),
        {},
        "`labels['weight']` must have shape (batch,), got (4, 2)",
    ),
    "negative weight": ((X, LABELS), {"sample_weight": [1, -1, 1, 1]}, "`sample_weight` must be finite and at least 0"),
    "NaN weight": (
        (X, LABELS),
        {"sample_weight": {"digit": [1, NAN, 1, 1]}},
        "`sample_weight['digit']` must be finite",
    ),
    "unknown weight": (
        (X, LABELS),
        {"sample_weight": {"dgit": [1] * 4}},
        "`sample_weight` must use task names as keys",
    ),
    "weight matrix": ((X, LABELS), {"sample_weight": np.ones((4, 2))}, "`sample_weight` must hold one number a row"),
    "batch size": ((X, LABELS), {"batch_size": 0}, "`batch_size` must be a whole number of at least 1, or None, got 0"),
    "order": ((X, LABELS), {"shuffle": "yes"}, "`shuffle` must be True or False, got 'yes'"),
    "seed": ((X, LABELS), {"seed": -1}, "`seed` must be a whole number of at least 0, got -1"),
    "no tasks": ((X, LABELS, []), {}, "`tasks` must hold at least one task, got []"),
    "names": ((X, LABELS, ["digit"]), {}, "`tasks` must hold kmtl tasks, got 'digit'"),
    "a task twice": ((X, LABELS, TASKS[:1] * 2), {}, "`tasks` must have different names, got 'weight'"),
}


@pytest.mark.parametrize("name", ARRAYS_REFUSED)
def test_arrays_refused(name):
    (x, labels, *tasks), options, message = ARRAYS_REFUSED[name]
    with pytest.raises(ValueError, match=r"^from_arrays: `") as caught:
        from_arrays(x, labels, *(tasks or [TASKS]), **options)
    assert message in str(caught.value)


def test_all_offenders_at_once():
    labels = {"digit": [1, 2, 3, 12], "angle": np.ones(4), "wieght": np.ones(4)}
    with pytest.raises(ValueError, match="from_arrays") as caught:
        from_arrays(X, labels, TASKS, sample_weight=[-1, 1, 1, 1], batch_size=0)
    assert len(str(caught.value).splitlines()) == 5


def frame():
    return pd.DataFrame(
        {
            "height": [1.0, 2.0, 3.0],
            "legs": np.array([4, 2, 0], np.int16),
            "digit": [3, None, 9],
            "weight": [None, 1.5, 2.5],
            "adult": pd.Categorical(["yes", None, "no"]),
            "rib": pd.array([True, None, False], dtype="boolean"),
            "lung": [1, 0, 1],
            "dx": [0.5, 1.0, None],
            "dy": pd.array([1, 2, None], dtype="Int64"),
        },
        index=[10, 5, 7],
    )


COLUMNS = {"angle": ["dx", "dy"]}


def test_a_frame_becomes_inputs_and_labels():
    x, labels = whole(from_frame(frame(), TASKS, features=["legs", "height"], columns=COLUMNS))
    np.testing.assert_array_equal(x, np.array([[4, 1], [2, 2], [0, 3]], np.float32))
    np.testing.assert_array_equal(labels["digit"], [3, -1, 9])
    np.testing.assert_array_equal(labels["weight"], [NAN, 1.5, 2.5])
    np.testing.assert_array_equal(labels["adult"], [1, -1, 0])
    np.testing.assert_array_equal(labels["findings"], [[1, 1], [-1, 0], [0, 1]])
    np.testing.assert_array_equal(labels["angle"], [[0.5, 1], [1, 2], [NAN, NAN]])
    assert {name: label.dtype.name for name, label in labels.items()} == {task.name: task.label_dtype for task in TASKS}


def test_text_is_an_input_of_its_own():
    """What refuses a column of text names the way, and the way is open."""
    table = pd.DataFrame({"review": ["good", "bad"], "stars": [5, 1], "weight": [1.0, 2.0], "note": ["x", None]})
    task = [Regression("weight")]
    with pytest.raises(ValueError, match=r"Make text an input of its own, features=\{'review': 'review', \.\.\.\}"):
        from_frame(table, task, features=["review"])
    x, _ = whole(from_frame(table, task, features={"review": "review", "numbers": ["stars"]}))
    assert x["review"].tolist() == [b"good", b"bad"]
    assert x["numbers"].tolist() == [[5], [1]]
    with pytest.raises(ValueError, match=r"must be text in every row of column 'note', got 1 missing. Fill them"):
        from_frame(table, task, features={"note": "note"})


def test_other_columns_of_a_frame_of_labels_are_one_line():
    table = pd.DataFrame({"weight": [1.0], **{f"column{place}": [0] for place in range(9)}})
    with pytest.raises(ValueError, match="must have no other columns than the tasks") as caught:
        from_arrays([[0.0]], table, [Regression("weight")])
    assert str(caught.value).count("\n") == 0
    assert "got 'column0', 'column1', 'column2', 'column3', 'column4' and 4 more." in str(caught.value)
    assert "labels[['weight']]" in str(caught.value)


def test_features_by_input_and_columns_by_task():
    dataset = from_frame(
        frame(),
        [Regression("girth"), Classification("digit", classes=10)],
        features={"body": ["height", "legs"], "lung": "lung"},
        columns={"girth": "weight", "digit": None},
    )
    x, labels = whole(dataset)
    assert {name: array.shape for name, array in x.items()} == {"body": (3, 2), "lung": (3, 1)}
    np.testing.assert_array_equal(labels["girth"], [NAN, 1.5, 2.5])
    np.testing.assert_array_equal(labels["digit"], [-1, -1, -1])


@pytest.mark.parametrize(
    "cells",
    [
        ["cat", None, "dog"],
        pd.array(["cat", pd.NA, "dog"], dtype="string"),
        pd.Categorical(["cat", None, "dog"]),
        [1, None, 0],
        [1.0, NAN, 0.0],
        pd.array([1, pd.NA, 0], dtype="Int8"),
        pd.Series([np.int64(1), None, False], dtype=object),
        [1, -1, 0],
    ],
    ids=["text", "string", "categorical", "whole", "float", "nullable", "object", "sentinel"],
)
def test_however_pandas_holds_a_label(cells):
    # "dog" before "cat": the order is the task's, not the alphabet's.
    task = Classification("kind", classes=2, label_names=["dog", "cat"])
    _, labels = whole(from_frame(pd.DataFrame({"kind": cells, "a": [1, 2, 3]}), [task], features=["a"]))
    np.testing.assert_array_equal(labels["kind"], [1, -1, 0])


def test_weights_from_columns():
    options = {"features": ["height"], "columns": COLUMNS}
    _, _, weights = whole(from_frame(frame(), TASKS, sample_weight="legs", **options))
    assert weights["angle"].tolist() == [4, 2, 0]
    _, _, weights = whole(from_frame(frame(), TASKS, sample_weight={"digit": "legs"}, **options))
    assert (weights["digit"].tolist(), weights["angle"].tolist()) == ([4, 2, 0], [1, 1, 1])


KIND = Classification("kind", classes=2, label_names=["dog", "cat"])
FRAMES_REFUSED = {
    "no frame": ({"frame": {"a": [1]}}, "`frame` must be a pandas DataFrame, got dict"),
    "no rows": ({"frame": frame()[:0]}, "`frame` must hold at least one row, got 0"),
    "a column twice": ({"frame": pd.concat([frame(), frame()[["dx"]]], axis=1)}, "different column names, got ['dx']"),
    "unknown feature": ({"features": ["hieght"]}, "`features` must name columns of the frame, got 'hieght'. Did you"),
    "no feature": ({"features": []}, "`features` must name at least one column"),
    "text feature": ({"features": ["adult"]}, "`features` must be numeric, as column 'adult' is not, got category"),
    "gap in a feature": (
        {"features": ["dx"], "columns": {"angle": None}},
        "1 missing or infinite values in column 'dx'",
    ),
    "label as feature": ({"features": ["height", "weight"]}, "`columns['weight']` must not be an input, got 'weight'"),
    "vector without columns": ({"columns": None}, "`columns['angle']` must name columns of the frame, got 'angle'"),
    "wrong number": ({"columns": {"angle": "dx"}}, "`columns['angle']` must name 2 columns, one a label element"),
    "unknown task": ({"columns": {**COLUMNS, "wieght": "legs"}}, "`columns` must use task names as keys, got 'wieght'"),
    "unknown label column": ({"columns": {**COLUMNS, "digit": "digits"}}, "got 'digits'. Did you mean 'digit'?"),
    "no labels": (
        {"tasks": [Regression("weight")], "columns": {"weight": None}},
        "`columns` must leave at least one task with labels",
    ),
    "unknown text": (
        {"tasks": [KIND], "frame": pd.DataFrame({"kind": ["cat", "cta", None, "cow"], "height": [1, 2, 3, 4]})},
        "`labels['kind']` must be label names of the task in column 'kind', got 'cow', 'cta'. Did you mean 'cat'?",
    ),
    "text without names": (
        {"tasks": [Classification("adult", classes=2)]},
        "`labels['adult']` must be numbers, as column 'adult' is not, got 'no', 'yes'. Give the task label_names",
    ),
    "text for a regression": (
        {"tasks": [Regression("adult")]},
        "`labels['adult']` must be numbers, as column 'adult' is not, got 'no', 'yes'.",
    ),
    "half classes": (
        {"tasks": [Classification("weight", classes=9)]},
        "`labels['weight']` must be whole numbers, as column 'weight' is not, got 1.5, 2.5",
    ),
    "class out of range": (
        {"tasks": [Classification("digit", classes=4)]},
        "`labels['digit']` must lie in 0..3, or be -1 where missing, got 3..9",
    ),
    "unknown weight column": ({"sample_weight": "lgs"}, "`sample_weight` must name columns of the frame, got 'lgs'"),
}


@pytest.mark.parametrize("name", FRAMES_REFUSED)
def test_frames_refused(name):
    changed, message = FRAMES_REFUSED[name]
    given = {"frame": frame(), "tasks": TASKS, "features": ["height"], **changed}
    if "tasks" not in changed:
        given.setdefault("columns", COLUMNS)
    with pytest.raises(ValueError, match=r"^from_frame: `") as caught:
        from_frame(**given)
    assert message in str(caught.value)


def pixels(number, height=6, width=4, channels=3):
    return np.random.default_rng(number).integers(0, 256, (height, width, channels), np.uint8)


@pytest.fixture
def folder(tmp_path):
    """Three images of one size, in a folder below, and a table in an order that is not the alphabet's."""
    (tmp_path / "set").mkdir()
    for number, name in enumerate(["c.png", "a.png", "b.png"]):
        (tmp_path / "set" / name).write_bytes(tf.io.encode_png(pixels(number)).numpy())
    table = "file,weight,adult\nset/c.png,1.5,yes\nset/a.png,,no\nset/b.png,3.5,\n"
    (tmp_path / "labels.csv").write_text(table)
    return tmp_path


FOLDER_TASKS = [TASKS[0], TASKS[4]]


@pytest.mark.parametrize("from_file", [True, False])
def test_a_folder_of_images(folder, from_file):
    table = folder / "labels.csv" if from_file else pd.read_csv(folder / "labels.csv")
    dataset = from_folder(folder, table, FOLDER_TASKS, image_size=(6, 4), batch_size=2)
    assert dataset.element_spec[0] == tf.TensorSpec((None, 6, 4, 3), tf.float32)
    x, labels = whole(dataset)
    np.testing.assert_allclose(x, np.stack([pixels(number) for number in range(3)]) / 255, atol=1e-6)
    np.testing.assert_array_equal(labels["weight"], [1.5, NAN, 3.5])
    np.testing.assert_array_equal(labels["adult"], [1, 0, -1])
    assert dataset.cardinality() == 2


def test_images_of_any_size_and_kind_become_one(tmp_path):
    flat = np.full((9, 30, 3), [255, 0, 51], np.uint8)
    (tmp_path / "wide.jpg").write_bytes(tf.io.encode_jpeg(flat, quality=100).numpy())
    (tmp_path / "grey.PNG").write_bytes(tf.io.encode_png(np.full((2, 2, 1), 128, np.uint8)).numpy())
    table = pd.DataFrame({"picture": ["wide.jpg", "grey.PNG"], "weight": [1, 2]})
    options = {"image_size": 5, "file_column": "picture"}
    x, _ = whole(from_folder(tmp_path, table, [Regression("weight")], **options))
    np.testing.assert_allclose(x[0], np.broadcast_to([1, 0, 0.2], (5, 5, 3)), atol=0.02)
    np.testing.assert_allclose(x[1], np.full((5, 5, 3), 128 / 255), atol=1e-6)
    grey, _ = whole(from_folder(tmp_path, table[1:], [Regression("weight")], channels=1, **options))
    assert grey.shape == (1, 5, 5, 1)


def test_every_pixel_counts_when_an_image_shrinks(tmp_path):
    left = np.zeros((12, 12, 1), np.uint8)
    left[:, :2] = 255
    (tmp_path / "left.png").write_bytes(tf.io.encode_png(left).numpy())
    table = pd.DataFrame({"file": ["left.png"], "weight": [1.0]})
    x, _ = whole(from_folder(tmp_path, table, TASKS[:1], image_size=2, channels=1))
    assert (x[0, :, 0, 0] > 0.1).all()
    assert (x[0, :, 1, 0] < x[0, :, 0, 0]).all()


def test_images_keep_to_their_labels_when_shuffled(folder):
    dataset = from_folder(folder, folder / "labels.csv", FOLDER_TASKS, image_size=(6, 4), shuffle=True, batch_size=None)
    own = {1.5: 0, 3.5: 2}
    orders = set()
    for _ in range(8):
        rows = list(dataset)
        for x, labels in rows:
            number = own.get(float(labels["weight"]), 1)
            np.testing.assert_allclose(x, pixels(number) / 255, atol=1e-6)
        orders.add(tuple(int(labels["adult"]) for _, labels in rows))
    assert len(orders) > 1
    assert all(sorted(order) == [-1, 0, 1] for order in orders)


def test_files_stay_below_the_folder(tmp_path):
    """Neither `..`, nor a path of its own, nor a link leads out, for images and for labels that are images."""
    picture = tf.io.encode_png(tf.zeros((4, 4, 1), tf.uint8)).numpy()
    inside = tmp_path / "photos"
    inside.mkdir()
    for path in (tmp_path / "secret.png", inside / "a.png"):
        path.write_bytes(picture)
    (inside / "link.png").symlink_to(tmp_path / "secret.png")
    (inside / "near.png").symlink_to("a.png")
    names = ["../secret.png", str(tmp_path / "secret.png"), "link.png"]
    table = pd.DataFrame({"file": names, "weight": [1.0] * 3})
    with pytest.raises(ValueError, match=r"must name files below .*photos, got 3 that are not"):
        from_folder(inside, table, [Regression("weight")], image_size=4)
    table = pd.DataFrame({"file": ["a.png"] * 3, "mask": names})
    with pytest.raises(ValueError, match=r"labels\['mask'\]` must name files below .*photos, got 3 that are not"):
        from_folder(inside, table, [Segmentation("mask", 2, shape=(4, 4))], image_size=4)
    table = pd.DataFrame({"file": ["near.png"], "weight": [1.0]})
    assert len(list(from_folder(inside, table, [Regression("weight")], image_size=4))) == 1


def test_broken_images_and_tables_are_named(tmp_path):
    for form, encode in (("png", tf.io.encode_png), ("jpg", tf.io.encode_jpeg)):
        picture = encode(tf.zeros((40, 40, 3), tf.uint8)).numpy()
        (tmp_path / f"whole.{form}").write_bytes(picture)
        (tmp_path / f"more.{form}").write_bytes(picture + b"behind it" * 500)
        (tmp_path / f"cut.{form}").write_bytes(picture[:-20])
    names = [f"{name}.{form}" for name in ("whole", "more", "cut") for form in ("png", "jpg")]
    table = pd.DataFrame({"file": names, "weight": [1.0] * 6})
    with pytest.raises(ValueError, match=r"must name whole images, got 2 that are not, first 'cut.png', 'cut.jpg'"):
        from_folder(tmp_path, table, [Regression("weight")], image_size=4)
    assert len(list(from_folder(tmp_path, table[:4], [Regression("weight")], image_size=4))) == 1
    damaged = bytearray((tmp_path / "whole.png").read_bytes())
    damaged[40:50] = b"\0" * 10
    (tmp_path / "damaged.png").write_bytes(damaged)
    table = pd.DataFrame({"file": ["whole.png", "damaged.png"], "weight": [1.0, 2.0]})
    dataset = from_folder(tmp_path, table, [Regression("weight")], image_size=4)
    image = keras.Input((4, 4, 3))
    model = kmtl.MultiTaskModel.from_features(image, keras.layers.Flatten()(image), [Regression("weight")])
    model.compile("sgd")
    good = np.zeros((2, 4, 4, 3), "float32"), {"weight": np.array([1.0, 2.0])}
    for read in (
        lambda: model.fit(dataset, verbose=0),
        lambda: model.fit(*good, validation_data=dataset, verbose=0),
        lambda: model.adapt(dataset),
        lambda: write_shards(dataset, tmp_path / "shards"),
        lambda: split(dataset, (0.5, 0.5)),
    ):
        with pytest.raises(ValueError, match=r"must name whole images, got 1 that are not, first 'damaged.png'"):
            read()
    for content in (b"", b"\x89PNG\r\n\x1a\n\xff\xfe\0\0", b"a,b\n1,2,3\n1,2,3,4\n"):
        (tmp_path / "labels.csv").write_bytes(content)
        with pytest.raises(ValueError, match=r"`labels` must be a CSV file in UTF-8 .*, got '.*labels.csv'"):
            from_folder(tmp_path, tmp_path / "labels.csv", [Regression("weight")], image_size=4)


def test_files_are_refused_before_anything_is_read(folder):
    names = ["set/c.png", "set/d.png", "set/e.png", "f.png", "g.png", "labels.csv"]
    table = pd.DataFrame({"file": names, "weight": 1.0})
    with pytest.raises(ValueError, match=r"^from_folder") as caught:
        from_folder(folder, table, FOLDER_TASKS[:1], image_size=8)
    absent, other = str(caught.value).splitlines()
    assert f"must name files below {folder}, got 4 that are not, first 'd.png', 'e.png', 'f.png'." in absent
    assert "must name PNG or JPEG files, got 1 that are not, first 'labels.csv'." in other


FOLDERS_REFUSED = {
    "no folder": ({"directory": "nowhere"}, "`directory` must be a folder, got 'nowhere'"),
    "no table": ({"labels": "nowhere.csv"}, "`labels` must be a CSV file or a pandas DataFrame, got 'nowhere.csv'"),
    "no frame": ({"labels": [1]}, "`labels` must be a pandas DataFrame, got list"),
    "no such column": ({"file_column": "fil"}, "`file_column` must name a column of the labels, got 'fil'. Did you"),
    "size": ({"image_size": (4, 0)}, "`image_size` must be (height, width) in pixels, or one number for both"),
    "channels": ({"channels": 2}, "`channels` must be 1, 3 or 4, got 2"),
    "file as label": ({"columns": {"adult": "file"}}, "`columns['adult']` must not be an input, got 'file'"),
    "gap": (
        {"labels": pd.DataFrame({"file": ["set/a.png", None], "weight": 1.0, "adult": 1})},
        "`file_column` must hold a file name in every row, got 1 rows without",
    ),
}


@pytest.mark.parametrize("name", FOLDERS_REFUSED)
def test_folders_refused(folder, name):
    changed, message = FOLDERS_REFUSED[name]
    given = {"directory": folder, "labels": folder / "labels.csv", "tasks": FOLDER_TASKS, "image_size": 8, **changed}
    with pytest.raises(ValueError, match=r"^from_folder: `") as caught:
        from_folder(**given)
    assert message in str(caught.value)


def test_label_names_that_number_other_classes_are_refused_for_numbers_and_read_as_text():
    """`3` would be class 3 as a number and class 0 as text, so that a reader of CSV files decided."""
    task = Classification("grade", 4, label_names=["3", "2", "1", "0"])
    frame = pd.DataFrame({"x": [0.0, 1.0, 2.0], "grade": ["3", "0", None]})
    _, labels = whole(from_frame(frame, [task], features="x"))
    assert labels["grade"].tolist() == [0, 3, -1]
    for numbers in ([3, 0, 1], [3.0, NAN, 0.0], np.array([3, None, 0], object)):
        with pytest.raises(ValueError, match=r"labels\['grade'\]. must be told apart.*'3' is class 0 by its name"):
            from_frame(frame.assign(grade=numbers), [task], features="x")
    same = Classification("grade", 3, label_names=["0", "1", "two"])
    _, labels = whole(from_frame(frame.assign(grade=[1, 0, 2]), [same], features="x"))
    assert labels["grade"].tolist() == [1, 0, 2]


def test_labels_whose_digits_float32_loses_are_refused():
    times = 1.7e9 + 5.0 * np.arange(4)
    with pytest.raises(ValueError, match=r"labels\['age'\]. must keep their digits in float32.*Subtract an offset"):
        from_arrays(X, {"age": times}, [Regression("age")])
    _, labels = whole(from_arrays(X, {"age": times - times[0]}, [Regression("age")]))
    assert labels["age"].tolist() == [0, 5, 10, 15]
