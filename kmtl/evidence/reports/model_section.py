"""How a trained model does on labelled data, task by task, for a report."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import keras

from kmtl._checks import Refusals
from kmtl._figures import Picture
from kmtl._table import Table
from kmtl.evidence.labelled_outputs import chosen_tasks, labelled_outputs
from kmtl.evidence.reports.extreme_samples import Extremes, extremes_pictures
from kmtl.evidence.reports.layer_conflicts import layer_gramians, layer_picture
from kmtl.evidence.reports.reliability import Reliability, reliability, reliability_picture
from kmtl.evidence.reports.report_page import Section
from kmtl.evidence.reports.residuals import Residuals, residual_picture, residuals
from kmtl.metrics.confusion import Confusion, confusion_picture, confusions
from kmtl.tasks import Task

_OWNER = "report"
# A backward pass a task: with more it takes minutes to trace.
_MOST_TASKS = 12


class ModelOnData(NamedTuple):
    """What a model said of labelled data.

    Attributes:
        tasks: The tasks by name.
        rows: Number of examples.
        confusions: `{task: one matrix, or one an element}` of the tasks of classes.
        residuals: `{task: one an element}` of the tasks of values.
        reliabilities: Of the tasks that tell how sure they are.
        extremes: The best and the worst predictions.
        layers: `{layer: Gramians}`; empty where there is none.
        note: Why there is none.
    """

    tasks: dict[str, Task]
    rows: int
    confusions: dict[str, list[Confusion]]
    residuals: dict[str, list[Residuals]]
    reliabilities: list[Reliability]
    extremes: Extremes
    layers: Mapping[str, Any]
    note: str

    @classmethod
    def of(cls, model: Any, data: Any, y: Any, samples: int) -> "ModelOnData":
        """Runs a model over data and looks at what it says.

        Args:
            model: A `MultiTaskModel`.
            data: As of `report`.
            y: The same.
            samples: How many of the best and worst predictions are kept.

        Raises:
            ValueError: If the data does not fit the model.
        """
        with Refusals(_OWNER) as refusals:
            chosen_tasks(refusals, model, None)
        names = [tensor.name for tensor in keras.tree.flatten(model.inputs)]
        extremes = Extremes(model.tasks, names, samples)
        found = labelled_outputs(model, data, y, _OWNER, extremes)
        layers, note = _layers(model, data, y)
        known = [reliability(task, *found[name]) for name, task in model.tasks.items()]
        return cls(
            dict(model.tasks),
            len(next(iter(found.values()))[0]),
            {name: made for name, task in model.tasks.items() if (made := confusions(task, *found[name]))},
            {name: rest for name, task in model.tasks.items() if (rest := residuals(task, *found[name]))},
            [one for one in known if one is not None],
            extremes,
            layers,
            note,
        )


def _layers(model: Any, data: Any, y: Any) -> tuple[Mapping[str, Any], str]:
    """The Gramians of the layers, or why there are none."""
    reason = ""
    if len(model.tasks) < 2:
        reason = "one task conflicts with none"
    elif len(model.tasks) > _MOST_TASKS:
        reason = f"more than {_MOST_TASKS} tasks; kmtl.evidence.affinity looks at many"
    elif not getattr(model, "compiled", False):
        reason = "the model is not compiled"
    elif iter_is_itself(data):
        reason = "the data is an iterator, which is read once"
    elif not (model.setup.shared or model.shared_variables):
        reason = "the tasks share no weights that are trained"
    if reason:
        return {}, f"No picture of conflict by layer: {reason}."
    return layer_gramians(model, data, y), ""


def iter_is_itself(data: Any) -> bool:
    """Whether data is used up by one look at it.

    >>> iter_is_itself(iter([1])), iter_is_itself([1])
    (True, False)
    """
    return hasattr(data, "__next__")


def model_section(seen: ModelOnData) -> Section:
    """Puts what was seen under a heading."""
    rows = [row for name in seen.tasks for row in _rows(seen, name)]
    parts: list[str | Table] = [Table(rows), *([seen.note] if seen.note else [])]
    pictures = list(_pictures(seen))
    return Section("The model on the data", parts, pictures, list(_conclusions(seen)))


def _rows(seen: ModelOnData, name: str) -> Iterator[dict[str, Any]]:
    """The numbers of a task, or of each element of its label."""
    for one in seen.confusions.get(name, []):
        yield {"task": one.name, "labels": int(one.counts.sum()), "right": one.right}
    for row in seen.residuals.get(name, []):
        numbers = {"mean absolute error": row.mae, "bias": row.bias, "R2": row.r2}
        yield {"task": row.name, "labels": len(row.labels), **numbers, "unit": row.unit or None}


def _pictures(seen: ModelOnData) -> Iterator[Picture]:
    """The pictures, task by task, then those of all."""
    for name, task in seen.tasks.items():
        if name in seen.confusions:
            yield confusion_picture(task, seen.confusions[name])
        if name in seen.residuals:
            yield residual_picture(task, seen.residuals[name])
        yield from extremes_pictures(task, seen.extremes)
    if seen.reliabilities:
        yield reliability_picture(seen.reliabilities)
    drawn = layer_picture(seen.layers) if seen.layers else None
    if drawn is not None:
        yield drawn


def _conclusions(seen: ModelOnData) -> Iterator[str]:
    """A sentence a task, and one where its confidence is off."""
    for name in seen.tasks:
        for one in seen.confusions.get(name, []):
            most = "".join(f", most often mistaken: {text}" for text in one.mistakes()[:1])
            if one.counts.sum():
                yield f"{one.name} is right for {one.right:.1%} of {int(one.counts.sum()):,} labels{most}."
        for row in seen.residuals.get(name, []):
            if len(row.labels):
                unit = f" {row.unit}" if row.unit else ""
                yield f"{row.name} is off by {row.mae:.3g}{unit} on average, R2 {row.r2:.2f}."
    yield from (text for one in seen.reliabilities if (text := one.conclusion()))
