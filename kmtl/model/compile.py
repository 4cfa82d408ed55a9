"""What `compile` makes of a model that knows its tasks: its setup, its step, its logs."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf

from kmtl import balancers
from kmtl._checks import Refusals, known_keywords, near, refusal, require, whole, words
from kmtl._keras_private import accept_trainable, check_strategy, extend_optimizer, in_scope, loss_tracker
from kmtl._replicas import sum_over_replicas
from kmtl.metrics import without_empty_loss
from kmtl.model.compile_arguments import checked_weights, refuse_overrides, serialized_losses, settings
from kmtl.model.graph import TaskGraph
from kmtl.model.hyperparameters import hyperparameters, task_table
from kmtl.model.joint_arguments import check_route
from kmtl.model.learning_rates import assign_parts, checked_multipliers
from kmtl.model.optimizers import resolved_optimizer
from kmtl.model.setup import Setup, choose_route, warn_of_frozen
from kmtl.model.step import Step


class CompiledGraph(TaskGraph):
    """A model that knows how it is trained; `MultiTaskModel` is fed and run.

    Attributes:
        setup: What `compile` decided; None before.
        step: The step that `fit` takes; None before. A form of training puts its own here: see `kmtl.model.step.Step`.
        balancer: The balancer that `compile` was given; None before.
    """

    # Keras saves both by their public names, `setup` and, in it, `balancer`.
    _setup: Setup | None = None
    _step: Any = None
    optimizer: Any
    _arguments: dict[str, Any]
    _evaluating = False
    # Of the logs that were made last, in their order.
    _keys: Sequence[str] = ()
    train_function: Any
    test_function: Any

    @known_keywords
    @in_scope
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
        joint_losses: Any = None,
        joint_metrics: Any = None,
        balancer: Any = "equal",
        track_conflicts: bool = False,
        on_nonfinite: str = "skip",
        learning_rate_multipliers: Mapping[str, float] | None = None,
    ) -> None:
        """Compiles as `keras.Model.compile` does; what is left out comes from the tasks.

        Args:
            optimizer: As in Keras, or `{"shared": optimizer, task: optimizer}`: one of the weights that tasks share,
                and of the heads of these tasks; a head left out is moved by that of `"shared"`.
            loss: None, one loss for every task, or `{task: loss}`; a task left out keeps its own. Several losses of
                one task: `{task: {name: loss}}`.
            loss_weights: `{task: weight}`; a task left out weighs 1. They can move during
                training: see `set_loss_weights` and `kmtl.callbacks.LossWeightScheduler`. Of several losses of one
                task `{task: {name: weight}}`, which stand.
            metrics: `{task: metrics}`; a task left out keeps its own.
            weighted_metrics: The same, under sample and class weights.
            run_eagerly: As in Keras, as the next three.
            steps_per_execution: Batches an execution.
            jit_compile: Whether XLA compiles the step.
            auto_scale_loss: Whether losses are scaled under mixed_float16.
            joint_losses: A list of `kmtl.JointLoss`, over the outputs of several tasks.
            joint_metrics: A list of `kmtl.JointMetric`.
            balancer: A name of `kmtl.balancers.names()` or a `kmtl.balancers.Balancer`.
            track_conflicts: Whether the logs tell how the tasks' gradients lie to each other:
                `<task>_gradient_norm`, `<task>_<other>_cosine`, `conflicting_pairs` (share),
                `gram_condition`, `<task>_excluded`. Free where the balancer takes the gradients of every
                task anyway; otherwise each step takes them, one pass through the trunk a task.
            on_nonfinite: What happens when a task's loss or gradient is not finite. `"skip"`: the
                task sits out of the step, a step with nothing finite is skipped, and `fit` warns after the epoch.
                `"raise"`: `fit` stops after the step with a `FloatingPointError` that names tasks and step; it looks
                after every execution, so the device waits for the host.
            learning_rate_multipliers: What the optimizer's rate is multiplied by, for what tasks share (`"shared"`), a
                task's head, or a layer; what is named twice moves as its layer says, what is not named at the rate
                itself. Every optimizer's update and weight decay follow; at 0 weights stand still.

        Raises:
            ValueError: With all offenders.
        """
        if not self.tasks:
            fix = "Pass `tasks=[...]`; a clone drops them: adopt it with MultiTaskModel.from_model(clone, tasks)."
            raise ValueError(refusal("compile", "tasks", "must be known", words("a model without tasks"), fix))
        refuse_overrides(type(self), CompiledGraph)
        known = ("skip", "raise")
        fix = near(str(on_nonfinite), known)
        require(on_nonfinite in known, "compile", "on_nonfinite", "must be 'skip' or 'raise'", on_nonfinite, fix)
        whole("compile", "steps_per_execution", steps_per_execution, 1)
        optimizer = resolved_optimizer(self, optimizer)
        checked_multipliers(self, learning_rate_multipliers)
        check_strategy(self.distribute_strategy, optimizer, jit_compile)
        given = {"loss": loss, "loss_weights": loss_weights, "metrics": metrics, "weighted_metrics": weighted_metrics}
        given.update(joint_losses=joint_losses, joint_metrics=joint_metrics)
        compiled = settings(self.tasks, **given)
        chosen = balancers.get(balancer)
        warn_of_frozen(choose_route(self, chosen, track_conflicts=track_conflicts)[0], chosen)
        check_route(self, chosen, compiled.joint_losses)
        flags = {"run_eagerly": run_eagerly, "steps_per_execution": steps_per_execution, "jit_compile": jit_compile}
        super().compile(optimizer=optimizer, auto_scale_loss=auto_scale_loss, **flags)
        own = {"balancer": chosen, "track_conflicts": track_conflicts, "on_nonfinite": on_nonfinite}
        own["learning_rate_multipliers"] = learning_rate_multipliers
        self.attach("_arguments", {**given, **flags, "auto_scale_loss": auto_scale_loss, **own})
        assign_parts(self, self.optimizer, learning_rate_multipliers)
        # Slots that exist can be restored from a weights file; Keras would make them in the first step.
        self.optimizer.build(self.trainable_variables)
        setup = Setup(self, chosen, compiled, track_conflicts=track_conflicts, raises=on_nonfinite == "raise")
        self.attach("_setup", setup)
        self.attach("_step", Step(self, setup))

    def get_compile_config(self) -> dict[str, Any] | None:
        """Returns the arguments of `compile`, the optimizer as it is wrapped now."""
        if not self.compiled:
            return None
        now = {"loss": serialized_losses(self._arguments["loss"]), "optimizer": self.optimizer}
        return keras.saving.serialize_keras_object({**self._arguments, **now})

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles a loaded model; a clone waits for its tasks."""
        if self.tasks:
            self.compile(**keras.saving.deserialize_keras_object(config))

    # What was decided.

    def hyperparameters(self) -> dict[str, Any]:
        """Returns what decides the training, flat, for an experiment tracker.

        Trackers know nothing of loss weights and balancers: `wandb.init(config=model.hyperparameters())`. MLflow's
        callback writes the optimizer's options itself, and refuses a name that is taken: leave out those that begin
        with `optimizer_`.

        Returns:
            Text and numbers by name: `balancer` and its options, `loss_weight_<task>` as they are now, `optimizer`
            and its options.

        Raises:
            ValueError: If the model is not compiled.
        """
        self._compiled_setup("hyperparameters")
        return hyperparameters(self)

    def summary(self, *args: Any, **kwargs: Any) -> None:
        """Prints Keras's summary and the tasks with loss weights and balancer: trackers that keep it keep these too."""
        super().summary(*args, **kwargs)
        if self.tasks:
            (kwargs.get("print_fn") or print)(task_table(self))

    def _compiled_setup(self, owner: str) -> Setup:
        """What `compile` decided; refuses what comes before it."""
        if self._setup is None:
            fix = "Call model.compile(...) first."
            raise ValueError(refusal(owner, "model", "must be compiled", words("an uncompiled one"), fix))
        return self._setup

    @property
    def setup(self) -> Setup | None:
        """What `compile` decided; None before."""
        return self._setup

    @property
    def step(self) -> Any:
        """The step that `fit` takes; None before `compile`."""
        return self._step

    @step.setter
    @in_scope
    def step(self, step: Step) -> None:
        self._compiled_setup("step").track_losses(self, step.extra_names)
        self.attach("_step", step)
        self.train_function = None

    @property
    def balancer(self) -> balancers.Balancer | None:
        """The balancer that `compile` was given; None before."""
        return None if self._setup is None else self._setup.balancer

    @property
    def loss_weights(self) -> dict[str, float]:
        """The static loss weights now, by task name."""
        return self._compiled_setup("loss_weights").loss_weights.as_dict()

    def set_loss_weights(self, weights: Mapping[str, float]) -> None:
        """Changes loss weights without recompiling; a task left out keeps its weight.

        Raises:
            ValueError: If a name is unknown or a weight negative or not finite.
        """
        setup = self._compiled_setup("set_loss_weights")
        with Refusals("set_loss_weights") as refusals:
            checked_weights(refusals, dict.fromkeys(setup.loss_weights.names, 1.0), weights)
        setup.loss_weights.assign(weights)

    @property
    def training_state(self) -> list[Any]:
        """All variables that the next step reads or the logs are made of, in one order; a backup holds them."""
        owners = [self, self.optimizer, self._compiled_setup("training_state"), *self.metrics]
        variables = [*(variable for owner in owners for variable in owner.variables), *self._step.state]
        return list({id(variable): variable for variable in variables}.values())

    @in_scope
    def follow_trainable(self, owner: str) -> None:
        """Follows weights that were frozen or unfrozen since the last step; every training asks for it.

        Nothing of the state is lost: the optimizer keeps what it holds of frozen weights, and begins for new ones.

        Args:
            owner: Who asks, for the messages.
        """
        setup = self._compiled_setup(owner)
        if not setup.is_current(self):
            setup.follow(self)
            self.widen_optimizer(self.trainable_variables)
            accept_trainable(self)
            self.train_function = None

    def widen_optimizer(self, variables: Sequence[Any]) -> None:
        """Lets the optimizer hold state of these variables too; what it holds stays."""
        rates = self._arguments["learning_rate_multipliers"]
        wider = extend_optimizer(self.optimizer, variables, lambda made: assign_parts(self, made, rates))
        if wider is not self.optimizer:
            self.optimizer = wider
        assign_parts(self, wider, rates)

    # The logs.

    @property
    def metrics(self) -> list[Any]:
        """The losses, the tasks' metrics, and any metric of a layer."""
        if self._setup is None:
            return super().metrics
        others = [metric for metric in super().metrics if metric is not loss_tracker(self)]
        return [*self._setup.trackers, *others]

    @property
    def metrics_names(self) -> list[str]:
        """The keys of what `evaluate` returns, in its order; the logs of training also have each `<task>_weight`."""
        hidden = set() if self._setup is None else self._setup.training_keys
        return [key for key in self.get_metrics_result() if key not in hidden]

    def get_metrics_result(self) -> dict[str, Any]:
        """The logs; an evaluation has no weights of its own to report."""
        logs = super().get_metrics_result()
        if self._setup is None:
            return logs
        if self._setup.balancer.needs != "losses":
            logs["solver_failures"] = self._setup.balancer.failures + 0.0
        hidden = self._setup.training_keys if self._evaluating else set()
        logs = {key: value for key, value in logs.items() if key not in hidden}
        self.attach("_keys", list(logs))
        return logs

    def told_logs(self, logs: dict[str, Any], return_dict: bool) -> Any:
        """The logs at their end as Keras returns them: a dict, or values in the order of `metrics_names`."""
        hidden = self._compiled_setup("metrics_names").training_keys
        logs = logs if self._step.extra_names else without_empty_loss(logs, self.tasks)
        return logs if return_dict else [logs[key] for key in self._keys if key not in hidden]

    @contextmanager
    def _evaluation(self) -> Iterator[None]:
        """Leaves out of the logs what an evaluation does not have."""
        self._evaluating = True
        try:
            yield
        finally:
            self._evaluating = False

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """The weighted sum of the tasks' losses and the penalties, without a balancer; this replica's part.

        The step does not call it, so `compile` refuses a subclass that overrides it.
        """
        del x, training
        setup = self._compiled_setup("compute_loss")
        step = Step(self, setup)
        sums, counts, _ = step.sums([group.examples(y, y_pred, sample_weight) for group in setup.groups])
        if setup.joint.losses:
            more = setup.joint.loss_sums(y, y_pred, sample_weight)
            sums, counts = (tf.concat(pair, axis=0) for pair in zip((sums, counts), more, strict=True))
        means = sums / tf.maximum(sum_over_replicas(counts), 1.0)
        return tf.reduce_sum(setup.loss_weights.value * means) + step.penalty()
