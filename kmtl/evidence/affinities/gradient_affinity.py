"""Affinities that the gradients of the shared weights tell: cosines, and steps along one task's gradient."""

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import keras
import numpy as np

from kmtl import gradients
from kmtl._checks import require, words
from kmtl.evidence.shared_rows import (
    LEAST_OVERLAP,
    both_rows,
    label_overlaps,
    labelled_rows,
    only_shared,
    pair_losses,
)
from kmtl.tasks import TaskSpace
from kmtl.training.reusable import LastModel


class Looks:
    """Looks at batches of a model whose weights may have moved since the last look; none moves by it.

    Of a pair of which some rows carry one label only, a look takes the rows that carry both.

    Args:
        model: A compiled `MultiTaskModel`.
        kind: `"gradient"` or `"lookahead"`.
        batches: What is looked at, `(x, y, sample_weight)` each.
        rate: Of the steps that are looked ahead; None takes the optimizer's of the moment.
    """

    def __init__(self, model: Any, kind: str, batches: Sequence[Any], rate: float | None = None) -> None:
        self.model, self.batches, self.rate = model, batches, rate
        self.tasks = list(model.tasks.values())
        space = TaskSpace(self.tasks)
        self._labels = [space.mask({name: np.asarray(label) for name, label in part[1].items()}) for part in batches]
        self._rows = [
            np.stack([labelled_rows(task, label[task.name]) for task in self.tasks]) for label in self._labels
        ]
        self.overlaps = label_overlaps(self._rows)
        shared = model.setup.shared or model.shared_variables
        require(bool(shared), "affinity", "source", "must have trainable weights that tasks share", words("none"))
        make = {"gradient": self._cosines, "lookahead": self._lookahead}[kind]
        self._whole = make(model.step.losses, model.step.cut, shared)
        # Where the trunk is cut, the copies are counted for all tasks; here are two.
        self._pair = make(pair_losses(model), lambda: None, shared)

    def _cosines(self, *given: Any) -> Callable[[Any], Any]:
        """A function of a batch: cosines of the gradients."""
        look, number = gradients.gramian_function(*given), len(self.tasks)

        def cosines(batch: Any) -> Any:
            _, present, gram = (value.numpy()[None] for value in look(batch))
            return gradients.Gramians([""] * number, None, present, gram).cosines[0]

        return cosines

    def _lookahead(self, *given: Any) -> Callable[[Any], Any]:
        """A function of a batch: relative changes of the losses."""
        look = gradients.lookahead_function(*given)

        def changes(batch: Any) -> Any:
            rate = float(self.model.optimizer.learning_rate) if self.rate is None else self.rate
            return look(batch, keras.ops.convert_to_tensor(rate, "float32")).numpy()

        return changes

    def __call__(self, place: int) -> Any:
        """Looks at one of the batches, `(K, K)`; NaN where it tells nothing of a pair."""
        part, rows = self.batches[place], self._rows[place]
        found = np.array(self._whole(part), "float64")
        for i, j in combinations(range(len(self.tasks)), 2):
            if self.overlaps[i, j] == 1:
                continue
            both = np.full((2, 2), np.nan)
            if self.overlaps[i, j] >= LEAST_OVERLAP and both_rows(rows, (i, j)).any():
                both = np.array(self._pair(only_shared(part, self.tasks, (i, j), rows)), "float64")
            found[i, j], found[j, i] = both[0, 1], both[1, 0]
        return found


class LooksInTraining(keras.callbacks.Callback):
    """Looks at a model while it is trained.

    Args:
        look: Looks, told how many looks there were before.
        due: The steps behind which it looks, in order; those behind the last one are left out.

    Attributes:
        found: What each look found.
    """

    def __init__(self, look: Callable[[int], Any], due: Sequence[int]) -> None:
        super().__init__()
        self.look, self.due = look, list(due)
        self.found: list[Any] = []
        self._steps = 0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Looks, if it is time to."""
        del batch, logs
        self._steps += 1
        while len(self.found) < len(self.due) and self.due[len(self.found)] <= self._steps:
            self.found.append(self.look(len(self.found)))


def looks_of_model(model: Any, data: Any, batches: int, kind: str, rate: float | None) -> Looks:
    """Prepares the looks at a model's first batches of a dataset."""
    given = model.inspection.prepare("affinity", data, None, None, batches)
    parts = list(gradients.first_batches(given.x, given.y, given.sample_weight, 32, batches))
    require(bool(parts), "affinity", "data", "must hold at least one batch", words("none"))
    return Looks(model, kind, parts, rate)


def looks_in_training(
    trainer: Any, tasks: Any, train: Any, sample: Any, *, kind: str, epochs: int, steps: int, seeds: Any, options: Any
) -> tuple[list[Any], Looks]:
    """Trains a joint model from each seed and looks at it on the way.

    Args:
        trainer: Makes and trains models.
        tasks: The tasks.
        train: The training data.
        sample: The data whose first batches are looked at.
        kind: `"gradient"` or `"lookahead"`.
        epochs: Of each training.
        steps: Batches of an epoch.
        seeds: One training each.
        options: How many `batches` are looked at, and the `rate`.

    Returns:
        What was found in each training, `(looks, K, K)` each; and the last looks.
    """
    last, looks, found = LastModel(), None, []
    for seed in seeds:
        built = trainer.model(tasks, seed=seed, names=[task.name for task in tasks])
        if built.scalers:
            built.adapt(train)
        model = last.reuse(built)
        if looks is None or looks.model is not model:
            looks = looks_of_model(model, sample, options["batches"], kind, options["rate"])
        number = len(looks.batches)
        seen = LooksInTraining(
            looks, [int(np.ceil((place + 0.5) * epochs * steps / number)) for place in range(number)]
        )
        trainer.fit(model, train, epochs=epochs, callbacks=[seen])
        found.append(np.stack(seen.found))
    return found, looks  # type: ignore[return-value]
