"""The look at the data: what `fit` and its kin refuse, and what they learn from the labels."""

import weakref
from collections.abc import Iterable
from typing import Any

import numpy as np

from kmtl import gradients
from kmtl._checks import near, refusal, words
from kmtl.feeding import DataStatistics, Feed, InputForm, check_statistics, feed
from kmtl.model.graph import AssembledModel


class LookingModel(AssembledModel):
    """A model that looks at data; `MultiTaskModel` is the one to use."""

    def adapt(self, data: Any, y: Any = None, *, steps: int | None = None) -> None:
        """Learns the mean and scale of every standardised regression from labels.

        `fit` does it by itself from its training data, unless it was done.

        Args:
            data: As `x` of `fit`.
            y: As `y` of `fit`.
            steps: Number of batches to look at; None looks at all.

        Raises:
            ValueError: If a task has no label in the data, or a constant one.
        """
        given = feed(data, y, None, self.tasks, "adapt", all_needed=False, form=InputForm.of(self.input))
        limit = given.limit(steps, True, "adapt", "steps")
        census = DataStatistics.of(self.tasks, given.batches(limit if steps is None else steps))
        check_statistics(census, self.scalers, "adapt", all_needed=False)
        self._learn_scales(census, self.scalers)

    def direction(self, key: str) -> str:
        """Tells whether more of a log value is better.

        Args:
            key: A log key, as `"val_digit_accuracy"`.

        Returns:
            `"max"` or `"min"`.

        Raises:
            ValueError: If it belongs to no task, or the metric's better end is unknown.
        """
        name = key.removeprefix("val_")
        if name in {"loss", "regularization", "delta_m"}:
            return "min"
        owners = [task for task in self.tasks if name.startswith(f"{task}_")]
        if not owners:
            fix = near(name, self.metrics_names if self.compiled else self.tasks)
            raise ValueError(refusal("fit", "monitor", "must be `loss`, `delta_m` or a task's metric", key, fix))
        return self.tasks[max(owners, key=len)].direction(key)

    def _assert_ready(self, owner: str) -> None:
        """Refuses training before `compile`."""
        if not self.compiled:
            fix = "Call model.compile(...) first."
            raise ValueError(refusal(owner, "model", "must be compiled", words("an uncompiled one"), fix))

    def _training_feed(self, x: Any, y: Any, sample_weight: Any, check: bool | int) -> Feed:
        """Checks the structure of the training data."""
        whole = isinstance(check, bool) or (isinstance(check, int) and check > 0)
        if not whole:
            raise ValueError(refusal("fit", "check", "must be True, False or a number of batches", check))
        form = InputForm.of(self.input)
        return feed(x, y, sample_weight, self.tasks, "fit", all_needed=check is not False, form=form)

    def _validation_feed(self, data: Any, steps: int | None, check: bool | int) -> Any:
        """Checks validation data and returns it as Keras takes it."""
        owner = "fit(validation_data)"
        parts = data if isinstance(data, list | tuple) else (data,)
        x, y, weights = (*parts, None, None)[:3]
        given = feed(x, y, weights, self.tasks, owner, all_needed=False, form=InputForm.of(self.input))
        limit = given.limit(steps, check, "fit", "validation_steps")
        if check is not False and given.is_rewindable:
            check_statistics(self._census(given, limit), (), owner, all_needed=False)
        given = given.weighted({})
        return given.x if given.y is None else (given.x, given.y, given.sample_weight)

    def _look(self, given: Feed, steps: int | None, check: bool | int) -> DataStatistics | None:
        """Takes the census of the training data and refuses what it must."""
        limit = given.limit(steps, check, "fit", "steps_per_epoch")
        if check is False or not given.is_visible:
            self._require_scales("fit")
            return None
        census = self._census(given, limit)
        check_statistics(census, self._unlearned(), "fit")
        return census

    def _census(self, given: Feed, limit: int | None) -> DataStatistics:
        """Takes the census, or remembers it of a stream that was looked at before."""
        known = self.__dict__.setdefault("_censuses", weakref.WeakKeyDictionary())
        is_kept = given.source is not None and given.is_rewindable
        if is_kept and known.get(given.source, (0, None))[0] == (limit,):
            return known[given.source][1]
        census = DataStatistics.of(self.tasks, given.batches(limit))
        census.complete = given.is_complete(limit)
        if is_kept:
            known[given.source] = ((limit,), census)
        return census

    def _unlearned(self) -> list[str]:
        """Names of the standardised regressions whose statistics nobody learned."""
        return [name for name, layer in self.scalers.items() if not layer.is_learned]

    def _checked_for(self, owner: str, x: Any, y: Any, sample_weight: Any, limit: int) -> Feed:
        """Data that is looked at but not trained on, with the statistics of its labels learned."""
        given = feed(x, y, sample_weight, self.tasks, owner, all_needed=False, form=InputForm.of(self.input))
        if self._unlearned():
            census = DataStatistics.of(self.tasks, given.batches(limit))
            check_statistics(census, self._unlearned(), owner, all_needed=False)
            self._learn_scales(census, self._unlearned())
        return given.weighted({})

    def _learn_scales(self, census: DataStatistics, names: Iterable[str]) -> None:
        """Gives the statistics to the layers that turn predictions into the label's unit.

        Machines that looked at different data must not scale differently: the first one's count.
        """
        learned = [census.tasks[name] for name in names]
        if not learned:
            return
        own = np.concatenate([[found.mean, found.scale] for found in learned], axis=None).astype("float32")
        whole = gradients.of_first(self.distribute_strategy, own)
        for found, values in zip(
            learned, np.split(whole, np.cumsum([2 * len(f.mean) for f in learned])[:-1]), strict=True
        ):
            self.scalers[found.task.name].learn(*np.split(values, 2))

    def _require_scales(self, owner: str) -> None:
        """Refuses training a standardised regression whose statistics nobody learned."""
        unlearned = self._unlearned()
        if unlearned:
            fix = "Call model.adapt(data) with labelled data first, or give the task `standardize=False`."
            rule = "must have learned the labels' mean and scale"
            raise ValueError(refusal(owner, "tasks", rule, words(f"none for {unlearned}"), fix))
