"""Sets and intervals that hold the truth as often as promised, by split conformal prediction."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kmtl._checks import Refusals, is_number, near, words
from kmtl._table import Result, Table
from kmtl.evidence.labelled_outputs import chosen_tasks, gives_probabilities, labelled_outputs
from kmtl.evidence.trust.conformal_scores import class_scores, quantile
from kmtl.tasks.shapes import known_shape

_OWNER = "conformal"
_METHODS = ("lac", "aps")


@dataclasses.dataclass(frozen=True, repr=False)
class Conformal(Result):
    """What `conformal` found; it makes sets and intervals of new inputs.

    Attributes:
        model: The model.
        alpha: Share of truths that may be missed.
        method: Of the sets.
        quantiles: `{task: (elements,)}`: the largest score that a set or an interval still takes in, one an element of
            the label; infinity where there were too few labels for `alpha`.
        counts: `{task: (elements,)}`: labels that each stands on.
    """

    model: Any
    alpha: float
    method: str
    quantiles: Mapping[str, Any]
    counts: Mapping[str, Any]

    def parts(self) -> list[str | Table]:
        """A row a task and element."""
        rows = [
            {
                "task": name if len(found) == 1 else f"{name}[{place}]",
                "gives": "intervals" if self._is_value(name) else f"sets ({self.method})",
                "labels": int(self.counts[name][place]),
                "quantile": float(value),
                "unit": _unit(self.model.tasks[name]),
            }
            for name, found in self.quantiles.items()
            for place, value in enumerate(found)
        ]
        return [f"Split conformal prediction, {100 * (1 - self.alpha):g} % of truths to be covered:", Table(rows)]

    def predict_sets(self, x: Any) -> dict[str, Any]:
        """Tells which classes may be true.

        Args:
            x: Inputs, as of `predict`.

        Returns:
            `{task: (n, [labels,] classes)}` of booleans, for each task of classes. A set may be empty: nothing that the
            model knows fits.
        """
        return self._sets(self.model.predict(x, verbose=0))

    def predict_intervals(self, x: Any) -> dict[str, Any]:
        """Tells between which values the truth may lie.

        Args:
            x: Inputs, as of `predict`.

        Returns:
            `{task: (n, [elements,] 2)}`, lower and upper end in the label's unit, for each task of values.
        """
        return self._intervals(self.model.predict(x, verbose=0))

    def coverage(self, data: Any, y: Any = None) -> "Coverage":
        """Counts how often the truth was in on other labelled data, and how large sets and intervals were.

        Args:
            data: As of `conformal`.
            y: `{task: labels}`.
        """
        found = labelled_outputs(self.model, data, y, "coverage")
        outputs = {name: found[name][1] for name in self.quantiles}
        sets, intervals = self._sets(outputs), self._intervals(outputs)
        rows = []
        for name in self.quantiles:
            task = self.model.tasks[name]
            if name in sets:
                truth = np.reshape(found[name][0], sets[name].shape[:-1])
                there = np.asarray(task.present(truth))
                inside = np.take_along_axis(sets[name], np.where(there, truth, 0)[..., None], axis=-1)[..., 0]
                size, unit = sets[name].sum(axis=-1), "classes"
            else:
                truth = np.reshape(found[name][0], intervals[name].shape[:-1])
                there = np.asarray(task.present(truth))
                low, high = intervals[name][..., 0], intervals[name][..., 1]
                inside, size, unit = (low <= truth) & (truth <= high), high - low, task.unit
            covered = float(inside[there].mean()) if there.any() else math.nan
            mean = float(size[there].mean()) if there.any() else math.nan
            rows.append({"task": name, "labels": int(there.sum()), "covered": covered, "size": mean, "unit": unit})
        return Coverage(1 - self.alpha, tuple(rows))

    def _is_value(self, name: str) -> bool:
        """Whether a task gets intervals."""
        return not self.model.tasks[name].decides

    def _sets(self, outputs: Mapping[str, Any]) -> dict[str, Any]:
        """Sets of raw outputs."""
        sets = {}
        for name, largest in self.quantiles.items():
            task = self.model.tasks[name]
            if task.decides:
                scores = class_scores(np.asarray(task.class_probabilities(outputs[name]), "float64"), self.method)
                sets[name] = scores <= np.reshape(largest, (*task.label_shape, 1))
        return sets

    def _intervals(self, outputs: Mapping[str, Any]) -> dict[str, Any]:
        """Intervals of raw outputs."""
        intervals = {}
        for name, largest in self.quantiles.items():
            task = self.model.tasks[name]
            if not task.decides:
                low, high, unit = task.band(outputs[name])
                ends = np.stack([low - largest * unit, high + largest * unit], axis=-1)
                intervals[name] = ends.reshape(-1, *task.label_shape, 2)
        return intervals


@dataclasses.dataclass(frozen=True, repr=False)
class Coverage(Result):
    """How often sets and intervals held the truth.

    Attributes:
        promised: The share that they were made for.
        rows: `task`, `labels`, `covered` (share), `size` (mean number of classes, or width), `unit`.
    """

    promised: float
    rows: tuple[Mapping[str, Any], ...]

    def parts(self) -> list[str | Table]:
        """The rows under what was promised."""
        return [f"Truths covered, {100 * self.promised:g} % promised:", Table(list(self.rows), {"covered": ".3f"})]


def conformal(
    model: Any,
    data: Any,
    y: Any = None,
    *,
    alpha: float = 0.1,
    method: str = "lac",
    tasks: Sequence[str] | None = None,
) -> Conformal:
    """Finds how wide sets of classes and intervals of values must be to hold the truth, on held-out labels.

    If new examples come from where these n labels came from, a set or an interval holds the truth with a probability
    between 1 - alpha and 1 - alpha + 1 / (n + 1), whatever the model is like and however wrong its probabilities. It
    is a promise of the mean over examples, not of each kind of example; and of each task, not of all at once.

        score s(x, y):  "lac"  1 - p_y
                        "aps"  sum of p_c over the classes with p_c >= p_y
                        value  max(low - y, y - high) / unit, of each element
        quantile q:     the ceil((n + 1) (1 - alpha))-th smallest score
        set, interval:  every y with s(x, y) <= q

    Of a plain prediction of a value low and high are that value and the unit is 1; of quantiles they are the outermost
    two, so that the interval is as wide as an example asks for; of a mean and a deviation the unit is the deviation,
    and of a count the root of its rate.

    "lac" gives the smallest sets; "aps" larger ones where the model is unsure and smaller ones where it is sure, here
    without its random tie-breaking, so that it covers a little more. Labels that are missing count nowhere. The
    model is not changed.

    Args:
        model: A trained `MultiTaskModel`.
        data: Arrays with `y`, `(x, {task: labels})`, or a stream of such batches; never trained on.
        y: `{task: labels}`.
        alpha: Share of truths that may be missed, in (0, 1).
        method: `"lac"` or `"aps"`.
        tasks: Names; None takes all but those on maps and sequences, whose places are no independent examples.

    Returns:
        A `Conformal`: print it, or ask it for `predict_sets`, `predict_intervals` and `coverage`.

    Raises:
        ValueError: If a task is unknown, on a map, or without a label in the data; or an argument breaks its rule.

    Source: Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World", 2005; "lac": Sadinle, Lei and
    Wasserman, "Least Ambiguous Set-Valued Classifiers with Bounded Error Levels", JASA 114, 2019; "aps": Romano, Sesia
    and Candès, "Classification with Valid and Adaptive Coverage", NeurIPS 2020; intervals: Lei et al.,
    "Distribution-Free Predictive Inference for Regression", JASA 113, 2018; of quantiles: Romano, Patterson and Candès,
    "Conformalized Quantile Regression", NeurIPS 2019.

    >>> import keras, kmtl
    >>> x = keras.Input((1,), name="x")
    >>> model = kmtl.MultiTaskModel(x, {"age": keras.layers.Identity(name="age")(x)}, tasks=[kmtl.Regression("age")])
    >>> found = conformal(model, np.zeros((9, 1)), {"age": np.arange(9.0)}, alpha=0.2)
    >>> found.predict_intervals(np.array([[40.0]]))["age"].tolist()
    [[33.0, 47.0]]
    """
    names = _checked(model, alpha, method, tasks)
    found = labelled_outputs(model, data, y, _OWNER)
    scores = {name: _scores(model.tasks[name], *found[name], method) for name in names}
    counts = {name: np.isfinite(values).sum(axis=0) for name, values in scores.items()}
    with Refusals(_OWNER) as refusals:
        for name, number in counts.items():
            if not number.all():
                refusals.add("data", f"must label task {name!r}", words("none"), "Leave it out of `tasks`.")
    quantiles = {name: quantile(values, alpha) for name, values in scores.items()}
    return Conformal(model, alpha, method, quantiles, counts)


def _checked(model: Any, alpha: Any, method: Any, tasks: Any) -> list[str]:
    """The tasks to look at, or a refusal."""
    with Refusals(_OWNER) as refusals:
        if not is_number(alpha) or not 0 < alpha < 1:
            refusals.add("alpha", "must lie between 0 and 1", alpha, "0.1 lets one truth in ten be missed.")
        if method not in _METHODS:
            refusals.add("method", "must be a way to make sets", method, near(str(method), _METHODS))
        names = chosen_tasks(refusals, model, tasks)
        able = [name for name in names if _is_able(model.tasks[name])]
        for name in names:
            if tasks is not None and name not in able:
                rule = "must name tasks with one label an example, classes or values"
                refusals.add("tasks", rule, name)
        if names and not able and tasks is None:
            refusals.add("model", "must have a task with one label an example", words(str(names)))
    return able


def _is_able(task: Any) -> bool:
    """Whether a task's labels are examples, and its outputs probabilities of classes or values like the labels."""
    if task.dense_axes or None in task.label_shape:
        return False
    if task.decides:
        return gives_probabilities(task)
    return _band_of_nothing(task) is not None


def _band_of_nothing(task: Any) -> Any:
    """What a task makes of an output of zeros."""
    return task.band(np.zeros((1, *known_shape(task.output_shape))))


def _unit(task: Any) -> str:
    """In what a score is counted: the label's unit, or deviations that the output tells."""
    return task.unit if task.decides or (_band_of_nothing(task)[2] == 1).all() else "deviations"


def _scores(task: Any, labels: Any, outputs: Any, method: str) -> Any:
    """Scores of the true labels, `(n, elements)`; NaN where there is none."""
    if not task.decides:
        truth = np.asarray(labels, "float64").reshape(len(labels), -1)
        low, high, unit = task.band(outputs)
        return np.maximum(low - truth, truth - high) / np.maximum(unit, np.finfo("float32").tiny)
    probabilities = np.asarray(task.class_probabilities(outputs), "float64")
    truth = np.reshape(labels, probabilities.shape[:-1])
    there = np.asarray(task.present(truth))
    every = class_scores(probabilities, method)
    own = np.take_along_axis(every, np.where(there, truth, 0)[..., None], axis=-1)[..., 0]
    return np.where(there, own, np.nan).reshape(len(labels), -1)
