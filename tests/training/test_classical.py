"""Classical predictors: outputs of each kind of task, out of fold, and as a layer."""

import keras
import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, SGDClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

import kmtl
from kmtl.tasks import OrdinalRegression
from kmtl.training.classical import Classical, fresh, out_of_fold
from kmtl.training.linear_part import linear_layer

RANDOM = np.random.default_rng(1)
X = RANDOM.normal(size=(90, 4)).astype("float32")
CLASSES = np.where(np.arange(90) % 7 == 0, -1, np.digitize(X[:, 0], [-0.5, 0.5])).astype("int32")
YES = np.where(np.arange(90) % 5 == 0, -1, X[:, 1] > 0).astype("int32")
VALUES = np.where(np.arange(90) % 6 == 0, np.nan, 100 + 20 * X[:, 2]).astype("float32")
# A kind of task, its labels, and estimators of which the first is linear.
KINDS = {
    "classes": (kmtl.Classification("kind", 3), CLASSES, LogisticRegression(C=100), DecisionTreeClassifier()),
    "order": (OrdinalRegression("grade", 3), CLASSES, LogisticRegression(C=100), DecisionTreeClassifier()),
    "two": (kmtl.Classification("side", 2), YES, LogisticRegression(C=100), DecisionTreeClassifier()),
    "yes": (kmtl.BinaryClassification("yes"), YES, LogisticRegression(C=100), DecisionTreeClassifier()),
    "several": (
        kmtl.MultiLabel("found", 2),
        np.stack([YES, np.where(X[:, 3] > 0, 1, YES)], -1),
        LogisticRegression(C=100),
        DecisionTreeClassifier(),
    ),
    "value": (kmtl.Regression("speed"), VALUES, LinearRegression(), DecisionTreeRegressor()),
    "values": (
        kmtl.Regression("place", shape=(2,)),
        np.stack([VALUES, 3 - X[:, 0]], -1),
        Ridge(1e-6),
        DecisionTreeRegressor(),
    ),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_full_tree_gives_back_the_labels_that_are_there_in_the_form_of_outputs(name):
    task, y, _, tree = KINDS[name]
    outputs = Classical.fitted(task, tree, X, y).outputs(X)
    assert outputs.shape == (90, task.units)
    there = np.asarray(task.present(y))
    read = np.asarray(task.decide(outputs)) if task.decides else outputs.reshape(y.shape)
    np.testing.assert_allclose(read[there], y[there], rtol=1e-6)


@pytest.mark.parametrize("name", KINDS)
def test_linear_estimators_are_a_dense_layer_and_trees_are_none(name):
    task, y, line, tree = KINDS[name]
    fitted = Classical.fitted(task, line, X, y)
    layer = linear_layer(fitted)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(layer(X)), fitted.outputs(X), rtol=1e-4, atol=1e-5)
    assert not layer.trainable_variables
    assert linear_layer(Classical.fitted(task, tree, X, y)) is None


def test_probabilities_that_are_no_softmax_of_the_scores_make_no_layer():
    one_against_the_rest = SGDClassifier(loss="log_loss", random_state=0)
    assert linear_layer(Classical.fitted(KINDS["classes"][0], one_against_the_rest, X, CLASSES)) is None


def test_out_of_fold_a_memory_knows_nothing():
    # Labels that inputs do not tell: in-sample all are right, out of fold a third.
    task, y = kmtl.Classification("kind", 3), RANDOM.integers(0, 3, 900)
    x = RANDOM.normal(size=(900, 2))
    memory = KNeighborsClassifier(1)
    assert (Classical.fitted(task, memory, x, y).outputs(x).argmax(-1) == y).all()
    found = out_of_fold(task, memory, x, y, folds=5, seed=0)
    assert abs((found.argmax(-1) == y).mean() - 1 / 3) < 0.06


def test_folds_keep_rare_classes_and_elements_apart_and_a_fold_of_one_class_is_sure_of_it():
    task, y = kmtl.Classification("kind", 3), np.zeros(40, "int32")
    y[:2] = 2
    found = out_of_fold(task, DecisionTreeClassifier(), np.arange(40.0)[:, None], y, folds=2, seed=3)
    # The two rare rows are in two folds, so each is fitted on the other one; class 1 has no row, and no probability.
    assert (found[:2].argmax(-1) == 2).all()
    assert not found[:, 1].any()
    alone = Classical.fitted(task, LogisticRegression(), np.zeros((3, 1)), np.array([1, 1, -1]))
    assert alone.outputs(np.zeros((2, 1))).tolist() == [[0, 1, 0], [0, 1, 0]]


def test_what_estimators_draw_is_seeded_and_they_stay_as_they_were():
    task, given = KINDS["classes"][0], DecisionTreeClassifier(splitter="random")
    one, other, seeded = (Classical.fitted(task, given, X, CLASSES, seed=seed).outputs(X[::7]) for seed in (5, 5, 6))
    np.testing.assert_array_equal(one, other)
    assert not np.array_equal(one, seeded)
    assert given.random_state is None
    assert not hasattr(given, "tree_")
    assert fresh(lambda: DecisionTreeClassifier(random_state=9), task, 5).random_state == 9
