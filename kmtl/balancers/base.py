"""The contract of a balancer."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from keras import ops

from kmtl._checks import is_number, near, require, whole
from kmtl._types import Logs, Tensor, Variable
from kmtl.balancers.method_options import Told, refuse_unknown
from kmtl.balancers.normalizing import InitialLosses, check_normalize, divide_signals, divisors
from kmtl.balancers.signals import Signals, finite_tasks, rescale

NEEDS = ("losses", "gram", "gradients")
SCALES = ("sum", "paper")


class Balancer(Told):
    """Turns what it needs of the tasks into one weight a task.

    A balancer's mathematics is a pure function of arrays; the object keeps
    state in Keras variables and nothing else, so that it is saved, restored
    and distributed like any layer. Its variables are not the model's: no
    optimizer trains them, no exported model carries them.

    A subclass names its `needs`, and implements `task_weights` (for `"losses"` and
    `"gram"`) or `transform` (for `"gradients"`). A task that sits out (no label in
    the batch, a loss or gradient that is not finite, a gradient of zero where
    gradients are needed) gets weight 0, and its state must stand still.
    Weights that are not finite are a failure: the last good ones are kept, and `failures` counts it.

    Args:
        scale: `"sum"` rescales the weights of the tasks present so that their
            absolute values sum to their number, as plain Keras's sum of losses
            does; `"paper"` leaves the length that the method's own formula gives.
        smoothing: Share of the last weights that is kept, in [0, 1): an
            exponential moving average over the weights (Zhou et al., "On the
            Convergence of Stochastic Multi-Objective Gradient Manipulation and
            Beyond", NeurIPS 2022).
        update_every: Weights come from every n-th step and are kept in between,
            where one backward pass does.
        normalize: None, or what each task's loss and gradient are divided by before the
            method sees them: `"initial"`, the task's mean loss over its first 20
            steps; with gradients also `"l2"`, their length, `"loss"`, the loss now, and
            `"loss+"`, both (Sener and Koltun, "Multi-Task Learning as
            Multi-Objective Optimization", NeurIPS 2018).
        name: Keras name.
        **unknown: Refused by name.

    Raises:
        ValueError: If an option has a value that it cannot have.
        TypeError: If the method does not take an option.

    >>> class HardestFirst(Balancer):
    ...     def task_weights(self, signals):
    ...         return ops.cast(signals.losses >= ops.max(signals.losses), "float32")
    >>> ops.convert_to_numpy(HardestFirst().weigh(losses=ops.array([1.0, 3.0]))).tolist()
    [0.0, 2.0]
    """

    needs: ClassVar[str] = "losses"
    #: Whether `after_update` wants the losses of the same batch after the step.
    looks_again: ClassVar[bool] = False
    # How gradients are taken; methods that need them may have options for it.
    level = "parameters"
    solve = "exact"
    gram_fraction = 1.0
    built: bool

    def __init__(
        self,
        *,
        scale: str = "sum",
        smoothing: float = 0.0,
        update_every: int = 1,
        normalize: str | None = None,
        name: str | None = None,
        **unknown: Any,
    ) -> None:
        super().__init__(name=name or vars(type(self)).get("key"), dtype="float32", trainable=False)
        refuse_unknown(type(self), unknown)
        owner = type(self).__name__
        require(scale in SCALES, owner, "scale", "must be 'sum' or 'paper'", scale, near(str(scale), SCALES))
        in_range = is_number(smoothing) and 0 <= smoothing < 1
        require(in_range, owner, "smoothing", "must be at least 0 and below 1", smoothing)
        rule = "must name what the balancer needs"
        require(self.needs in NEEDS, owner, "needs", rule, self.needs, near(str(self.needs), NEEDS))
        self.scale = scale
        self.smoothing = float(smoothing)
        self.update_every = whole(owner, "update_every", update_every, 1)
        check_normalize(owner, normalize, self.needs)
        self.normalize = normalize
        self.tasks: list[Any] = []

    # State.

    def prepare(self, tasks: Sequence[Any], size: int | None = None) -> None:
        """Makes the state for these tasks; `compile` calls it once.

        Args:
            tasks: The model's tasks, in order.
            size: Number of shared weights, for a method that remembers gradients.

        Raises:
            ValueError: If it holds the state of another number of tasks.
        """
        known = len(self.tasks) or len(tasks)
        fix = "Make a new one: its state belongs to the tasks that it has seen."
        require(len(tasks) == known, type(self).__name__, "tasks", f"must be {known} again", len(tasks), fix)
        self.tasks = list(tasks)
        self._build_once((len(self.tasks),) if size is None else (len(self.tasks), size))

    def _build_once(self, shape: tuple[int, ...]) -> None:
        """Makes the state that every balancer has, and the method's own."""
        if not self.built:
            count = shape[0]
            self.last = self.state((count,), "ones", "last_weights")
            self.seen = self.state((count,), "zeros", "seen")
            self.excluded = self.state((count,), "zeros", "excluded")
            self.failures = self.state((), "zeros", "failures")
            self.step = self.state((), "zeros", "step")
            self.skipped = self.state((), "zeros", "skipped")
            self.initial = InitialLosses(self, count) if self.normalize == "initial" else None
            self.build(shape)
            self.built = True

    def build(self, input_shape: tuple[int, ...]) -> None:
        """Makes the method's own state for `input_shape[0]` tasks; one without state has none to make."""

    def build_from_config(self, config: Mapping[str, Any]) -> None:
        """Makes all of the state for a file to be loaded into."""
        self._build_once(tuple(config["input_shape"]))

    def state(self, shape: tuple[int, ...], initializer: str, name: str) -> Variable:
        """Makes one variable, the same on every replica."""
        return self.add_weight(
            shape=shape, initializer=initializer, trainable=False, name=name, aggregation="only_first_replica"
        )

    def move(self, variable: Variable, value: Tensor, present: Tensor) -> None:
        """Assigns a state `(K, ...)` where tasks are present; that of the others stands still."""
        mask = ops.reshape(present, (-1, *[1] * (len(variable.shape) - 1)))
        variable.assign(ops.where(mask, value, variable))

    # Weights.

    def weigh(
        self, losses: Tensor = None, gram: Tensor = None, present: Tensor = None, counts: Tensor = None
    ) -> Tensor:
        """Returns one weight a task and moves the state on.

        Args:
            losses: Loss of each task, `(K,)`, float32, unscaled.
            gram: Inner products of the tasks' gradients, `(K, K)`, float32, unscaled.
            present: Booleans `(K,)`, False for a task without a label in the batch.
            counts: Labelled examples of each task in the batch, `(K,)`.

        Returns:
            Weights `(K,)`, at least 0 for most methods; 0 where a task sits out.
        """
        like = losses if losses is not None else ops.diagonal(gram)
        self._build_once((like.shape[0],))
        present = ops.ones_like(like, dtype="bool") if present is None else present
        healthy = self._admit(finite_tasks(losses, gram, present), present)
        signals = Signals(present, losses, gram, counts)
        if gram is not None:
            # A row of zeros, as of a task that pulls nowhere, would make some solvers stop for every task.
            healthy = healthy & ops.not_equal(ops.diagonal(gram), 0.0)
        signals = signals.only(healthy)
        by = self._divisors(signals)
        return self._settle(self.task_weights(divide_signals(signals, by)) / by, signals)

    def _divisors(self, signals: Signals) -> Tensor:
        """What each task's loss and gradient are divided by, `(K,)`."""
        return divisors(self.normalize, signals, self.initial, type(self).__name__)

    def _admit(self, healthy: Tensor, present: Tensor) -> Tensor:
        """Counts the tasks that have a label but no finite loss or gradient; returns the others."""
        self.excluded.assign_add(ops.cast(present & ~healthy, "float32"))
        return present & healthy

    def _settle(self, weights: Tensor, signals: Signals) -> Tensor:
        """Replaces what failed, rescales, smooths and remembers."""
        present = signals.present
        weights = ops.where(present, weights, 0.0)
        failed = ~ops.all(ops.isfinite(weights))
        self.failures.assign_add(ops.cast(failed, "float32"))
        weights = ops.where(failed, ops.where(present, self.last, 0.0), weights)
        weights = self._rescale(weights, signals)
        if self.smoothing:
            mixed = self.smoothing * self.last + (1.0 - self.smoothing) * weights
            weights = self._rescale(ops.where(present & (self.seen > 0), mixed, weights), signals)
        self.move(self.last, weights, present)
        self.move(self.seen, ops.ones_like(weights), present)
        self.step.assign_add(1.0)
        return weights

    def _rescale(self, weights: Tensor, signals: Signals) -> Tensor:
        """Weights of the length that `scale` asks for."""
        return rescale(weights, signals.number) if self.scale == "sum" else weights

    @property
    def due(self) -> Tensor:
        """Whether this step makes new weights, a boolean scalar."""
        return ops.equal(ops.mod(self.step, float(self.update_every)), 0.0)

    def keep(self, losses: Tensor, present: Tensor) -> Tensor:
        """Returns the weights of the last step that made some, for a step that is not due."""
        healthy = self._admit(finite_tasks(losses, None, present), present)
        self.step.assign_add(1.0)
        return self._rescale(ops.where(healthy, self.last, 0.0), Signals(healthy))

    def fill_in(self, weights: Tensor, missing: Tensor) -> Tensor:
        """Weights with the last good ones for tasks that are present but had no say in this step, `(K,)`."""
        present = missing | ops.not_equal(weights, 0.0)
        return self._rescale(ops.where(missing, self.last, weights), Signals(present))

    def task_weights(self, signals: Signals) -> Tensor:
        """The method itself: weights `(K,)` from what it needs; NaN where it has no answer."""
        del signals
        raise NotImplementedError(f"{type(self).__name__} has no `task_weights`: its `needs` is {self.needs!r}.")

    # Directions.

    def combine(self, gradients: Tensor, losses: Tensor = None, present: Tensor = None) -> Tensor:
        """Combines the tasks' gradients into one direction.

        Args:
            gradients: `(K, P)`, float32, unscaled.
            losses: Loss of each task, `(K,)`.
            present: Booleans `(K,)`, False for a task without a label in the batch.

        Returns:
            The direction, `(P,)`.
        """
        if self.needs == "losses":
            raise NotImplementedError(f"{type(self).__name__} has no `combine`: its `needs` is {self.needs!r}.")
        present = ops.ones_like(gradients[:, 0], dtype="bool") if present is None else present
        squares = ops.sum(ops.square(gradients), axis=1)
        sound = present & ops.isfinite(squares)
        masked = ops.where(sound[:, None], gradients, ops.zeros_like(gradients))
        if self.needs == "gram":
            gram = ops.matmul(masked, ops.transpose(masked))
            # What is not finite is counted, so it must be seen.
            gram = ops.where(ops.eye(gram.shape[0]) > 0, squares[:, None], gram)
            return ops.matmul(self.weigh(losses=losses, gram=gram, present=present), masked)
        self._build_once(tuple(gradients.shape))
        healthy = self._admit(sound & finite_tasks(losses, None, present), present) & (squares > 0)
        # The lengths are all that a normaliser asks of the Gramian.
        by = self._divisors(Signals(present, losses, ops.diag(squares)).only(healthy))
        signals = divide_signals(Signals(present, losses).only(healthy), by)
        rows, weights = self.transform(ops.where(healthy[:, None], masked / by[:, None], 0.0), signals)
        if weights is None:
            return self._whole(rows, ops.sum(masked, axis=0), signals)
        return ops.matmul(self._settle(weights, signals), rows)

    def _whole(self, direction: Tensor, otherwise: Tensor, signals: Signals) -> Tensor:
        """A direction that no weights stand for; the plain sum where it failed."""
        sound = ops.all(ops.isfinite(direction))
        self._settle(ops.where(sound, ops.cast(signals.present, "float32"), float("nan")), signals)
        return ops.where(sound, direction, otherwise)

    def transform(self, gradients: Tensor, signals: Signals) -> tuple[Tensor, Tensor]:
        """The method itself, for those that need the gradients.

        Args:
            gradients: `(K, P)`; 0 where a task sits out.
            signals: The tasks present, and their losses where they are known.

        Returns:
            Rows `(K, P)` and their weights `(K,)`, whose weighted sum is the
            direction; or the direction `(P,)` and None.
        """
        del gradients, signals
        raise NotImplementedError(f"{type(self).__name__} has no `transform`: its `needs` is {self.needs!r}.")

    # Hooks of the training.

    def after_update(self, losses: Tensor, present: Tensor) -> None:
        """Hears of the losses of the same batch after the step, if `looks_again`."""

    def end_epoch(self, logs: Logs) -> None:
        """Hears of the logs of an epoch that `fit` finished: `<task>_loss`, `val_<task>_<metric>` and so on."""

    # Files.

    def load_own_variables(self, store: Mapping[str, Any]) -> None:
        """Restores the state; a file of plain Keras weights holds none, and leaves it as it is."""
        if store.keys():
            super().load_own_variables(store)

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        options = {"scale": self.scale, "smoothing": self.smoothing, "update_every": self.update_every}
        return {"name": self.name, "normalize": self.normalize, **options}
