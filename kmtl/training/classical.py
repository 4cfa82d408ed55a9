"""A classical predictor of one task: estimators of scikit-learn's form that give the task's outputs."""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np

from kmtl._checks import Refusals, words
from kmtl.data.partition.stratification import deal
from kmtl.tasks import Task
from kmtl.training.decision_forests import DecisionForest

_CALIBRATE = "Give it probabilities: sklearn.calibration.CalibratedClassifierCV(estimator)."
_BINS = 5


class Constant:
    """Predicts what all of its labels are: what is left where a fold has one class."""

    def fit(self, x: Any, y: Any) -> "Constant":
        """Takes the one class."""
        del x
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, x: Any) -> Any:
        """1 for each row, `(rows, 1)`."""
        return np.ones((len(x), 1))


class Classical:
    """The classical predictor of one task.

    Args:
        task: The task.
        estimators: A fitted estimator an element of its label.

    >>> from sklearn.tree import DecisionTreeClassifier
    >>> from kmtl.tasks import Classification
    >>> x, y = np.arange(6.0)[:, None], np.array([0, 0, 2, 2, -1, 2])
    >>> classical = Classical.fitted(Classification("kind", 3), DecisionTreeClassifier(max_depth=1), x, y)
    >>> classical.outputs(np.array([[0.0], [5.0]])).tolist()
    [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """

    def __init__(self, task: Task, estimators: Sequence[Any]) -> None:
        self.task = task
        self.estimators = list(estimators)

    @classmethod
    def fitted(cls, task: Task, given: Any, x: Any, y: Any, *, seed: int = 0, weights: Any = None) -> "Classical":
        """Fits an estimator an element of the label, on the rows that have it.

        Args:
            task: The task.
            given: An estimator, which stays as it is, or a function that makes one.
            x: Inputs `(rows, width)`.
            y: Labels `(rows, *label_shape)`, some of them missing.
            seed: Of what the estimator draws.
            weights: Sample weights `(rows,)`, or None.
        """
        columns = _columns(y)
        there = _columns(np.asarray(task.present(y)))
        made = []
        for label, present in zip(columns.T, there.T, strict=True):
            alike = task.decides and len(np.unique(label[present])) == 1
            estimator = Constant() if alike else fresh(given, task, seed)
            weighed = {} if weights is None or alike else {"sample_weight": weights[present]}
            made.append(estimator.fit(x[present], label[present], **weighed))
        return cls(task, made)

    def outputs(self, x: Any) -> Any:
        """Outputs of the task, `(rows, units)`, float32; a class that no label had gets 0.

        Args:
            x: Inputs `(rows, width)`.
        """
        if not self.task.decides:
            found = np.stack([np.asarray(one.predict(x)).reshape(-1) for one in self.estimators], axis=-1)
            return found.astype("float32")
        classes = np.zeros((len(x), len(self.estimators), self.task.classes), "float32")
        for element, one in enumerate(self.estimators):
            classes[:, element, np.asarray(one.classes_).astype(int)] = one.predict_proba(x)
        shape: Any = (len(x), *self.task.label_shape, self.task.classes)
        shaped = classes.reshape(shape)
        return np.asarray(self.task.outputs_of(shaped), "float32")


def out_of_fold(task: Task, given: Any, x: Any, y: Any, *, folds: int, seed: int, weights: Any = None) -> Any:
    """Outputs for each row by a predictor that was fitted without it.

    The folds have alike labels: each is a part of a stratified split, rows without a label as a stratum of their own.

    Args:
        task: The task.
        given: As of `Classical.fitted`.
        x: Inputs `(rows, width)`.
        y: Labels `(rows, *label_shape)`.
        folds: Number of folds, 2 or more.
        seed: Of folds and estimators.
        weights: Sample weights `(rows,)`, or None.

    Returns:
        Array `(rows, units)`, float32.
    """
    parts = deal(task.strata(y, _BINS), np.arange(len(x)), [1.0] * folds, seed)
    found = np.zeros((len(x), task.units), "float32")
    for fold in range(folds):
        held_out = parts == fold
        kept = None if weights is None else weights[~held_out]
        fitted = Classical.fitted(task, given, x[~held_out], y[~held_out], seed=seed, weights=kept)
        found[held_out] = fitted.outputs(x[held_out])
    return found


