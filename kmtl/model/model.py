"""The model: a functional `keras.Model` with one named output a task, trained by plain `fit`."""

from contextlib import nullcontext
from typing import Any

import keras
import tensorflow as tf

from kmtl import gradients
from kmtl._checks import known_keywords, near, refusal, require, words
from kmtl._interrupts import hold_interrupts
from kmtl._replicas import is_replicated
from kmtl.callbacks.monitors import ADDED
from kmtl.feeding import InputForm, Inspection, class_tables
from kmtl.feeding.plan import Progress
from kmtl.model.evaluation import evaluate, predict
from kmtl.model.execution import Execution, predictions, test_function, train_function
from kmtl.model.fit import train
from kmtl.model.task_changes import ChangeableGraph


@keras.saving.register_keras_serializable(package="kmtl")
class MultiTaskModel(ChangeableGraph):
    """One Keras model that is trained on many tasks.

    It is used as any functional Keras model is: `compile`, `fit`, `evaluate`, `predict`, `save`,
    `keras.saving.load_model`, callbacks. What is new: labels may be missing; losses and metrics come from the tasks
    where `compile` is given none; `class_weight` works by task; loss weights may move; a balancer settles conflicts
    between the tasks; the shared weights and each head may have an optimizer or a rate of their own; weights may be
    frozen and unfrozen between two `fit`s without compiling again; tasks come and go (`with_task`, `without`,
    `renamed`).

    Args:
        *args: Inputs and a dict of outputs keyed by task name, as for `keras.Model`.
        tasks: The tasks; their order is the order of everything that has one.
        **kwargs: As for `keras.Model`.

    Raises:
        ValueError: If outputs and tasks do not match, or a name is used twice.

    Attributes:
        tasks: The tasks by name, in order.
        setup: What `compile` decided; None before.
        step: The step that `fit` takes; a form of training puts its own here, see `kmtl.model.step.Step`.

    >>> from kmtl.tasks import Classification, Regression
    >>> image = keras.Input((8,), name="image")
    >>> features = keras.layers.Dense(16, activation="relu")(image)
    >>> model = MultiTaskModel.from_features(image, features, [Classification("digit", 10), Regression("angle")])
    >>> {name: output.shape for name, output in model.output.items()}
    {'digit': (None, 10), 'angle': (None, 1)}
    """

    # How far `fit` has read an endless stream; None where Keras alone counts.
    progress: Progress | None = None
    _inspection: Any = None

    @property
    def inspection(self) -> Inspection:
        """Looks at data for this model; it remembers what it looked at."""
        if self._inspection is None:
            form = InputForm.of(self.input)
            self.attach("_inspection", Inspection(self.tasks, self.scalers, form, self.distribute_strategy))
        return self._inspection

    @known_keywords
    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: Any = "auto",
        callbacks: Any = None,
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
        """Trains as `keras.Model.fit` does, after one look at the data; what is not told here is as in Keras.

        The look is a pass over the labels: it refuses what cannot be trained on, learns the statistics of standardised
        regressions unless `adapt` did, and counts classes for balanced weights. A dataset that reshuffles is thereby
        advanced by one iteration; one already looked at is not looked at again. Of a generator, the first 16 batches
        are looked at; of another stream without a known end, the batches of one epoch.

        Weights that were frozen or unfrozen (`layer.trainable`) since the last `fit` are followed without another
        `compile`; the optimizer's and the balancer's state stays.

        Args:
            x: Arrays, or a stream (tf.data, PyDataset, generator) of
                `(x, {task: label})` or `(x, {task: label}, {task: weight})`.
            y: `{task: labels}` or a frame with a column a task.
            batch_size: Of arrays.
            epochs: Last epoch.
            verbose: As in Keras.
            callbacks: A monitor of a task's metric needs no `mode`.
            validation_split: Share of arrays.
            validation_data: A task may be absent.
            shuffle: Whether arrays are shuffled; a stream keeps its own order.
            class_weight: `{task: {class: weight}}` or `{task: "balanced"}`.
            sample_weight: One array for all tasks or `{task: array}`.
            initial_epoch: First epoch.
            steps_per_epoch: Batches an epoch.
            validation_steps: Batches of validation data.
            validation_batch_size: Of arrays.
            validation_freq: Epochs from one validation to the next.
            check: False skips the look, a number limits it to so many batches; values are then checked as they come.

        Returns:
            A `keras.callbacks.History`.

        Raises:
            ValueError: With all offenders, before the first step.
        """
        self.follow_trainable("fit")
        return train(
            self,
            super().fit,
            (x, y, sample_weight),
            batch_size=batch_size,
            epochs=epochs,
            verbose=verbose,
            callbacks=callbacks,
            validation_split=validation_split,
            validation_data=validation_data,
            shuffle=shuffle,
            class_weight=class_weight,
            initial_epoch=initial_epoch,
            steps_per_epoch=steps_per_epoch,
            validation_steps=validation_steps,
            validation_batch_size=validation_batch_size,
            validation_freq=validation_freq,
            check=check,
        )

    @known_keywords
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
        """Evaluates as `keras.Model.evaluate` does, each task over its labels; one without any has NaN.

        Without `return_dict` the values come in the order of `metrics_names`, `loss` first.
        """
        self._compiled_setup("evaluate")
        options = {"batch_size": batch_size, "verbose": verbose, "steps": steps, "callbacks": callbacks, **kwargs}
        with self._evaluation():
            logs = evaluate(self, super().evaluate, (x, y, sample_weight), **options)
        return self.told_logs(logs, return_dict)

    @known_keywords
    def predict(
        self, x: Any, batch_size: Any = None, verbose: Any = "auto", steps: Any = None, callbacks: Any = None
    ) -> Any:
        """Predicts as `keras.Model.predict` does: `{task: outputs}`."""
        loop = {"batch_size": batch_size, "verbose": verbose, "steps": steps, "callbacks": callbacks}
        return predict(self, super().predict, x, **loop)

    @known_keywords
    def train_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, class_weight: Any = None, return_dict: bool = False
    ) -> Any:
        """Runs one step on one batch; a task without labels in it may be absent."""
        self.follow_trainable("train_on_batch")
        given = self.inspection.batch_feed(x, y, sample_weight, "train_on_batch")
        given = given.with_class_weights(class_tables(class_weight, self.tasks, None, "train_on_batch"))
        logs = super().train_on_batch(given.x, given.y, given.sample_weight, return_dict=True)
        return self.told_logs(logs, return_dict)

    @known_keywords
    def test_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False) -> Any:
        """Evaluates one batch; a task without labels in it may be absent."""
        self._compiled_setup("test_on_batch")
        given = self.inspection.batch_feed(x, y, sample_weight, "test_on_batch")
        with self._evaluation():
            logs = super().test_on_batch(given.x, given.y, given.sample_weight, return_dict=True)
        return self.told_logs(logs, return_dict)

    @known_keywords
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
        self.inspection.adapt(data, y, steps)

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
        if name in {"loss", "regularization", *ADDED}:
            return "min"
        joint = {} if self.setup is None else self.setup.joint.by_key
        if name in joint:
            return joint[name].direction(key)
        owners = [task for task in self.tasks if name.startswith(f"{task}_")]
        if not owners:
            fix = near(name, self.metrics_names if self.compiled else self.tasks)
            raise ValueError(refusal("fit", "monitor", "must be `loss`, `delta_m` or a task's metric", key, fix))
        return self.tasks[max(owners, key=len)].direction(key)

    def gramians(
        self, x: Any, y: Any = None, sample_weight: Any = None, *, batches: int = 8, batch_size: int = 32
    ) -> gradients.Gramians:
        """Measures losses and Gramians of the tasks' gradients on some batches; no weight moves.

        It learns the statistics of standardised regressions first, as `fit` does.

        Args:
            x: As in `fit`.
            y: As in `fit`.
            sample_weight: As in `fit`.
            batches: How many batches are looked at, from the first on.
            batch_size: Of arrays.

        Raises:
            ValueError: If the model is not compiled or shares nothing, or the data is not fit for it.
        """
        setup = self._compiled_setup("gramians")
        shared = setup.shared or self.shared_variables
        require(bool(shared), "gramians", "model", "must have trainable weights that tasks share", words("none"))
        given = self.inspection.prepare("gramians", x, y, sample_weight, batches)
        parts = gradients.first_batches(given.x, given.y, given.sample_weight, batch_size, batches)
        return gradients.measure_gramians(self.step.losses, self.step.cut, shared, list(self.tasks), parts)

    # The steps, on a replica, and the functions that run them.

    def train_step(self, data: Any) -> dict[str, Any]:
        """One step: losses, their weights, one update of every weight."""
        with nullcontext() if tf.executing_eagerly() else hold_interrupts():
            self.step(keras.utils.unpack_x_y_sample_weight(data))
            return self.get_metrics_result()

    def test_step(self, data: Any) -> dict[str, Any]:
        """Adds a batch to the losses and metrics; the losses weigh what `loss_weights` says."""
        self.step.evaluate(keras.utils.unpack_x_y_sample_weight(data))
        return self.get_metrics_result()

    def predict_step(self, data: Any) -> Any:
        """Predictions of a batch; a replica that no example is left for gives none."""
        if not is_replicated(self.distribute_strategy):
            return super().predict_step(data)
        return predictions(self, keras.utils.unpack_x_y_sample_weight(data)[0])

    def make_train_function(self, force: bool = False) -> Any:
        """Makes the function that `fit` calls with an iterator, for one execution."""
        if self.train_function is None or force:
            if is_replicated(self.distribute_strategy):
                run = Execution(self, lambda data: self.train_step(data))
            else:
                super().make_train_function(force=True)
                run = self.train_function
            self.train_function = train_function(self, run, lambda: self.progress)
        return self.train_function

    def make_test_function(self, force: bool = False) -> Any:
        """Makes the function that `evaluate` calls with an iterator, for one execution."""
        if self.test_function is None or force:
            super().make_test_function(force=True)
            replicated = is_replicated(self.distribute_strategy)
            run = Execution(self, lambda data: self.test_step(data)) if replicated else self.test_function
            self.test_function = test_function(run)
        return self.test_function

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        """Reads no batch ahead, as Keras does to build what is not built: `compile` builds everything."""
