"""The contract of a balancer, and the names by which `compile` finds one."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import keras
from keras import ops

from kmtl._checks import near, refusal, require

NEEDS = ("losses", "gram", "gradients")
_SCALES = ("sum", "paper")


class Balancer(keras.layers.Layer):
    """Turns what it needs of the tasks into one weight a task.

    A balancer's mathematics is a pure function of arrays; the object keeps
    state in Keras variables and nothing else, so that it is saved, restored
    and distributed like any layer. Its variables are not the model's: no
    optimizer trains them, no exported model carries them.

    A subclass names its `needs`, and implements `task_weights` (for `"losses"` and
    `"gram"`) or `combined` (for `"gradients"`). A task without a label in the
    batch is absent: it gets weight 0 and its state must stand still.

    Args:
        scale: `"sum"` rescales the weights of the tasks present so that they
            sum to their number, as plain Keras's sum of losses does; `"paper"`
            leaves the length that the method's own formula gives.
        **kwargs: Keras layer options.

    >>> class HardestFirst(Balancer):
    ...     def task_weights(self, losses, gram, present):
    ...         return ops.cast(losses >= ops.max(losses), "float32")
    >>> ops.convert_to_numpy(HardestFirst().weigh(losses=ops.array([1.0, 3.0]))).tolist()
    [0.0, 2.0]
    """

    needs: ClassVar[str] = "losses"
    built: bool

    def __init__(self, *, scale: str = "sum", **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32", "trainable": False})
        fix = near(str(scale), _SCALES)
        require(scale in _SCALES, type(self).__name__, "scale", "must be 'sum' or 'paper'", scale, fix)
        rule = "must name what the balancer needs"
        require(self.needs in NEEDS, type(self).__name__, "needs", rule, self.needs, near(str(self.needs), NEEDS))
        self.scale = scale
        self.tasks: list[Any] = []

    def prepare(self, tasks: Sequence[Any]) -> None:
        """Makes the state for these tasks; `compile` calls it once.

        Args:
            tasks: The model's tasks, in order.

        Raises:
            ValueError: If it holds the state of another number of tasks.
        """
        known = len(self.tasks) or len(tasks)
        fix = "Make a new one: its state belongs to the tasks that it has seen."
        require(len(tasks) == known, type(self).__name__, "tasks", f"must be {known} again", len(tasks), fix)
        self.tasks = list(tasks)
        if not self.built:
            self.build((len(self.tasks),))
            self.built = True

    def build(self, input_shape: tuple[int, ...]) -> None:
        """Makes the state for `input_shape[0]` tasks; a balancer without state has none to make."""

    def state(self, shape: tuple[int, ...], initializer: str, name: str) -> Any:
        """Makes one variable, the same on every replica."""
        return self.add_weight(
            shape=shape, initializer=initializer, trainable=False, name=name, aggregation="only_first_replica"
        )

    def weigh(self, losses: Any = None, gram: Any = None, present: Any = None) -> Any:
        """Returns one weight a task and moves the state on.

        Args:
            losses: Loss of each task, `(K,)`, float32, unscaled.
            gram: Inner products of the tasks' gradients, `(K, K)`, float32, unscaled.
            present: Booleans `(K,)`, False for a task without a label in the batch.

        Returns:
            Weights `(K,)`, at least 0 for most methods; 0 where absent, and where a task's gradient is zero.
        """
        like = losses if losses is not None else ops.diagonal(gram)
        present = ops.ones_like(like, dtype="bool") if present is None else present
        if gram is not None:
            # A row of zeros, as of a task that pulls nowhere, would make some solvers stop for every task.
            present = ops.logical_and(present, ops.not_equal(ops.diagonal(gram), 0.0))
            gram = ops.where(present[:, None] & present[None, :], gram, 0.0)
        # A method may divide by the loss of an absent task, which is 0: NaN times 0 is NaN.
        weights = ops.where(present, self.task_weights(losses, gram, present), 0.0)
        return _sum_to(weights, ops.sum(ops.cast(present, "float32"))) if self.scale == "sum" else weights

    def task_weights(self, losses: Any, gram: Any, present: Any) -> Any:
        """The method itself: weights `(K,)` from what it needs. Rows of absent tasks are zero in `gram`."""
        raise NotImplementedError(f"{type(self).__name__} has no `task_weights`: its `needs` is {self.needs!r}.")

    def combine(self, gradients: Any, present: Any = None) -> Any:
        """Combines the tasks' gradients into one direction.

        Args:
            gradients: `(K, P)`, float32, unscaled.
            present: Booleans `(K,)`, False for a task without a label in the batch.

        Returns:
            The direction, `(P,)`.
        """
        if self.needs == "losses":
            raise NotImplementedError(f"{type(self).__name__} has no `combine`: its `needs` is {self.needs!r}.")
        present = ops.ones_like(gradients[:, 0], dtype="bool") if present is None else present
        masked = ops.where(present[:, None], gradients, ops.zeros_like(gradients))
        if self.needs == "gradients":
            return self.combined(masked, present)
        gram = ops.matmul(masked, ops.transpose(masked))
        return ops.matmul(self.weigh(gram=gram, present=present), masked)

    def combined(self, gradients: Any, present: Any) -> Any:
        """The method itself, for those that need the gradients: `(K, P)` to `(P,)`."""
        raise NotImplementedError(f"{type(self).__name__} has no `combined`: its `needs` is {self.needs!r}.")

    def load_own_variables(self, store: Mapping[str, Any]) -> None:
        """Restores the state; a file of plain Keras weights holds none, and leaves it as it is."""
        if store.keys():
            super().load_own_variables(store)

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        return {"name": self.name, "scale": self.scale}


def _sum_to(weights: Any, total: Any) -> Any:
    """Rescales weights to a sum; where they have none, every weight stays as it is."""
    current = ops.sum(weights)
    return ops.where(current > 0, weights * (total / ops.where(current > 0, current, 1.0)), weights)


_KNOWN: dict[str, type[Balancer]] = {}
_Class = TypeVar("_Class", bound=type[Balancer])


def register(name: str) -> Callable[[_Class], _Class]:
    """Makes a balancer class known under a name, and serialisable.

    Args:
        name: The word for `compile(balancer=...)`.
    """

    def decorate(cls: _Class) -> _Class:
        require(name not in _KNOWN, "register", "name", "must be new", name)
        _KNOWN[name] = cls
        return keras.saving.register_keras_serializable(package="kmtl")(cls)

    return decorate


def names() -> list[str]:
    """Lists the balancers that `get` knows.

    >>> "equal" in names()
    True
    """
    return sorted(_KNOWN)


def get(identifier: Any) -> Balancer:
    """Returns a balancer from a name, a config or an object.

    Raises:
        ValueError: If the name is unknown; the message suggests the nearest.
        TypeError: If it is neither a name nor a `Balancer`.

    >>> get("equal").needs
    'losses'
    """
    if isinstance(identifier, Mapping):
        identifier = keras.saving.deserialize_keras_object(dict(identifier))
    if isinstance(identifier, Balancer):
        return identifier
    if isinstance(identifier, str):
        if identifier in _KNOWN:
            return _KNOWN[identifier]()
        raise ValueError(refusal("compile", "balancer", "must be known", identifier, near(identifier, names())))
    fix = "Give a name, or an object such as kmtl.balancers.PCGrad()."
    raise TypeError(refusal("compile", "balancer", "must be a name or a kmtl.balancers.Balancer", identifier, fix))
