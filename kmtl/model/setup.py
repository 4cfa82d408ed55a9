"""What `compile` makes of its arguments, and the logs that follow from it."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from kmtl import balancers
from kmtl._checks import Refusals, near, refusal, require, words
from kmtl._keras_private import check_strategy, in_scope, loss_tracker
from kmtl.losses import group_tasks
from kmtl.metrics import ConflictTracker, Reported, TaskLossTracker, TaskMetrics, reported
from kmtl.model.compile_arguments import checked_weights, serialized_losses, settings
from kmtl.model.fit import FedModel
from kmtl.model.graph import usable_cut
from kmtl.model.saved_state import LossWeights, RandomState

ON_NONFINITE = ("skip", "raise")


class CompiledModel(FedModel):
    """A model that knows how it is trained; `MultiTaskModel` is the one to use."""

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
        balancer: Any = "equal",
        track_conflicts: bool = False,
        on_nonfinite: str = "skip",
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
            track_conflicts: Whether the logs tell how the tasks' gradients lie to each other:
                `<task>_gradient_norm`, `<task>_<other>_cosine`, `conflicting_pairs` (share),
                `gram_condition`, `<task>_excluded`. Free where the balancer takes the gradients of every
                task anyway; otherwise each step takes them, one pass through the trunk a task.
            on_nonfinite: What happens when a task's loss or gradient is not finite. `"skip"`: the
                task sits out of the step, a step with nothing finite is skipped, and `fit` warns after the epoch.
                `"raise"`: `fit` stops after the step with a `FloatingPointError` that names tasks and step; it looks
                after every execution, so the device waits for the host.

        Raises:
            ValueError: With all offenders.
        """
        if not self.tasks:
            fix = "Pass `tasks=[...]`; a clone drops them: adopt it with MultiTaskModel.from_model(clone, tasks)."
            raise ValueError(refusal("compile", "tasks", "must be known", words("a model without tasks"), fix))
        fix = near(str(on_nonfinite), ON_NONFINITE)
        require(on_nonfinite in ON_NONFINITE, "compile", "on_nonfinite", "must be 'skip' or 'raise'", on_nonfinite, fix)
        check_strategy(self.distribute_strategy, optimizer, jit_compile)
        compiled = settings(self.tasks, loss, loss_weights, metrics, weighted_metrics)
        rows = reported(list(self.tasks.values()), compiled.metrics, compiled.weighted_metrics)
        chosen = balancers.get(balancer)
        route = self._choose_route(chosen, track_conflicts)
        super().compile(
            optimizer=optimizer,
            run_eagerly=run_eagerly,
            steps_per_execution=steps_per_execution,
            jit_compile=jit_compile,
            auto_scale_loss=auto_scale_loss,
        )
        # Slots that exist can be restored from a weights file; Keras would make them in the first step.
        self.optimizer.build(self.trainable_variables)
        self._prepare_balancers(chosen, route)
        self._attach("_route", route)
        self._attach("balancer", chosen)
        self._attach("_loss_weights", LossWeights(compiled.weights))
        self._attach("_random_state", RandomState([self, chosen]))
        self._attach("_draws", RandomState([self]).states if chosen.looks_again else [])
        self._attach("_is_scaled", isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer))
        self._attach("_conflicts", ConflictTracker(list(self.tasks)) if track_conflicts else None)
        self._build_trackers(compiled.losses, rows)
        given = {"loss": loss, "loss_weights": loss_weights, "metrics": metrics, "weighted_metrics": weighted_metrics}
        flags = {"run_eagerly": run_eagerly, "steps_per_execution": steps_per_execution, "jit_compile": jit_compile}
        flags.update(auto_scale_loss=auto_scale_loss, track_conflicts=track_conflicts, on_nonfinite=on_nonfinite)
        self._attach("_raises", on_nonfinite == "raise")
        self._attach("_compile_arguments", {**given, **flags, "balancer": chosen})

    def _choose_route(self, balancer: balancers.Balancer, track_conflicts: bool) -> str:
        """Tells how a step gets its gradients; refuses a balancer of gradients where there are none to share."""
        by_losses = balancer.needs == "losses"
        self._attach("_shared", [] if by_losses and not track_conflicts else self.shared_variables)
        if not by_losses and len(self.tasks) > 1 and not self._shared:
            fix = "Unfreeze the trunk, or use balancer='equal'."
            rule = f"needs {balancer.needs} of trainable weights that tasks share"
            raise ValueError(refusal("compile", "balancer", rule, words("a model with none"), fix))
        if by_losses:
            return "tracked" if track_conflicts and self._shared else "losses"
        if not self._shared:
            return "exact"
        if balancer.level == "features":
            self._check_forks()
            return "features"
        return "online" if balancer.solve == "online" else "sliced" if balancer.gram_fraction < 1 else "exact"

    def _check_forks(self) -> None:
        """Refuses feature level where no fork hands out the features."""
        if not any(len(fork.names) > 1 for fork in self.forks):
            fix = "Build the model by MultiTaskModel.from_features, or put a kmtl.sharing.Fork behind the trunk."
            rule = "of level='features' needs a fork of the features"
            raise ValueError(refusal("compile", "balancer", rule, words("a model without one"), fix))

    def _prepare_balancers(self, balancer: balancers.Balancer, route: str) -> None:
        """Makes the balancer's state and gives the forks their work."""
        cut = usable_cut(self, self._shared) if route in ("exact", "sliced", "online", "tracked") else None
        self._attach("_cut", cut)
        size = sum(math.prod(variable.shape) for variable in self._shared)
        balancer.prepare(list(self.tasks.values()), size=size or None)
        self._attach("_other_balancers", [])
        for fork in self.forks:
            fork.attach(None, cuts=fork is cut)
        if route == "features":
            self._attach_forks(balancer)

    def _attach_forks(self, balancer: balancers.Balancer) -> None:
        """Lets every fork balance; the first that serves all tasks by the given balancer, the others by copies."""
        free = True
        for fork in self.forks:
            served = [task for name, task in self.tasks.items() if name in fork.names]
            first = free and len(served) == len(self.tasks)
            own = balancer if first else type(balancer).from_config(balancer.get_config())
            free = free and not first
            own.prepare(served)
            fork.attach(own, order=[fork.names.index(task.name) for task in served])
            self._other_balancers.extend([] if first else [own])

    def _build_trackers(self, losses: Mapping[str, Any], rows: Sequence[Reported]) -> None:
        """Makes the losses and the metrics; all state exists before the first step."""
        groups = group_tasks(list(self.tasks.values()), losses, self.scalers)
        names = [name for group in groups for name in group.names]
        order = [names.index(name) for name in self.tasks]
        self._attach("_groups", groups)
        place = {name: index for index, name in enumerate(self.tasks)}
        self._attach("_places", [[place[name] for name in group.names] for group in groups])
        self._attach("_order", None if order == sorted(order) else order)
        self._attach("_task_losses", TaskLossTracker(list(self.tasks), regularized=bool(self.losses)))
        self._attach("_task_metrics", TaskMetrics(groups, rows))
        own = {f"{name}_weight" for name in self.tasks} | {"solver_failures"}
        self._attach("_training_keys", own | set(self._conflicts.keys() if self._conflicts else ()))

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

    @property
    def training_state(self) -> list[Any]:
        """All variables that the next step reads or the logs are made of, in one order; a backup holds them."""
        self._assert_ready("training_state")
        owners = [self, self.optimizer, self.balancer, *self._other_balancers, self._loss_weights, *self.metrics]
        found = [variable for owner in owners for variable in owner.variables]
        return list({id(variable): variable for variable in found}.values())

    # The logs.

    @property
    def metrics(self) -> list[Any]:
        """The losses, the tasks' metrics, and any metric of a layer."""
        if not self.compiled:
            return super().metrics
        others = [metric for metric in super().metrics if metric is not loss_tracker(self)]
        tracked = [] if self._conflicts is None else [self._conflicts]
        return [self._task_losses, self._task_metrics, *tracked, *others]

    @property
    def metrics_names(self) -> list[str]:
        """The keys of what `evaluate` returns, in its order; the logs of training also have each `<task>_weight`."""
        keys = self.get_metrics_result()
        return [key for key in keys if not self.compiled or key not in self._training_keys]

    def get_metrics_result(self) -> dict[str, Any]:
        """The logs; an evaluation has no weights of its own to report."""
        logs = super().get_metrics_result()
        if self.compiled and self.balancer.needs != "losses":
            logs["solver_failures"] = self.balancer.failures + 0.0
        return {key: value for key, value in logs.items() if not self._evaluating or key not in self._training_keys}