def fresh(given: Any, task: Task, seed: int) -> Any:
    """Makes an estimator that is not fitted yet; what it draws and nobody seeded, a seed gives.

    Args:
        given: An estimator, or a function that makes one.
        task: What it is for.
        seed: The seed.
    """
    if isinstance(given, DecisionForest):
        return given.estimator(classes=task.decides, seed=seed)
    made = given() if isinstance(given, type) or not hasattr(given, "fit") else _copy(given)
    if not hasattr(made, "get_params"):
        return made
    drawn = [key for key, value in made.get_params().items() if key.split("__")[-1] == "random_state" and value is None]
    return made.set_params(**dict.fromkeys(drawn, seed)) if drawn else made


def _copy(estimator: Any) -> Any:
    """The same settings without what was learned."""
    if not hasattr(estimator, "get_params"):
        return copy.deepcopy(estimator)
    from sklearn.base import clone

    return clone(estimator)


def refuse_task(refusals: Refusals, task: Task) -> bool:
    """Records a task that no classical predictor serves; tells whether it did."""
    elements = task.label_shape or (1,)
    values = not task.decides and task.final_activation is None and elements == (task.units,)
    classes = task.decides and task.outputs_of(np.zeros((1, *task.label_shape, task.classes or 1))) is not None
    if not task.dense_axes and (values or classes):
        return False
    fix = "Leave it out of `estimators`: it keeps its deep output."
    rule = f"must name tasks of one class or value an element of the label, which {task.name!r} is not"
    refusals.add("estimators", rule, words(task.owner), fix)
    return True


def refuse_estimator(refusals: Refusals, given: Any, task: Task) -> None:
    """Records what is no estimator, or one of another kind of label; of classes it must give probabilities.

    Args:
        refusals: Where to record.
        given: As of `Classical.fitted`.
        task: What it is for.
    """
    argument = f"estimators[{task.name!r}]"
    makes = hasattr(given, "fit") or callable(given) or isinstance(given, DecisionForest)
    made = fresh(given, task, 0) if makes else given
    if not hasattr(made, "fit") or not (hasattr(made, "predict") or hasattr(made, "predict_proba")):
        fix = "Give one of scikit-learn's, or kmtl.training.DecisionForest()."
        rule = "must be an estimator with fit and predict, or a function of nothing that makes one"
        refusals.add(argument, rule, made, fix)
    elif task.decides and not hasattr(made, "predict_proba"):
        fix = _CALIBRATE if _is_classifier(made) else "Give a classifier."
        refusals.add(argument, "must have predict_proba for a task of classes", made, fix)
    elif not (task.decides or isinstance(given, DecisionForest)) and _is_classifier(made):
        fix = "Give a regressor; for tasks of several kinds {task: estimator}."
        refusals.add(argument, "must predict values", made, fix)


def takes_weights(given: Any, task: Task) -> bool:
    """Whether an estimator can weigh rows."""
    from sklearn.utils.validation import has_fit_parameter

    return bool(has_fit_parameter(fresh(given, task, 0), "sample_weight"))


def _is_classifier(estimator: Any) -> bool:
    """Whether an estimator predicts classes."""
    from sklearn.base import ClassifierMixin

    return hasattr(estimator, "predict_proba") or isinstance(estimator, ClassifierMixin)


def _columns(labels: Any) -> Any:
    """An axis of elements, of size 1 for a label that has none."""
    array = np.asarray(labels)
    return array.reshape(len(array), -1)
