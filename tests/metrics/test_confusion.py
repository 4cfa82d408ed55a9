"""Confusion matrices count what scikit-learn counts, of what is labelled."""

import numpy as np
import pytest
from sklearn import metrics

import kmtl
from kmtl.metrics.confusion import confusions

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
    ((_, _, counts),) = confusions(task, labels, outputs)
    there, decided = labels >= 0, np.asarray(task.decide(outputs)).reshape(labels.shape)
    expected = metrics.confusion_matrix(labels[there], decided[there], labels=range(task.classes))
    np.testing.assert_array_equal(counts, expected)
    np.testing.assert_array_equal(counts.sum(axis=1), np.bincount(labels[there], minlength=task.classes))
