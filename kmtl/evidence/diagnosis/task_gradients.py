"""What some batches tell of tasks and pairs: losses against guessing, gradients, rows that are labelled for both."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from kmtl import gradients
from kmtl._checks import refusal, require, words
from kmtl.evidence.shared_rows import LEAST_OVERLAP, both_rows, label_overlaps, labelled_rows, only_shared, pair_losses
from kmtl.losses import TaskGroup
from kmtl.tasks import TaskSpace

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


class GradientLook:
    """Looks at the gradients of the same batches, again and again, and traces once; no weight moves.

    Args:
        model: A compiled `MultiTaskModel`; its statistics of labels must be learned before `measure`.
        parts: The batches, `(x, y, sample_weight)` each, complete.
        owner: Whose arguments a refusal names.

    Raises:
        ValueError: If the model shares nothing, or there is no batch.
    """

    def __init__(self, model: Any, parts: Sequence[Any], owner: str) -> None:
        self.shared = model.setup.shared or model.shared_variables
        require(bool(self.shared), owner, "model", "must have trainable weights that tasks share", words("none"))
        require(bool(parts), owner, "data", "must hold at least one batch", words("none"))
        self.model, self.parts, self.names = model, parts, list(model.tasks)
        space = TaskSpace(model.tasks.values())
        self.labels = [space.mask({name: np.asarray(label) for name, label in part[1].items()}) for part in parts]
        self.tasks = list(model.tasks.values())
        self.rows = [np.stack([labelled_rows(task, label[task.name]) for task in self.tasks]) for label in self.labels]
        self.overlaps = label_overlaps(self.rows)
        self._look = gradients.gramian_function(model.step.losses, model.step.cut, self.shared)
        # Where the trunk is cut, the copies are counted for all tasks; here are two.
        self._pair_look = gradients.gramian_function(pair_losses(model), lambda: None, self.shared)

    def measure(self) -> tuple[gradients.Gramians, dict[tuple[int, int], Any]]:
        """Losses and Gramians, and of each pair its cosines over rows labelled for both, one a batch."""
        found = gradients.gramians_of(self._look, self.names, self.parts)
        return found, self._cosines(found.cosines)

    def _cosines(self, whole: Any) -> dict[tuple[int, int], Any]:
        """Cosines of each pair, one a batch with rows labelled for both; none where too few are."""
        pairs = [pair for pair in combinations(range(len(self.names)), 2) if self.overlaps[pair] >= LEAST_OVERLAP]
        cosines = {pair: whole[:, *pair] for pair in pairs if self.overlaps[pair] == 1}
        partial = [pair for pair in pairs if pair not in cosines][:MOST_PARTIAL_PAIRS]
        counts = range(len(self.parts))
        places = [(pair, place) for pair in partial for place in counts if both_rows(self.rows[place], pair).any()]
        if places:
            masked = (only_shared(self.parts[at], self.tasks, pair, self.rows[at]) for pair, at in places)
            grams = gradients.gramians_of(self._pair_look, ["one", "other"], masked)
            for pair in partial:
                chosen = [at for at, (other, _) in enumerate(places) if other == pair]
                cosines[pair] = grams.cosines[chosen, 0, 1]
        return cosines


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
    given = model.inspection.prepare("advise", x, y, sample_weight, batches)
    parts = list(gradients.first_batches(given.x, given.y, given.sample_weight, batch_size, batches))
    look = GradientLook(model, parts, "advise")
    found, cosines = look.measure()
    weights = {name: weight for name, weight in model.loss_weights.items() if name in look.names}
    given_weights = [part[2] for part in parts]
    guesses = {name: guessing_level(model, name, look.labels, given_weights) for name in look.names}
    return TaskGradients(found, weights, guesses, look.overlaps, cosines)


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
