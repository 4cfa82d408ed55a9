"""What `compile` decided: one record, of which the state of the training is saved with the model."""

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from kmtl import balancers
from kmtl._checks import refusal, words
from kmtl.joint_terms import JointMetricTracker, JointSums
from kmtl.losses import TaskGroup, group_tasks
from kmtl.metrics import ConflictTracker, TaskLossTracker, TaskMetrics
from kmtl.model.compile_arguments import Settings
from kmtl.model.graph import TaskGraph, usable_cut
from kmtl.model.saved_state import LossWeights, RandomState


class Setup(keras.layers.Layer):
    """What `compile` decided, for the step, the logs and the files.

    Keras saves what it tracks: the state of the balancers, the loss weights and the random generators. The rest is a
    record of what it knows or can make again.

    Args:
        model: The model.
        balancer: What settles conflicts between its tasks.
        compiled: Losses, weights and metrics.
        track_conflicts: Whether the logs tell how the gradients lie to each other.
        raises: Whether `fit` stops at a loss or gradient that is not finite.

    Attributes:
        balancer: The balancer.
        other_balancers: Its copies, one a further fork that balances.
        loss_weights: The static weights of the losses.
        random_state: The random generators.
        route: How a step gets the shared weights' gradient: `"losses"`, `"tracked"`, `"exact"`, `"sliced"`,
            `"online"` or `"features"`.
        shared: Variables that tasks share; none where no gradient of theirs is looked at.
        followed: The trainable variables that all of this was decided for.
        cut: The fork where the trunk ends, if it ends in one place and passes through it are wanted.
        draws: Random generators that a second look at a batch sets back.
        raises: Whether `fit` stops at a loss or gradient that is not finite.
        groups: The tasks, as one loss call serves them.
        joint: The losses and metrics over several outputs.
        names: The losses: the tasks, then the joint losses, those that are balanced first.
        number_balanced: How many of them, from the first on, the balancer sees.
        places: For each group, the places of its tasks in task order; then that of each joint loss.
        order: Places of the tasks among the groups' results; None where that is task order.
        task_losses: The logs of the losses.
        task_metrics: The logs of the metrics.
        joint_metrics: The logs of the metrics over several outputs, or None.
        joint_excluded: Steps that each joint loss beside the balancer sat out, not finite; None without any.
        conflicts: The logs of conflicts, or None.
        training_keys: Log keys that an evaluation does not have.
    """

    balancer: balancers.Balancer
    other_balancers: list[Any]
    groups: list[TaskGroup]
    joint: JointSums
    names: list[str]
    number_balanced: int
    places: list[list[int]]
    order: list[int] | None
    route: str
    shared: list[Any]
    followed: list[Any]
    cut: Any
    task_losses: TaskLossTracker
    task_metrics: TaskMetrics
    joint_metrics: JointMetricTracker | None
    conflicts: ConflictTracker | None
    draws: list[Any]
    raises: bool
    track_conflicts: bool
    training_keys: set[str]

    def __init__(
        self, model: TaskGraph, balancer: balancers.Balancer, compiled: Settings, *, track_conflicts: bool, raises: bool
    ) -> None:
        super().__init__(name="setup", dtype="float32", trainable=False)
        self.balancer = balancer
        self.other_balancers = []
        joint = JointSums(model.tasks, compiled.joint_losses, compiled.joint_metrics)
        names = list(compiled.weights)
        number = len(model.tasks) + len(joint.balanced)
        self._record(raises=raises, track_conflicts=track_conflicts, joint=joint, names=names, number_balanced=number)
        self.joint_excluded = self._excluded(len(names) - number) if len(names) > number else None
        self.follow(model)
        self.loss_weights = LossWeights(compiled.weights)
        self.random_state = RandomState([model, balancer])
        groups = group_tasks(list(model.tasks.values()), compiled.losses, model.scalers)
        order = [[name for group in groups for name in group.names].index(name) for name in model.tasks]
        conflicts = ConflictTracker(names[:number]) if track_conflicts else None
        metrics = [metric.name for metric in joint.metrics]
        self._record(
            groups=groups,
            places=[[names.index(name) for name in group.names] for group in groups]
            + [[place] for place in range(len(model.tasks), len(names))],
            order=None if order == sorted(order) else order,
            task_metrics=TaskMetrics(groups, compiled.reported),
            joint_metrics=JointMetricTracker(metrics) if metrics else None,
            conflicts=conflicts,
            draws=RandomState([model]).states if balancer.looks_again else [],
        )
        self.track_losses(model)
        self.built = True

    def track_losses(self, model: TaskGraph, extra: Sequence[str] = ()) -> None:
        """Makes the logs of the losses.

        Args:
            model: The model.
            extra: Log keys of losses that belong to no task, which an evaluation does not have.
        """
        names = self.names
        conflicts = [] if self.conflicts is None else self.conflicts.keys()
        parts = [(group.names[0], part) for group in self.groups for part in group.parts]
        self._record(
            task_losses=TaskLossTracker(
                names, regularized=bool(model.losses), extra=extra, parts=parts, tasks=len(model.tasks)
            ),
            training_keys={f"{name}_weight" for name in names} | {"solver_failures"} | set(conflicts) | set(extra),
        )

    def _excluded(self, count: int) -> Any:
        """Counts the steps that losses beside the balancer sit out; the same on every replica."""
        options = {"initializer": "zeros", "trainable": False, "aggregation": "only_first_replica"}
        return self.add_weight(shape=(count,), name="joint_excluded", **options)

    def _record(self, **decided: Any) -> None:
        """Keeps what Keras must not take for this layer's own."""
        self.__dict__.update(decided)

    def follow(self, model: TaskGraph) -> None:
        """Follows the model's trainable weights: which are shared, how they get their gradient, where the trunk ends.

        Raises:
            ValueError: If the balancer needs gradients of shared weights and none is left, or remembers those of
                others.
        """
        route, shared = choose_route(model, self.balancer, track_conflicts=self.track_conflicts)
        cut = usable_cut(model, shared) if route in ("exact", "sliced", "online", "tracked") else None
        size = sum(math.prod(variable.shape) for variable in shared)
        self.balancer.prepare([*model.tasks.values(), *self.joint.balanced], size=size or None)
        self._record(route=route, shared=shared, cut=cut, followed=list(model.trainable_variables))
        for fork in model.forks:
            fork.attach(None, cuts=fork is cut)
        if route == "features":
            self._attach_forks(model)

    def is_current(self, model: TaskGraph) -> bool:
        """Whether the model's trainable weights are those that it was made for."""
        return [id(item) for item in self.followed] == [id(item) for item in model.trainable_variables]

    def _attach_forks(self, model: TaskGraph) -> None:
        """Lets every fork balance; the first that serves all tasks by the given balancer, the others by copies."""
        free, copies = True, iter(list(self.other_balancers))
        others: list[Any] = []
        for fork in model.forks:
            served = [task for name, task in model.tasks.items() if name in fork.names]
            first = free and len(served) == len(model.tasks)
            own = self.balancer if first else next(copies, None)
            own = own or type(self.balancer).from_config(self.balancer.get_config())
            free = free and not first
            own.prepare(served)
            fork.attach(own, order=[fork.names.index(task.name) for task in served])
            others.extend([] if first else [own])
        self.other_balancers = others

    @property
    def joint_keys(self) -> set[str]:
        """Log keys of an evaluation that belong to joint losses and metrics, or to one of several losses of a task."""
        parts = [f"{group.names[0]}_{part}_loss" for group in self.groups for part in group.parts]
        return {*parts, *self.joint.by_key}

    def load_own_variables(self, store: Mapping[str, Any]) -> None:
        """Restores the counts; a file that holds none, as of plain Keras weights, leaves them as they are."""
        if store.keys():
            super().load_own_variables(store)

    @property
    def trackers(self) -> list[Any]:
        """The metrics that the logs are made of."""
        further = [self.joint_metrics, self.conflicts]
        return [self.task_losses, self.task_metrics, *(tracker for tracker in further if tracker is not None)]


