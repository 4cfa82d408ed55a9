"""Tasks with float labels."""

import keras
import numpy as np
import pytest
from keras import ops

import kmtl
from kmtl.tasks import Regression, Unstandardize


def test_a_number_and_a_vector():
    assert (Regression("angle").units, Regression("angle").label_shape) == (1, ())
    assert (Regression("place", shape=3).units, Regression("place", shape=(3,)).label_shape) == (3, (3,))
    assert np.isnan(Regression("angle").missing)


def test_only_nan_is_missing():
    labels = ops.array([[-1.0, float("nan")], [0.0, float("-inf")]])
    present = ops.convert_to_numpy(Regression("place", shape=2).present(labels))
    assert present.tolist() == [[True, False], [True, True]]


def test_the_head_ends_in_the_unit_or_in_the_dense_layer():
    features = keras.Input((4,))
    standardized = keras.Model(features, Regression("angle").head(features))
    plain = keras.Model(features, Regression("angle", standardize=False).head(features))
    assert [layer.name for layer in standardized.layers[1:]] == ["angle_standardized", "angle"]
    assert isinstance(standardized.get_layer("angle"), Unstandardize)
    assert [layer.name for layer in plain.layers[1:]] == ["angle"]
    assert len(standardized.trainable_weights) == len(plain.trainable_weights) == 2


@pytest.mark.parametrize("shape", [0, (0,), (2, 2), (2.0,), "2", -1])
def test_bad_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"^Regression\('place'\): `shape` must "):
        Regression("place", shape=shape)


def test_a_unit_is_text():
    with pytest.raises(ValueError, match=r"^Regression\('place'\): `unit` must be text, got 3"):
        Regression("place", unit=3)


KINDS = [
    lambda text: Regression("place", unit=text),
    lambda text: kmtl.Classification("place", 2, label_names=["a", text]),
    lambda text: kmtl.BinaryClassification("place", label_names=["a", text]),
    lambda text: kmtl.MultiLabel("place", 2, label_names=["a", text]),
    lambda text: kmtl.OrdinalRegression("place", 2, label_names=["a", text]),
    lambda text: kmtl.Segmentation("place", 2, label_names=["a", text]),
]


@pytest.mark.parametrize("make", KINDS)
def test_units_and_label_names_have_nothing_that_a_terminal_obeys(make):
    with pytest.raises(
        ValueError, match=r"\('place'\): `(unit|label_names)` must have no control .*x1b\[31m"
    ) as caught:
        make("\x1b[31mred")
    assert str(caught.value).isprintable()
    make("plain\nlines")


@pytest.mark.parametrize("value", ["no", 0, None])
def test_whether_it_standardizes_is_said_by_true_or_false(value):
    with pytest.raises(ValueError, match="`standardize` must be True or False, got"):
        Regression("age", standardize=value)


@pytest.mark.parametrize(
    ("label", "output", "words"),
    [
        (0.1, -0.0412, "angle 0.100 → -0.041 rad"),
        (12.5, 10.04, "angle 12.5 → 10.0 rad"),
        (359.0, 2.7, "angle 359 → 3 rad"),
        (np.nan, 2e-5, "angle ? → 0.0000200 rad"),
        (0.5, -1e-9, "angle 0.500 → 0.000 rad"),
        (None, 0.0, "angle ? → 0.0 rad"),
    ],
)
def test_a_line_of_an_example_has_digits_by_the_size_of_its_numbers(label, output, words):
    assert Regression("angle", unit="rad").describe(label, np.float32([output])) == words
