"""A table as an input: what its columns are, and how they are encoded."""

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import kmtl
from kmtl.trunks import Columns, numbers, table

LOWEST = np.finfo(np.float32).min
TASKS = [kmtl.BinaryClassification("rich"), kmtl.Regression("height")]


@pytest.fixture(scope="module")
def frame():
    """Numbers, text with a rare word, codes and labels, all with gaps, and yes or no."""
    random, rows = np.random.default_rng(0), 24
    made = pd.DataFrame(
        {
            "age": np.where(np.arange(rows) % 6, random.normal(40.0, 10.0, rows), np.nan),
            "job": [None, "smith", "cook", "", "cook", "smith", "cook", "once"] * 3,
            "code": [7.0, 900.0, 7.0, np.nan] * 6,
            "member": random.random(rows) > 0.5,
            "rich": [0.0, 1.0, np.nan, 0.0] * 6,
            "height": np.where(np.arange(rows) % 5, random.normal(170.0, 10.0, rows), np.nan),
        }
    )
    made.loc[15:, "job"] = made.loc[15:, "job"].replace("once", "cook")
    return made


@pytest.fixture(scope="module")
def columns(frame):
    return Columns.of(frame, leave_out=["rich", "height"], categories=["code"])


@pytest.fixture(scope="module")
def model(columns):
    inputs = columns.inputs()
    made = kmtl.MultiTaskModel.from_features(inputs, table(inputs, columns, widths=(6, 4)), TASKS)
    made.compile("adam", balancer="upgrad", run_eagerly=True)
    return made


def test_what_the_columns_are(frame, columns):
    ages = frame["age"].dropna().to_numpy()
    assert {name: one.kind for name, one in columns.items()} == {
        "age": "number",
        "job": "category",
        "code": "code",
        "member": "number",
    }
    assert (columns["age"].mean, columns["age"].scale) == pytest.approx((ages.mean(), ages.std()), rel=1e-6)
    assert columns["age"].has_gaps
    assert not columns["member"].has_gaps
    # The word that stands in one row has no index of its own, and the most frequent come first.
    assert columns["job"].vocabulary == ("cook", "smith")
    assert columns["code"].vocabulary == (7, 900)
    again = Columns.from_config(columns.get_config())
    assert dict(again) == dict(columns)
    # A dict of arrays is a table as well, and pandas' own categories need no telling.
    typed = frame.astype({"code": pd.CategoricalDtype([7.0, 900.0]), "member": "boolean", "age": "Float64"})
    for same in ({name: frame[name].to_numpy() for name in frame}, typed):
        assert dict(Columns.of(same, leave_out=["rich", "height"], categories=["code"])) == dict(columns)
    assert Columns.of(typed, leave_out=["rich", "height"])["code"].kind == "code"


def test_missing_cells_are_told_by_values_that_are_finite(frame, columns):
    arrays = columns.arrays(frame)
    assert (arrays["age"] == LOWEST).tolist() == frame["age"].isna().tolist()
    assert arrays["job"][:4].tolist() == ["", "smith", "cook", ""]
    assert arrays["code"].tolist() == [7, 900, 7, -1] * 6
    assert {name: array.dtype.kind for name, array in arrays.items()} == {
        "age": "f",
        "job": "O",
        "code": "i",
        "member": "f",
    }


def test_encoding_is_what_numpy_makes_of_the_same_cells(frame, columns):
    inputs = columns.inputs()
    model = keras.Model(inputs, table(inputs, columns, widths=(), name="plain"))
    weights = {}
    for name in ("job", "code"):
        layer = model.get_layer(f"plain_{name}")
        weights[name] = np.random.default_rng(1).normal(size=layer.embeddings.shape).astype("float32")
        # A category that nobody told of anything says nothing.
        assert not layer.embeddings.numpy().any()
        layer.embeddings.assign(weights[name])
    rows = frame.iloc[:5].assign(job=[None, "smith", "cook", "never", "once"], code=[900, 7, 5, None, 12])
    found = model({name: tf.constant(array) for name, array in columns.arrays(rows).items()}).numpy()
    scaled = [(rows[name].astype(float) - columns[name].mean) / columns[name].scale for name in ("age", "member")]
    parts = [scaled[0].fillna(0.0), scaled[1], rows["age"].isna()]
    parts += list(weights["job"][[0, 3, 2, 1, 1]].T) + list(weights["code"][[3, 2, 1, 0, 1]].T)
    np.testing.assert_allclose(found, np.stack(parts, axis=1).astype("float32"), rtol=1e-5, atol=1e-6)
    # Of 4 categories: 1.6 * 4 ** 0.56 is 3.48.
    assert weights["job"].shape == weights["code"].shape == (4, 3)


def test_numbers_far_away_keep_their_order_and_stay_small():
    layer = numbers.StandardizedNumbers([0.0], [1.0], [False])
    given = np.array([-1e30, -4.0, -3.0, 0.5, 3.0, 3.1, 1e4, 1e5, 3e38], "float32")
    found = layer([given]).numpy()[:, 0]
    assert (np.diff(found) > 0).all()
    np.testing.assert_allclose(found[[1, 2, 3, 4, 5]], [-3 - np.log(2), -3, 0.5, 3, 3 + np.log(1.1)], rtol=1e-5)
    assert np.abs(found).max() < 100
    assert keras.layers.deserialize(keras.layers.serialize(layer)).get_config() == layer.get_config()