def choose_route(model: TaskGraph, balancer: balancers.Balancer, *, track_conflicts: bool) -> tuple[str, list[Any]]:
    """Tells how a step gets its gradients, and the shared variables that it needs for it.

    While all that tasks share is frozen, the sum of the losses moves the heads as any method would: it weighs the
    trunk's gradient alone.

    Raises:
        ValueError: If the balancer needs gradients of shared weights and there are none, or forks and there are none.
    """
    by_losses = balancer.needs == "losses"
    shared = [] if by_losses and not track_conflicts else model.shared_variables
    if by_losses:
        return ("tracked" if shared else "losses"), shared
    if len(model.tasks) > 1 and not shared:
        frozen = model.shares_weights
        # Which gradients a memory is of must be known before it is made.
        if frozen and (balancer.needs == "gram" or balancer.built):
            return "losses", shared
        way = "Freeze it after compile" if frozen else "Let the heads start from one trunk"
        fix = f"{way}, or use balancer='equal'."
        rule = f"needs {balancer.needs} of trainable weights that tasks share"
        raise ValueError(refusal("compile", "balancer", rule, words("a model with none"), fix))
    if not shared:
        return "exact", shared
    if balancer.level == "features":
        _check_forks(model)
        return "features", shared
    return ("online" if balancer.solve == "online" else "sliced" if balancer.gram_fraction < 1 else "exact"), shared


def warn_of_frozen(route: str, balancer: balancers.Balancer) -> None:
    """Tells that a balancer of gradients has nothing to weigh; `compile` asks."""
    if route == "losses" and balancer.needs != "losses":
        text = "compile: all that tasks share is frozen: the balancer weighs nothing until some of it is trainable."
        warnings.warn(text, UserWarning, stacklevel=4)


def _check_forks(model: TaskGraph) -> None:
    """Refuses feature level where no fork hands out the features."""
    if not any(len(fork.names) > 1 for fork in model.forks):
        fix = "Build the model by MultiTaskModel.from_features, or put a kmtl.sharing.Fork behind the trunk."
        rule = "of level='features' needs a fork of the features"
        raise ValueError(refusal("compile", "balancer", rule, words("a model without one"), fix))
    products = [name for name, task in model.tasks.items() if task.product_of]
    if products:
        rule = "of level='features' needs tasks that take features of their own"
        fix = "The gradient of a product comes by the features of its factors: use level='parameters'."
        raise ValueError(refusal("compile", "balancer", rule, words(f"{products}, products of heads"), fix))
