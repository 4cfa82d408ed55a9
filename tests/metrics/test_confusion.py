"""Confusion matrices count what scikit-learn counts, of what is labelled."""

import numpy as np
import pytest
from sklearn import metrics

import kmtl
from kmtl.metrics.confusion import confusion_figure, confusion_matrix

DRAWN = np.random.default_rng(2)
CASES = {
    "one of many": (kmtl.Classification("digit", 5), DRAWN.integers(-1, 5, 60), DRAWN.random((60, 5))),
    "yes or no": (kmtl.BinaryClassification("even", threshold=0.7), DRAWN.integers(-1, 2, 60), DRAWN.random((60, 1))),
    "levels": (kmtl.tasks.OrdinalRegression("level", 4), DRAWN.integers(-1, 4, 60), DRAWN.random((60, 4))),
    "pixels": (
        kmtl.tasks.Segmentation("mask", 3),
        DRAWN.integers(-1, 3, (6, 4, 5)),
        DRAWN.random((6, 4, 5, 3)),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_counts_are_those_of_scikit_learn(name):
    task, labels, outputs = CASES[name]
    counts = confusion_matrix(task, labels, outputs)
    there, decided = labels >= 0, np.asarray(task.decide(outputs)).reshape(labels.shape)
    expected = metrics.confusion_matrix(labels[there], decided[there], labels=range(task.classes))
    np.testing.assert_array_equal(counts, expected)
    np.testing.assert_array_equal(counts.sum(axis=1), np.bincount(labels[there], minlength=task.classes))


def test_the_figure_has_the_counts_and_the_names():
    task = kmtl.Classification("pet", 2, label_names=["cat", "dog"])
    axis = confusion_figure(task, np.array([[7, 0], [2, 1]])).axes[0]
    assert [text.get_text() for text in axis.texts] == ["7", "0", "2", "1"]
    assert axis.get_title() == "pet: 8 of 10 right"
    assert [tick.get_text() for tick in axis.get_yticklabels()] == ["cat", "dog"]
    np.testing.assert_allclose(axis.images[0].get_array(), [[1, 0], [2 / 3, 1 / 3]])
    # A class without a label is no division by zero, and hundreds of numbers are not written.
    large = confusion_figure(kmtl.Classification("sign", 50), np.diag(np.r_[0, np.ones(49, int)])).axes[0]
    assert len(large.texts) == 0


@pytest.mark.parametrize("task", [kmtl.Regression("angle"), kmtl.MultiLabel("marks", 2)], ids=lambda task: task.kind)
def test_a_task_without_one_of_several_classes_is_refused(task):
    with pytest.raises(ValueError, match="confusion_matrix: `task` must decide for one of several classes"):
        confusion_matrix(task, np.zeros((3, 2)), np.zeros((3, 2)))
