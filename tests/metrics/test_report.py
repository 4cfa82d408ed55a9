"""A per-class report of one classification task."""

import numpy as np
import pytest
import sklearn.metrics

from kmtl.metrics import ClassificationReport
from kmtl.tasks import BinaryClassification, Classification, MultiLabel, Regression


@pytest.fixture
def generator():
    return np.random.default_rng(2)


def test_a_classification_without_its_missing_rows(generator):
    labels, outputs = generator.integers(0, 4, 60), generator.uniform(size=(60, 4))
    labels[::3] = -1
    report = ClassificationReport(Classification("mole", 4, label_names=list("wxyz")), labels[:, None], outputs)
    keep = labels >= 0
    truth, decided = labels[keep], outputs[keep].argmax(axis=1)
    precision, recall, f1, support = sklearn.metrics.precision_recall_fscore_support(truth, decided)
    for place, name in enumerate("wxyz"):
        assert list(report.values[name].values()) == pytest.approx(
            [precision[place], recall[place], f1[place], support[place]]
        )
    assert report.values["accuracy"] == pytest.approx(sklearn.metrics.accuracy_score(truth, decided))
    assert report.values["macro avg"]["f1-score"] == pytest.approx(f1.mean())
    assert str(report).splitlines()[0] == "mole"
    assert report.text in str(report)


def test_a_class_that_never_occurs_keeps_its_row():
    outputs = np.eye(3)[[0, 1, 1]]
    report = ClassificationReport(Classification("mole", 3), np.array([0, 1, 0]), outputs)
    assert report.values["2"] == {"precision": 0.0, "recall": 0.0, "f1-score": 0.0, "support": 0.0}
    assert report.values["accuracy"] == pytest.approx(2 / 3)
    assert "accuracy" in report.text or "micro avg" in report.text


def test_a_binary_task_decides_at_one_half():
    outputs = np.array([[0.5], [0.51], [0.2], [0.9], [0.9]])
    report = ClassificationReport(BinaryClassification("mole"), np.array([0, 1, 1, 0, -1]), outputs)
    assert report.values["accuracy"] == 0.5
    assert report.values["1"] == {"precision": 0.5, "recall": 0.5, "f1-score": 0.5, "support": 2.0}
    assert list(report.values)[:2] == ["0", "1"]


def test_a_multilabel_task_counts_complete_rows(generator):
    labels, outputs = generator.integers(0, 2, (40, 3)), generator.uniform(size=(40, 3))
    labels[3, 1] = labels[5] = -1
    report = ClassificationReport(MultiLabel("mole", 3, label_names=["a", "b", "c"]), labels, outputs)
    keep = (labels >= 0).all(axis=1)
    recall = sklearn.metrics.recall_score(labels[keep], outputs[keep] > 0.5, average=None)
    assert [report.values[name]["recall"] for name in "abc"] == pytest.approx(recall)
    assert keep.sum() == 38


def test_what_cannot_be_reported_is_refused():
    binary = BinaryClassification("mole")
    with pytest.raises(ValueError, match="`task` must be a classification task, got 'bee'"):
        ClassificationReport(Regression("bee"), np.zeros(2), np.zeros((2, 1)))
    with pytest.raises(
        ValueError, match="`labels` of 'mole' must hold a labelled one, got 2 examples and none of them"
    ):
        ClassificationReport(binary, np.array([-1, -1]), np.zeros((2, 1)))
    for labels, outputs in (
        (np.zeros(3), np.zeros((2, 1))),
        (np.zeros(2), np.zeros((2, 3))),
        (np.zeros(2), np.zeros(2)),
    ):
        with pytest.raises(
            ValueError, match=r"^ClassificationReport: `predictions` must be \(n, 1\) for n labels, got "
        ):
            ClassificationReport(binary, labels, outputs)
