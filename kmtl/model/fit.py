"""The doors of training: `fit`, `evaluate` and their kin take data as Keras does, checked first."""

from collections.abc import Sequence
from typing import Any

import keras

from kmtl import gradients
from kmtl._keras_private import has_prepared_data
from kmtl.callbacks.balancer_events import BalancerListener
from kmtl.feeding import InputForm, arrays_feed, class_tables, explained, feed
from kmtl.feeding.plan import Plan, Progress, Start, present_seed, rejoined, steps_of, streamed
from kmtl.model.inspection import LookingModel


class FedModel(LookingModel):
    """A model that looks at its data before it trains on it."""

    _evaluating = False
    _progress: Progress | None = None

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
        seen = census.batches if census is not None and census.complete else None
        options = {"validation_steps": validation_steps, "validation_batch_size": validation_batch_size}
        try:
            # From here on machines wait for each other.
            if census is not None:
                self._learn_scales(census, self._unlearned())
            plan = Plan(given, batch_size, shuffle, steps_per_epoch, initial_epoch)
            plan = self._planned(plan, callbacks, seen, epochs)
            self._attach("_progress", plan.progress)
            given = plan.feed
            return super().fit(
                given.x,
                given.y,
                batch_size=plan.batch_size,
                epochs=epochs,
                verbose=verbose,
                callbacks=rejoined(callbacks, plan, verbose, epochs, self),
                validation_data=validation_data,
                shuffle=plan.shuffle and given.is_shuffled_by_keras,
                sample_weight=given.sample_weight,
                initial_epoch=plan.initial_epoch,
                steps_per_epoch=plan.steps_per_epoch,
                validation_freq=validation_freq,
                **options,
            )
        except Exception as error:
            clearer = explained(explained(error, given.source), self.distribute_strategy)
            if clearer is error:
                raise
            raise clearer from error
        finally:
            self._attach("_progress", None)

    def _planned(self, plan: Plan, callbacks: Any, seen: int | None, epochs: int) -> Plan:
        """The plan itself, or one over an endless stream where the order of the data must be known.

        A backup needs it to go on; many machines need it to see every example once, in one order.
        """
        backup = next((callback for callback in callbacks if getattr(callback, "keeps_position", False)), None)
        many = gradients.is_many_machines(self.distribute_strategy)
        if backup is None and not (many and plan.shuffle and plan.feed.is_shuffled_by_keras):
            return plan
        steps = steps_of(plan, seen)
        start = Start(plan.initial_epoch, 0, int(gradients.of_first(self.distribute_strategy, present_seed())))
        if backup is not None:
            backup.attend(callbacks)
            start = backup.restore(self, self._fingerprint(steps), start)
        return streamed(plan, start._replace(epoch=epochs) if start.stopped else start, steps)

    def _fingerprint(self, steps: int) -> dict[str, Any]:
        """What must be the same for a training to go on from a backup."""
        return {
            "tasks": list(self.tasks),
            "variables": [f"{held.name} {held.dtype} {tuple(held.shape)}" for held in self.variables],
            # Keras numbers the names of the others anew in each process.
            "state": [f"{held.dtype} {tuple(held.shape)}" for held in self.training_state],
            "optimizer": type(self.optimizer).__name__,
            "balancer": type(self.balancer).__name__,
            "steps_per_epoch": steps,
        }

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
        if not has_prepared_data(kwargs):
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

    def _monitors(self, callbacks: Any) -> Any:
        """Gives monitors of a task's metric their mode, and lets those that add to the logs go first."""
        if isinstance(callbacks, keras.callbacks.CallbackList):
            # Keras makes another list of them.
            callbacks = callbacks.callbacks
        given = list(callbacks) if isinstance(callbacks, list | tuple) else [callbacks]
        listed = [BalancerListener(), *(callback for callback in given if callback is not None)]
        for callback in listed:
            if getattr(callback, "mode", None) == "auto" and isinstance(getattr(callback, "monitor", None), str):
                callback.mode = self.direction(callback.monitor)
        keeps = any(getattr(callback, "keeps_position", False) for callback in listed)
        if keeps and not any(isinstance(callback, keras.callbacks.History) for callback in listed):
            # Keras would put it behind the backup.
            listed.append(keras.callbacks.History())
        return sorted(listed, key=_turn)


def _turn(callback: Any) -> int:
    """Callbacks that add to the logs go first; a backup goes last, to hold what the others did."""
    return 2 if getattr(callback, "keeps_position", False) else 0 if getattr(callback, "adds_logs", False) else 1
