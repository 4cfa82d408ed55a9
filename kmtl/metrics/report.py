"""A per-class report of one classification task, as an object and as text."""

from typing import Any

import numpy as np
from keras import ops

from kmtl._checks import refusal, require, words
from kmtl._table import Result, Table
from kmtl.tasks import Task
from kmtl.tasks.shapes import same_shape


class ClassificationReport(Result):
    """Precision, recall, F1 and support of each class, with their averages.

    scikit-learn computes it; examples without a label are left out first, and
    multi-label ones that lack any of their labels.

    Args:
        task: A task that decides: a classification, yes or no, several labels.
        labels: True labels, `(n, ...)`; -1 where missing. Of a segmentation each pixel counts.
        predictions: The model's output for the task.

    Attributes:
        task: Name of the task.
        values: The report as a dict, as scikit-learn names it.

    Raises:
        ValueError: If the task does not decide, or no example is labelled.

    >>> import numpy as np
    >>> from kmtl.tasks import BinaryClassification
    >>> report = ClassificationReport(
    ...     BinaryClassification("spam", label_names=["ham", "spam"]),
    ...     np.array([0, 1, 1, -1]), np.array([[0.1], [0.8], [0.3], [0.9]]))
    >>> report.values["spam"]["recall"], report.values["accuracy"]
    (0.5, 0.6666666666666666)
    """

    def __init__(self, task: Task, labels: Any, predictions: Any) -> None:
        if not task.decides:
            rule = "must be a classification task"
            raise ValueError(refusal("ClassificationReport", "task", rule, task.name, "Use its mae or r2 instead."))
        self.task = task.name
        truth, decided = decisions(task, labels, predictions, "ClassificationReport")
        self.values = _sklearn_report(task, truth, decided)

    @property
    def text(self) -> str:
        """The report as a table."""
        return str(self.parts()[1])

    def parts(self) -> list[str | Table]:
        """A row a class, and one for each average."""
        rows = [
            {"class": name, **(row if isinstance(row, dict) else {"f1-score": row})}
            for name, row in self.values.items()
        ]
        digits = dict.fromkeys(("precision", "recall", "f1-score"), ".3f")
        return [self.task, Table(rows, {**digits, "support": ".0f"})]


def decisions(task: Task, labels: Any, predictions: Any, owner: str) -> tuple[Any, Any]:
    """Labels and decided classes of what is labelled, a row an example or a place.

    Args:
        task: A task that decides.
        labels: True labels, `(n, ...)`.
        predictions: The model's output for the task.
        owner: For the messages.

    Returns:
        Of a task with one of several classes `(rows,)` each, of others `(rows, elements)`.

    Raises:
        ValueError: If the shapes do not fit, or nothing is labelled.
    """
    outputs = np.asarray(predictions)
    fit = np.shape(labels)[:1] == outputs.shape[:1] and same_shape(outputs.shape[1:], task.output_shape)
    got = f"labels {np.shape(labels)} and predictions {outputs.shape}"
    wanted = ", ".join(["n", *("any" if size is None else str(size) for size in task.output_shape)])
    require(fit, owner, "predictions", f"must be ({wanted}) for n labels", words(got))
    elements = task.label_shape[task.dense_axes :] or (1,)
    truth = np.asarray(labels).reshape(-1, *elements)
    decided = ops.convert_to_numpy(task.decide(outputs)).reshape(-1, *elements)
    keep = np.asarray(task.present(truth)).all(axis=1)
    if not keep.any():
        got = words(f"{len(truth)} examples and none of them")
        raise ValueError(refusal(owner, "labels", f"of {task.name!r} must hold a labelled one", got))
    truth, decided = truth[keep], decided[keep]
    return (truth[:, 0], decided[:, 0]) if task.weighs_classes else (truth, decided)


def _sklearn_report(task: Task, truth: Any, decided: Any) -> dict[str, Any]:
    """The report as a dict."""
    from sklearn.metrics import classification_report

    count = task.classes if task.weighs_classes else truth.shape[-1]
    names = [task.class_name(number) for number in range(count)]
    options = {"labels": list(range(count)), "target_names": names, "zero_division": 0, "output_dict": True}
    values: dict[str, Any] = classification_report(truth, decided, **options)
    # scikit-learn reports accuracy as the micro average once labels are given.
    if task.weighs_classes:
        values.setdefault("accuracy", float((truth == decided).mean()))
    return values
