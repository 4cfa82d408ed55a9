"""The model: a functional `keras.Model` with one named output a task."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from kmtl import balancers, gradients
from kmtl._checks import Refusals, refusal, words
from kmtl.compiling import checked_weights, serialized_losses, settings
from kmtl.fitting import FedModel
from kmtl.losses import Examples, group_tasks
from kmtl.metrics import Reported, TaskLossTracker, TaskMetrics, reported
from kmtl.state import LossWeights, RandomState


@keras.saving.register_keras_serializable(package="kmtl")
class MultiTaskModel(FedModel):
    """One Keras model that is trained on many tasks.

    It is used as any functional Keras model is: `compile`, `fit`, `evaluate`,
    `predict`, `save`, `keras.saving.load_model`, callbacks. What is new:
    labels may be missing; losses and metrics come from the tasks where
    `compile` is given none; `class_weight` works by task; loss weights may
    move; a balancer settles conflicts between the tasks.

    Args:
        *args: Inputs and a dict of outputs keyed by task name, as for `keras.Model`.
        tasks: The tasks; their order is the order of everything that has one.
        **kwargs: As for `keras.Model`.

    Raises:
        ValueError: If outputs and tasks do not match, or a name is used twice.

    Attributes:
        tasks: The tasks by name, in order.
        balancer: The balancer that `compile` was given.

    >>> from kmtl.tasks import Classification, Regression
    >>> image = keras.Input((8,), name="image")
    >>> features = keras.layers.Dense(16, activation="relu")(image)
    >>> model = MultiTaskModel.from_features(image, features, [Classification("digit", 10), Regression("angle")])
    >>> {name: output.shape for name, output in model.output.items()}
    {'digit': (None, 10), 'angle': (None, 1)}
    """

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: Any = "auto",
        auto_scale_loss: bool = True,
        *,
        balancer: Any = "equal",
    ) -> None:
        """Compiles as `keras.Model.compile` does; what is left out comes from the tasks.

        Args:
            optimizer: As in Keras.
            loss: None, one loss for every task, or `{task: loss}`; a task left out keeps its own.
            loss_weights: `{task: weight}`; a task left out weighs 1. They can move during
                training: see `set_loss_weights` and `kmtl.callbacks.LossWeightScheduler`.
            metrics: `{task: metrics}`; a task left out keeps its own.
            weighted_metrics: The same, under sample and class weights.
            run_eagerly: As in Keras.
            steps_per_execution: As in Keras.
            jit_compile: As in Keras.
            auto_scale_loss: As in Keras.
            balancer: A name of `kmtl.balancers.names()` or a `kmtl.balancers.Balancer`.

        Raises:
            ValueError: With all offenders.
        """
        if not self.tasks:
            fix = "Pass `tasks=[...]`; a clone drops them: adopt it with MultiTaskModel.from_model(clone, tasks)."
            raise ValueError(refusal("compile", "tasks", "must be known", words("a model without tasks"), fix))
        compiled = settings(self.tasks, loss, loss_weights, metrics, weighted_metrics)
        rows = reported(list(self.tasks.values()), compiled.metrics, compiled.weighted_metrics)
        chosen = balancers.get(balancer)
        self._check_shared(chosen)
        super().compile(
            optimizer=optimizer,
            run_eagerly=run_eagerly,
            steps_per_execution=steps_per_execution,
            jit_compile=jit_compile,
            auto_scale_loss=auto_scale_loss,
        )
        # Slots that exist can be restored from a weights file; Keras would make them in the first step.
        self.optimizer.build(self.trainable_variables)
        chosen.prepare(list(self.tasks.values()))
        self._attach("balancer", chosen)
        self._attach("_loss_weights", LossWeights(compiled.weights))
        self._attach("_random_state", RandomState([self, chosen]))
        self._build_trackers(compiled.losses, rows)
        given = {"loss": loss, "loss_weights": loss_weights, "metrics": metrics, "weighted_metrics": weighted_metrics}
        flags = {"run_eagerly": run_eagerly, "steps_per_execution": steps_per_execution, "jit_compile": jit_compile}
        flags["auto_scale_loss"] = auto_scale_loss
        self._attach("_compile_arguments", {**given, **flags, "balancer": chosen})

    def _check_shared(self, balancer: balancers.Balancer) -> None:
        """Refuses a balancer of gradients where there are none to share."""
        self._attach("_shared", [] if balancer.needs == "losses" else self.shared_variables)
        if balancer.needs != "losses" and len(self.tasks) > 1 and not self._shared:
            fix = "Unfreeze the trunk, or use balancer='equal'."
            rule = f"needs {balancer.needs} of trainable weights that tasks share"
            raise ValueError(refusal("compile", "balancer", rule, words("a model with none"), fix))

    def _build_trackers(self, losses: Mapping[str, Any], rows: Sequence[Reported]) -> None:
        """Makes the losses and the metrics; all state exists before the first step."""
        groups = group_tasks(list(self.tasks.values()), losses, self.scalers)
        names = [name for group in groups for name in group.names]
        order = [names.index(name) for name in self.tasks]
        self._attach("_groups", groups)
        self._attach("_order", None if order == sorted(order) else order)
        self._attach("_task_losses", TaskLossTracker(list(self.tasks), regularized=bool(self.losses)))
        self._attach("_task_metrics", TaskMetrics(groups, rows))
        self._attach("_task_weight_keys", {f"{name}_weight" for name in self.tasks})

    def get_compile_config(self) -> dict[str, Any] | None:
        """Returns the arguments of `compile`, the optimizer as it is wrapped now."""
        if not self.compiled:
            return None
        loss = serialized_losses(self._compile_arguments["loss"])
        now = {"loss": loss, "optimizer": self.optimizer}
        return keras.saving.serialize_keras_object({**self._compile_arguments, **now})

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles a loaded model; a clone waits for its tasks."""
        if self.tasks:
            self.compile(**keras.saving.deserialize_keras_object(config))

    @property
    def loss_weights(self) -> dict[str, float]:
        """The static loss weights now, by task name."""
        self._assert_ready("loss_weights")
        return self._loss_weights.as_dict()

    def set_loss_weights(self, weights: Mapping[str, float]) -> None:
        """Changes loss weights without recompiling; a task left out keeps its weight.

        Raises:
            ValueError: If a name is unknown or a weight negative or not finite.
        """
        self._assert_ready("set_loss_weights")
        with Refusals("set_loss_weights") as refusals:
            checked_weights(refusals, self.tasks, weights)
        self._loss_weights.assign(weights)

    # The step.

    def train_step(self, data: Any) -> dict[str, Any]:
        """One step: losses, their weights, one update of every weight."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        by_losses = self.balancer.needs == "losses"
        scale = self.optimizer.scale_loss(tf.ones(()))
        with tf.GradientTape(persistent=not by_losses) as tape:
            examples = self._examples(y, self(x, training=True), sample_weight)
            sums, counts = self._sums(examples)
            losses, present = self._means(sums, counts)
            weights = self._loss_weights.value
            if by_losses:
                known = gradients.sum_over_replicas(tf.stop_gradient(weights * losses))
                weights = weights * self.balancer.weigh(losses=known, present=present)
            parts = tf.unstack(scale * weights * losses)
            penalty = self._penalty()
            scaled_penalty = scale * penalty
            target = tf.add_n(parts) + scaled_penalty
        if by_losses:
            updates = tape.gradient(target, [variable.value for variable in self.trainable_variables])
        else:
            variables = self.trainable_variables, self._shared
            updates, balance = gradients.balanced(
                tape, parts, target, scaled_penalty, variables, self.balancer, scale=scale, present=present
            )
            weights = weights * balance
        self.optimizer.apply(updates, self.trainable_variables)
        self._task_losses.update_state(sums, counts, weights, penalty)
        self._task_metrics.update_state(examples)
        return self.get_metrics_result()

    def test_step(self, data: Any) -> dict[str, Any]:
        """Adds a batch to the losses and metrics; the losses weigh what `loss_weights` says."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        examples = self._examples(y, self(x, training=False), sample_weight)
        sums, counts = self._sums(examples)
        self._task_losses.update_state(sums, counts, self._loss_weights.value, self._penalty())
        self._task_metrics.update_state(examples)
        return self.get_metrics_result()

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """The weighted sum of the tasks' losses and the penalties, without a balancer."""
        del x, training
        losses, _ = self._means(*self._sums(self._examples(y, y_pred, sample_weight)))
        return tf.reduce_sum(self._loss_weights.value * losses) + self._penalty()

    def _examples(self, labels: Any, predictions: Any, weights: Any) -> list[Examples]:
        """What each group of tasks looks at."""
        return [group.examples(labels, predictions, weights) for group in self._groups]

    def _sums(self, examples: Sequence[Examples]) -> tuple[Any, Any]:
        """Summed losses and counts of labelled examples, `(K,)` each, in task order."""
        parts = [group.sums(seen) for group, seen in zip(self._groups, examples, strict=True)]
        sums, counts = (tf.concat(part, axis=0) for part in zip(*parts, strict=True))
        if self._order is None:
            return sums, counts
        return tf.gather(sums, self._order), tf.gather(counts, self._order)

    def _means(self, sums: Any, counts: Any) -> tuple[Any, Any]:
        """This replica's part of each task's mean over the global batch, and which tasks are there, `(K,)` each."""
        totals = gradients.sum_over_replicas(counts)
        # A task of weight 0 is as good as absent: its zero row would stop methods that seek a common descent.
        present = (totals > 0) & (self._loss_weights.value > 0)
        # The optimizer adds the replicas' parts up.
        return sums / tf.maximum(totals, 1.0), present

    def _penalty(self) -> Any:
        """Penalties and added losses: this replica's part."""
        # Losses that layers add show in a call, not before.
        self._task_losses.regularized = self._task_losses.regularized or bool(self.losses)
        total = tf.add_n([tf.cast(loss, tf.float32) for loss in self.losses]) if self.losses else tf.zeros(())
        return total / tf.distribute.get_strategy().num_replicas_in_sync

    # The logs.

    @property
    def metrics(self) -> list[Any]:
        """The losses, the tasks' metrics, and any metric of a layer."""
        if not self.compiled:
            return super().metrics
        others = [metric for metric in super().metrics if metric is not self._loss_tracker]
        return [self._task_losses, self._task_metrics, *others]

    @property
    def metrics_names(self) -> list[str]:
        """The keys of what `evaluate` returns, in its order; the logs of training also have each `<task>_weight`."""
        keys = self.get_metrics_result()
        return [key for key in keys if not self.compiled or key not in self._task_weight_keys]

    def get_metrics_result(self) -> dict[str, Any]:
        """The logs; an evaluation has no weights of its own to report."""
        logs = super().get_metrics_result()
        return {key: value for key, value in logs.items() if not self._evaluating or key not in self._task_weight_keys}
