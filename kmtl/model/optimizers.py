"""An optimizer of its own for the shared weights and for each head."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from kmtl._checks import Refusals, is_number, near, near_match, words
from kmtl._keras_private import built_variables
from kmtl.model.graph import TaskGraph, every_layer

SHARED = "shared"


@keras.saving.register_keras_serializable(package="kmtl")
class OptimizerByTask(keras.optimizers.Optimizer):
    """Several optimizers as one: of the weights that tasks share, and of single tasks' heads.

    `compile(optimizer={"shared": "adam", "digit": keras.optimizers.SGD(0.1)})` makes it. Every part clips, decays,
    averages and accumulates its own weights only. A head that is not named, and whatever tasks share, is the part of
    `"shared"`.

    `learning_rate` is that of `"shared"`; setting it, as `ReduceLROnPlateau` and `LearningRateScheduler` do, moves
    the others by the same factor. A part whose rate is a schedule keeps it.

    Args:
        parts: An optimizer by `"shared"` and by name of a task.
        name: Keras name.

    >>> both = OptimizerByTask({"shared": keras.optimizers.Adam(0.01), "digit": keras.optimizers.SGD(0.1)})
    >>> both.learning_rate = 0.001
    >>> round(float(both.parts["digit"].learning_rate), 6)
    0.01
    """

    def __init__(self, parts: Mapping[str, Any], name: str = "by_task", **options: Any) -> None:
        # The base keeps the number of steps; its own rate is not read.
        super().__init__(learning_rate=0.0, name=name, **options)
        self.parts = {
            key: part if isinstance(part, keras.optimizers.Optimizer) else keras.optimizers.deserialize(part)
            for key, part in parts.items()
        }
        self._owners: dict[int, str] = {}

    def assign_owners(self, variables: Mapping[str, Sequence[Any]]) -> None:
        """Tells which variables belong to the heads that have an optimizer of their own; all others are shared.

        Args:
            variables: Variables by task name.
        """
        self._owners = {id(item): name for name, found in variables.items() if name in self.parts for item in found}

    def owner(self, variable: Any) -> str:
        """The key of the part that moves a variable."""
        return self._owners.get(id(variable), SHARED)

    def _by_part(self, variables: Sequence[Any], values: Sequence[Any]) -> dict[str, list[tuple[Any, Any]]]:
        """Pairs of a value and a variable, by part."""
        pairs: dict[str, list[tuple[Any, Any]]] = {}
        for variable, value in zip(variables, values, strict=True):
            pairs.setdefault(self.owner(variable), []).append((value, variable))
        return pairs

    def build(self, variables: Sequence[Any]) -> None:
        """Makes the state of every part."""
        for key, part in self.parts.items():
            part.build([variable for variable in variables if self.owner(variable) == key])
        super().build(list(variables))

    def apply(self, grads: Sequence[Any], trainable_variables: Sequence[Any] | None = None) -> None:
        """Lets every part move its variables; one that has none in a step does not count it."""
        known = built_variables(self) if trainable_variables is None else trainable_variables
        for key, pairs in self._by_part(known, grads).items():
            gradients, variables = zip(*pairs, strict=True)
            if any(gradient is not None for gradient in gradients):
                self.parts[key].apply(list(gradients), list(variables))
        self.iterations.assign_add(1)

    @property
    def variables(self) -> list[Any]:
        """The number of steps and the variables of all parts."""
        return [*super().variables, *(item for part in self.parts.values() for item in part.variables)]

    def save_own_variables(self, store: Any) -> None:
        """Saves what the parts do not save themselves."""
        store["0"] = self.iterations

    def load_own_variables(self, store: Any) -> None:
        """Restores it."""
        self.iterations.assign(store["0"])

    @property
    def learning_rate(self) -> Any:
        """The learning rate of the shared weights."""
        return self.parts[SHARED].learning_rate

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        before = float(self.parts[SHARED].learning_rate)
        for key, part in self.parts.items():
            if key != SHARED and before and not _is_scheduled(part):
                part.learning_rate = float(part.learning_rate) * float(value) / before
        self.parts[SHARED].learning_rate = value

    def finalize_variable_values(self, var_list: Sequence[Any]) -> None:
        """Puts moving averages in the place of the weights, for parts that keep them."""
        for key, pairs in self._by_part(var_list, var_list).items():
            self.parts[key].finalize_variable_values([variable for _, variable in pairs])

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        return {"name": self.name, "parts": {key: keras.optimizers.serialize(p) for key, p in self.parts.items()}}


def _is_scheduled(optimizer: Any) -> bool:
    """Whether an optimizer's rate is a function of its steps."""
    return not isinstance(optimizer.get_config()["learning_rate"], float)


