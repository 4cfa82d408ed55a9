"""What some batches tell of tasks and pairs: losses against guessing, gradients, rows that are labelled for both."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from kmtl import gradients
from kmtl._checks import refusal, require, words
from kmtl.losses import TaskGroup
from kmtl.tasks import Task, TaskSpace

# A pair that shares fewer of its labelled rows has no cosine worth telling.
LEAST_OVERLAP = 0.3
# Pairs that share some rows only cost two backward passes each, a batch.
MOST_PARTIAL_PAIRS = 45


class TaskGradients(NamedTuple):
    """What some batches told.

    Attributes:
        found: Losses and Gramians, under the static weights.
        weights: The static weight of each task.
        guesses: Mean loss of the best constant output, by task; NaN where the kind cannot tell, or nothing is labelled.
        overlaps: Share of the rows labelled for either task that are labelled for both, `(K, K)`.
        cosines: Cosines of the gradients over rows labelled for both tasks, one a batch, by pair of places.
    """

    found: gradients.Gramians
    weights: dict[str, float]
    guesses: dict[str, float]
    overlaps: Any
    cosines: dict[tuple[int, int], Any]


def measure(model: Any, x: Any, y: Any, sample_weight: Any, *, batches: int, batch_size: int) -> TaskGradients:
    """Looks at the first batches; no weight moves.

    Args:
        model: A compiled `MultiTaskModel`.
        x: As in `fit`.
        y: As in `fit`.
        sample_weight: As in `fit`.
        batches: How many batches.
        batch_size: Of arrays.

    Raises:
        ValueError: If the model is not compiled or shares nothing.
    """
    if not model.compiled:
        fix = "Call compile(...) first."
        raise ValueError(refusal("advise", "model", "must be compiled", words("an uncompiled one"), fix))
    shared = model.setup.shared or model.shared_variables
    require(bool(shared), "advise", "model", "must have trainable weights that tasks share", words("none"))
    given = model.inspection.prepare("advise", x, y, sample_weight, batches)
    parts = list(gradients.first_batches(given.x, given.y, given.sample_weight, batch_size, batches))
    require(bool(parts), "advise", "data", "must hold at least one batch", words("none"))
    names = list(model.tasks)
    found = gradients.measure_gramians(model.step.losses, model.step.cut, shared, names, parts)
    space = TaskSpace(model.tasks.values())
    labels = [space.mask({name: np.asarray(label) for name, label in part[1].items()}) for part in parts]
    rows = [np.stack([_labelled(model.tasks[name], label[name]) for name in names]) for label in labels]
    overlaps = _overlaps(rows)
    return TaskGradients(
        found,
        {name: weight for name, weight in model.loss_weights.items() if name in names},
        {name: guessing_level(model, name, labels, [part[2] for part in parts]) for name in names},
        overlaps,
        _cosines(model, shared, found, parts, rows, overlaps),
    )


def guessing_level(model: Any, name: str, labels: Sequence[Mapping[str, Any]], weights: Sequence[Any]) -> float:
    """The mean loss of the best constant output of one task.

        min over c of mean_b mean_i L(y_bi, c),    c as `Task.constant_outputs` gives it

    For a classification by cross-entropy that is the entropy of the labels, `ln 10` of ten classes that are equally
    frequent; for a standardised squared error their variance, about 1.

    Args:
        model: A compiled `MultiTaskModel`.
        name: Of the task.
        labels: `{task: labels}` of each batch, NumPy.
        weights: `{task: sample weights}` of each batch.
    """
    task = model.tasks[name]
    if None in task.label_shape[task.dense_axes :]:
        return float("nan")  # A list of any length: no constant is the best for all.
    loss = next(group.loss for group in model.setup.groups if name in group.names)
    group = TaskGroup([task], loss, model.scalers)
    known = [part[name] for part in labels]
    if len({part.shape[1:] for part in known}) > 1:
        known = [part.reshape(-1, *part.shape[1 + task.dense_axes :]) for part in known]
    levels = []
    for output in task.constant_outputs(np.concatenate(known)):
        means = [
            _mean_loss(group, output, part[name], given.get(name)) for part, given in zip(labels, weights, strict=True)
        ]
        levels.append(gradients.over_batches(np.mean, np.array(means)))
    return min(levels, default=float("nan"))


def _mean_loss(group: TaskGroup, output: Any, labels: Any, weights: Any) -> float:
    """Mean loss of one output for all labels of a batch; NaN without a label."""
    task = group.first
    places = labels.shape[: 1 + task.dense_axes]
    outputs = np.broadcast_to(np.asarray(output, "float32"), (*places, *np.shape(output)))
    given = {} if weights is None else {task.name: weights}
    sums, counts = group.sums(group.examples({task.name: labels}, {task.name: outputs}, given))
    count = float(counts[0])
    return float(sums[0]) / count if count else float("nan")


def _labelled(task: Task, labels: Any) -> Any:
    """Which rows of a batch carry a label of a task, `(batch,)`."""
    return np.asarray(task.present(labels)).reshape(len(labels), -1).any(axis=1)


def _overlaps(rows: Sequence[Any]) -> Any:
    """Rows labelled for both tasks over rows labelled for either, `(K, K)`."""
    both = sum(part.astype("float64") @ part.T for part in rows)
    counts = np.diagonal(both)
    return both / np.maximum(counts[:, None] + counts[None, :] - both, 1.0)


def _cosines(
    model: Any, shared: Sequence[Any], found: gradients.Gramians, parts: Any, rows: Any, overlaps: Any
) -> dict[tuple[int, int], Any]:
    """Cosines of each pair, one a batch with rows labelled for both; none where too few are."""
    pairs = [pair for pair in combinations(range(len(found.names)), 2) if overlaps[pair] >= LEAST_OVERLAP]
    whole = found.cosines
    cosines = {pair: whole[:, *pair] for pair in pairs if overlaps[pair] == 1}
    partial = [pair for pair in pairs if pair not in cosines][:MOST_PARTIAL_PAIRS]
    places = [(pair, place) for pair in partial for place in range(len(parts)) if _both(rows[place], pair).any()]
    if places:
        masked = (_only_shared(parts[place], found.names, pair, rows[place]) for pair, place in places)
        # Where the trunk is cut, the copies are counted for all tasks; here are two.
        grams = gradients.measure_gramians(_pair_losses(model), lambda: None, shared, ["one", "other"], masked)
        for pair in partial:
            chosen = [at for at, (other, _) in enumerate(places) if other == pair]
            cosines[pair] = grams.cosines[chosen, 0, 1]
    return cosines


def _both(rows: Any, pair: tuple[int, int]) -> Any:
    """Which rows of a batch are labelled for both tasks."""
    return rows[pair[0]] & rows[pair[1]]


def _only_shared(part: Any, names: Sequence[str], pair: tuple[int, int], rows: Any) -> Any:
    """A batch in which only the rows labelled for both tasks weigh, and which tasks these are."""
    x, y, weights = part
    mask = _both(rows, pair).astype("float32")
    given = {name: np.asarray(weights.get(name, np.ones_like(mask))) for name in names}
    masked = {name: mask.reshape(-1, *[1] * (value.ndim - 1)) * value for name, value in given.items()}
    return x, y, {name: ops.convert_to_tensor(value) for name, value in masked.items()}, ops.convert_to_tensor(pair)


def _pair_losses(model: Any) -> Any:
    """The losses of two tasks of a batch."""

    def losses(x: Any, y: Any, weights: Any, pair: Any) -> tuple[Any, Any]:
        return tuple(ops.take(values, pair) for values in model.step.losses(x, y, weights))

    return losses
