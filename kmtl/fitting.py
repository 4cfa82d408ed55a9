"""The doors of training: `fit`, `evaluate` and their kin take data as Keras does, checked first."""

import weakref
from collections.abc import Iterable, Sequence
from typing import Any

import keras

from kmtl._checks import near, refusal, words
from kmtl.assembly import AssembledModel
from kmtl.feeding import Census, Feed, InputForm, arrays_feed, check_census, class_tables, feed
from kmtl.listening import BalancerListener


class FedModel(AssembledModel):
    """A model that looks at its data before it trains on it."""

    _evaluating = False

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: Any = "auto",
        callbacks: Sequence[Any] | None = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: Any = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int = 1,
        *,
        check: bool | int = True,
    ) -> Any:
        """Trains as `keras.Model.fit` does, after one look at the data.

        The look is a pass over the labels: it refuses what cannot be trained
        on, learns the statistics of standardised regressions unless `adapt`
        did, and counts classes for balanced weights. A dataset that reshuffles
        is thereby advanced by one iteration; one already looked at is not
        looked at again. Of a generator, the first 16 batches are looked at; of
        another stream without a known end, the batches of one epoch.

        Args:
            x: Arrays, or a stream (tf.data, PyDataset, generator) of
                `(x, {task: label})` or `(x, {task: label}, {task: weight})`.
            y: `{task: labels}` or a frame with a column a task.
            batch_size: As in Keras.
            epochs: As in Keras.
            verbose: As in Keras.
            callbacks: As in Keras; a monitor of a task's metric needs no `mode`.
            validation_split: As in Keras.
            validation_data: As in Keras; a task may be absent.
            shuffle: As in Keras; a stream keeps its own order.
            class_weight: `{task: {class: weight}}` or `{task: "balanced"}`.
            sample_weight: One array for all tasks or `{task: array}`.
            initial_epoch: As in Keras.
            steps_per_epoch: As in Keras.
            validation_steps: As in Keras.
            validation_batch_size: As in Keras.
            validation_freq: As in Keras.
            check: False skips the look; a number limits it to so many batches.

        Returns:
            A `keras.callbacks.History`.

        Raises:
            ValueError: With all offenders, before the first step.
        """
        self._assert_ready("fit")
        given = self._training_feed(x, y, sample_weight, check)
        if validation_split and validation_data is None:
            given, validation_data = given.split(validation_split)
        if validation_data is not None:
            validation_data = self._validation_feed(validation_data, validation_steps, check)
        census = self._look(given, steps_per_epoch, check)
        given = given.weighted(class_tables(class_weight, self.tasks, census, "fit"))
        callbacks = self._monitors(callbacks)
        if census is not None:
            self._learn_scales(census, self._unlearned())
        return super().fit(
            given.x,
            given.y,
            batch_size=batch_size,
            epochs=epochs,
            verbose=verbose,
            callbacks=callbacks,
            validation_data=validation_data,
            shuffle=shuffle and given.is_shuffled_by_keras,
            sample_weight=given.sample_weight,
            initial_epoch=initial_epoch,
            steps_per_epoch=steps_per_epoch,
            validation_steps=validation_steps,
            validation_batch_size=validation_batch_size,
            validation_freq=validation_freq,
        )

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
        census = Census.of(self.tasks, given.batches(limit if steps is None else steps))
        check_census(census, self.scalers, "adapt", all_needed=False)
        self._learn_scales(census, self.scalers)

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: Any = "auto",
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Any = None,
        return_dict: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Evaluates as `keras.Model.evaluate` does, each task over its labelled examples.

        A task that the data has no label for has NaN. Without `return_dict` the
        values come in the order of `metrics_names`, `loss` first.
        """
        self._assert_ready("evaluate")
        if not kwargs.get("_use_cached_eval_dataset"):
            form = InputForm.of(self.input)
            given = feed(x, y, sample_weight, self.tasks, "evaluate", all_needed=False, form=form)
            given.limit(steps, True, "evaluate", "steps")
            given = given.weighted({})
            x, y, sample_weight = given.x, given.y, given.sample_weight
        self._evaluating = True
        try:
            options = {"batch_size": batch_size, "verbose": verbose, "steps": steps, "callbacks": callbacks}
            logs = super().evaluate(x, y, sample_weight=sample_weight, return_dict=True, **options, **kwargs)
        finally:
            self._evaluating = False
        return logs if return_dict else [logs[name] for name in self.metrics_names]

    def train_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, class_weight: Any = None, return_dict: bool = False
    ) -> Any:
        """Runs one step on one batch; a task without labels in it may be absent."""
        self._assert_ready("train_on_batch")
        form = InputForm.of(self.input)
        given = arrays_feed(x, y, sample_weight, self.tasks, "train_on_batch", all_needed=False, form=form)
        self._require_scales("train_on_batch")
        weighted = given.weighted(class_tables(class_weight, self.tasks, None, "train_on_batch"))
        logs = super().train_on_batch(weighted.x, weighted.y, weighted.sample_weight, return_dict=True)
        return logs if return_dict else [logs[name] for name in self.metrics_names]

    def test_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False) -> Any:
        """Evaluates one batch; a task without labels in it may be absent."""
        self._assert_ready("test_on_batch")
        form = InputForm.of(self.input)
        given = arrays_feed(x, y, sample_weight, self.tasks, "test_on_batch", all_needed=False, form=form)
        self._evaluating = True
        try:
            logs = super().test_on_batch(given.x, given.y, given.sample_weight, return_dict=True)
        finally:
            self._evaluating = False
        return logs if return_dict else [logs[name] for name in self.metrics_names]

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
            check_census(self._census(given, limit), (), owner, all_needed=False)
        given = given.weighted({})
        return given.x if given.y is None else (given.x, given.y, given.sample_weight)

    def _look(self, given: Feed, steps: int | None, check: bool | int) -> Census | None:
        """Takes the census of the training data and refuses what it must."""
        limit = given.limit(steps, check, "fit", "steps_per_epoch")
        if check is False or not given.is_visible:
            self._require_scales("fit")
            return None
        census = self._census(given, limit)
        check_census(census, self._unlearned(), "fit")
        return census

    def _census(self, given: Feed, limit: int | None) -> Census:
        """Takes the census, or remembers it of a stream that was looked at before."""
        known = self.__dict__.setdefault("_censuses", weakref.WeakKeyDictionary())
        is_kept = given.source is not None and given.is_rewindable
        if is_kept and known.get(given.source, (0, None))[0] == (limit,):
            return known[given.source][1]
        census = Census.of(self.tasks, given.batches(limit))
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
            census = Census.of(self.tasks, given.batches(limit))
            check_census(census, self._unlearned(), owner, all_needed=False)
            self._learn_scales(census, self._unlearned())
        return given.weighted({})

    def _learn_scales(self, census: Census, names: Iterable[str]) -> None:
        """Gives the statistics to the layers that turn predictions into the label's unit."""
        for name in names:
            found = census.tasks[name]
            self.scalers[name].learn(found.mean.astype("float32"), found.scale.astype("float32"))

    def _require_scales(self, owner: str) -> None:
        """Refuses training a standardised regression whose statistics nobody learned."""
        unlearned = self._unlearned()
        if unlearned:
            fix = "Call model.adapt(data) with labelled data first, or give the task `standardize=False`."
            rule = "must have learned the labels' mean and scale"
            raise ValueError(refusal(owner, "tasks", rule, words(f"none for {unlearned}"), fix))

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

    def _monitors(self, callbacks: Any) -> Any:
        """Gives monitors of a task's metric their mode, and lets those that add to the logs go first."""
        if isinstance(callbacks, keras.callbacks.CallbackList):
            callbacks.append(BalancerListener())
            return callbacks
        given = list(callbacks) if isinstance(callbacks, list | tuple) else [callbacks]
        listed = [BalancerListener(), *(callback for callback in given if callback is not None)]
        for callback in listed:
            if getattr(callback, "mode", None) == "auto" and isinstance(getattr(callback, "monitor", None), str):
                callback.mode = self.direction(callback.monitor)
        return sorted(listed, key=lambda callback: not getattr(callback, "adds_logs", False))