def resolved_optimizer(model: TaskGraph, given: Any) -> Any:
    """Makes one optimizer of what `compile` was given.

    Args:
        model: The model.
        given: What Keras takes, or a dict of such by `"shared"` and by name of a task.

    Raises:
        ValueError: With all offenders.
    """
    with Refusals("compile") as refusals:
        if not isinstance(given, Mapping) or "class_name" in given:
            return _checked(refusals, "", given, model)
        if SHARED in model.tasks:
            refusals.add("optimizer", "cannot be a dict while a task is named", SHARED, "Rename the task.")
        if SHARED not in given:
            refusals.add("optimizer", "must hold 'shared', what moves all other weights", list(given))
        for key in given:
            if key != SHARED and key not in model.tasks:
                fix = near(str(key), [SHARED, *model.tasks])
                refusals.add("optimizer", "must use 'shared' and task names as keys", key, fix)
        parts = {key: _part(refusals, key, value, model) for key, value in given.items()}
        if len({id(part) for part in parts.values()}) < len(parts):
            refusals.add("optimizer", "must hold an object of its own by key", list(given), "Make one for each.")
        _check_fused(refusals, model, set(given))
    return OptimizerByTask(parts)


def _part(refusals: Refusals, key: Any, value: Any, model: TaskGraph) -> Any:
    """One optimizer of several, or a recorded refusal."""
    part = _checked(refusals, f" of {key!r}", value, model)
    inside = isinstance(part, keras.optimizers.LossScaleOptimizer | OptimizerByTask)
    if inside or getattr(part, "loss_scale_factor", None):
        fix = "Losses are scaled for all tasks alike: leave it to compile(auto_scale_loss=True)."
        refusals.add("optimizer", f"of {key!r} must not scale losses", words(type(part).__name__), fix)
    return part


def _checked(refusals: Refusals, place: str, given: Any, model: TaskGraph) -> Any:
    """An optimizer from whatever Keras takes for one; records what is none, or cannot train this model."""
    try:
        optimizer = keras.optimizers.get(given)
    except (ValueError, TypeError):
        optimizer = None
    if optimizer is None:
        refusals.add("optimizer", f"{place} must be a Keras optimizer".lstrip(), given, _way_out(given))
        return given
    own = {id(variable) for variable in model.variables}
    built = built_variables(getattr(optimizer, "inner_optimizer", optimizer)) if optimizer.built else []
    strange = [variable.path for variable in built if id(variable) not in own]
    if strange:
        fix = f"Make one for each model: {type(optimizer).__name__}.from_config(optimizer.get_config())."
        rule = f"{place} must not have been compiled into another model".lstrip()
        refusals.add("optimizer", rule, words(f"one that moves {strange[0]!r} there"), fix)
    _check_rate(refusals, place, optimizer)
    return optimizer


def _way_out(given: Any) -> str:
    """What to pass in place of what is no optimizer."""
    if inspect.isclass(given):
        return f"Make an object: {given.__name__}(...)."
    classes = [found for found in vars(keras.optimizers).values() if inspect.isclass(found)]
    known = [found.__name__.lower() for found in classes if issubclass(found, keras.optimizers.Optimizer)]
    return near_match(given, known) or "Pass a name, as 'adam', or an object of keras.optimizers."


def _check_rate(refusals: Refusals, place: str, optimizer: Any) -> None:
    """Records a learning rate, or the first one of a schedule, that moves no weight to anywhere."""
    rate = optimizer.learning_rate
    try:
        rate = float(keras.ops.convert_to_numpy(rate))
        fix = ""
    except (TypeError, ValueError):
        fix = "A schedule must return a number."
    if not is_number(rate) or rate < 0:
        argument = f"optimizer{place}.learning_rate".replace(" of ", "[").replace("'.", "'].")
        refusals.add(argument, "must be a finite number of at least 0", rate, fix)


def _check_fused(refusals: Refusals, model: TaskGraph, named: set[Any]) -> None:
    """Records tasks with an optimizer of their own whose heads are slices of one kernel."""
    for layer in every_layer(model):
        if getattr(layer, "serves_outputs_apart", False):
            inside = [name for name in layer.names if name in named]
            if inside:
                fix = "Build the heads apart: from_features(..., fuse=False)."
                got = words(f"{inside} in the fused head {layer.name!r}")
                refusals.add("optimizer", "must be of tasks whose heads have weights of their own", got, fix)


def assign_owners(model: TaskGraph, optimizer: Any) -> None:
    """Tells an optimizer with parts which variables are whose; any other is left as it is."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    if isinstance(inner, OptimizerByTask):
        inner.assign_owners({name: model.task_variables(name) for name in model.tasks})