def test_fit_takes_a_frame_with_cells_and_labels_missing(frame, columns, model):
    rows = kmtl.data.from_frame(frame, TASKS, features=columns, batch_size=24)
    x, _ = next(iter(rows))
    for name, array in columns.arrays(frame).items():
        expected = [word.encode() for word in array] if array.dtype == object else array
        np.testing.assert_array_equal(x[name].numpy(), expected)
    logs = model.fit(rows, verbose=0).history
    assert np.isfinite([logs["rich_loss"], logs["height_loss"]]).all()
    # Every category that stands in the table has moved, missing and rare ones as well.
    assert (np.abs(model.get_layer("table_job").embeddings.numpy()).max(axis=1) > 0).all()


def test_files_take_the_columns_by_name(frame, columns, model, tmp_path):
    arrays = columns.arrays(frame)
    expected = model.predict(arrays, verbose=0)
    model.save(tmp_path / "table.keras")
    again = keras.saving.load_model(tmp_path / "table.keras")
    exported = tf.saved_model.load(kmtl.export.saved_model(again, tmp_path / "served"))
    # A client may send NaN for a number that is missing.
    given = {name: tf.constant(array) for name, array in {**arrays, "age": frame["age"].astype("float32")}.items()}
    served = exported.signatures["serving_default"](**given)
    for name, values in expected.items():
        np.testing.assert_array_equal(again.predict(arrays, verbose=0)[name], values)
        np.testing.assert_allclose(np.reshape(served[name], values.shape), values, rtol=1e-5, atol=1e-6)


REFUSED = {
    "constant": ([1, 1, 1], "must not be constant, got 1.0 in every row of column 'constant'. Leave it out"),
    "absent": ([None, None, None], "must hold a value, got none in column 'absent'. Leave it out"),
    "endless": ([1.0, np.inf, 2.0], "must be finite or missing, got 1 infinite values in column 'endless'"),
    "dates": (pd.to_datetime(["2020-01-01"] * 3), "must be numbers or text, and not both, in column 'dates'"),
    "mixed": ([1, "a", "b"], "must be numbers or text, and not both, in column 'mixed', got ['int', 'str']"),
    "names": (["a", "b", "c"], "must hold categories that stand in 2 rows or more in column 'names'"),
    "half": ([1.5, 2.0, 2.0], "must hold whole numbers in column 'half' of codes, got 1.5"),
    "minus": ([-1, 2, 2], "must not hold -1 in column 'minus' of codes"),
    "a b": ([1, 2, 3], "must have plain column names, got 'a b'"),
}


def test_columns_of_no_use_are_refused_all_at_once():
    frame = pd.DataFrame({name: values for name, (values, _) in REFUSED.items()})
    with pytest.raises(ValueError, match="Columns: ") as refused:
        Columns.of(frame, categories=["half", "minus", "dats"], leave_out="labels")
    told = str(refused.value).splitlines()
    assert len(told) == len(REFUSED) + 2
    for _, words in REFUSED.values():
        assert sum(words in line for line in told) == 1, words
    assert "Columns: `categories` must name columns of the table, got 'dats'. Did you mean 'dates'?" in told


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ([1, 2], "Columns: `frame` must be a pandas DataFrame, or a dict of columns, got list."),
        ({"a": []}, "Columns: `frame` must hold at least one row and one column, got (0, 1)."),
        ({"a": [1, 2], "b": [1]}, "Columns: `frame` must hold one value a row in every column"),
    ],
)
def test_what_is_no_table_is_refused(given, says):
    with pytest.raises(ValueError, match="Columns: `frame`") as refused:
        Columns.of(given)
    assert str(refused.value).startswith(says)


def test_another_table_than_the_first_is_refused(frame, columns):
    other = frame.rename(columns={"age": "Age"}).assign(job=3, code="x")
    with pytest.raises(ValueError, match="must hold every column") as refused:
        kmtl.data.from_frame(other, TASKS, features=columns)
    assert str(refused.value).splitlines() == [
        "Columns: `frame` must hold every column, got none named 'age'. Did you mean 'Age'?",
        "Columns: `frame` must hold text in column 'job', as when it was looked at, got ['int'].",
        "Columns: `frame` must hold numbers in column 'code', as when it was looked at, got ['str'].",
    ]


def test_inputs_that_are_not_the_columns_are_refused(columns):
    inputs = columns.inputs()
    wrong = {"ages": inputs["age"], "job": keras.Input((1,), name="job"), "code": inputs["code"]}
    with pytest.raises(ValueError, match="must hold every column") as refused:
        table(wrong, columns, widths=(4, 0), dropout=1.0)
    told = str(refused.value)
    for words in (
        "table: `dropout` must be at least 0 and below 1, got 1.0.",
        "table: `widths` must hold positive whole numbers, got (4, 0).",
        "table: `inputs` must hold every column, got none named 'age'. Did you mean 'ages'?",
        "table: `inputs` must hold every column, got none named 'member'.",
        "table: `inputs['job']` must be string of shape (None,), got float32 of shape (None, 1).",
    ):
        assert words in told
    with pytest.raises(TypeError, match="`columns` must be kmtl"):
        table(inputs, {"age": "number"})
