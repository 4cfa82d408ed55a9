"""The graph of a model with one named output a task: what tasks share, what each owns, where it forks."""

import functools
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

import keras

from kmtl._checks import constructor_keywords, known_keywords, near, refusal, refuse_keywords, words
from kmtl.model.head_weights import Head, heads
from kmtl.sharing import Fork
from kmtl.tasks import (
    Task,
    Unstandardize,
    build_heads,
    features_by_task,
    matched_outputs,
    named_tasks,
    with_activations,
)

# Of the files that models are saved in; from 2 on the state of the training stands in `setup`.
FORMAT = 2
# What Keras takes beside the arguments of any layer; it passes over what it does not know.
_ARGUMENTS = ("inputs", "outputs", "tasks")
# What the config of a model holds beside the options of a subclass.
FUNCTIONAL_KEYS = {"name", "trainable", "layers", "input_layers", "output_layers", "tasks", "format"}


class TaskGraph(keras.Model):
    """A functional model that knows its tasks; `MultiTaskModel` trains it.

    Args:
        *args: Inputs and a dict of outputs keyed by task name, as for `keras.Model`.
        tasks: The tasks; their order is the order of everything that has one.
        **kwargs: As for `keras.Model`.

    Raises:
        ValueError: If outputs and tasks do not match, or a name is used twice.

    Attributes:
        tasks: The tasks by name, in order.
        scalers: The layers that turn a task's standardised output into its unit, by task name.
    """

    tasks: dict[str, Task]
    scalers: dict[str, Unstandardize]

    def __init__(self, *args: Any, tasks: Any = None, **kwargs: Any) -> None:
        refuse_keywords(type(self).__name__, kwargs, [*_ARGUMENTS, *constructor_keywords(keras.layers.Layer)])
        named = named_tasks(tasks)
        loaded = bool(named) and all(isinstance(task, Mapping) for task in tasks)
        if named and len(args) >= 2:
            args = (args[0], matched_outputs(args[1], named, loaded=loaded), *args[2:])
        elif named and "outputs" in kwargs:
            kwargs["outputs"] = matched_outputs(kwargs["outputs"], named, loaded=loaded)
        try:
            super().__init__(*args, **kwargs)
        except ValueError as error:
            if not named:
                raise
            connected = "not connected" not in str(error)
            rule = "must make a model with the inputs" if connected else "must depend on the inputs"
            fix = "" if connected else "Build every head on layers that start from the model's inputs."
            got = words(str(error).splitlines()[0].rstrip("."))
            raise ValueError(refusal("MultiTaskModel", "outputs", rule, got, fix)) from error
        self.attach("tasks", named)
        layers = {layer.name: layer for layer in every_layer(self) if isinstance(layer, Unstandardize) and layer.learns}
        self.attach("scalers", {name: layers[name] for name in named if name in layers})

    def attach(self, name: str, value: Any) -> None:
        """Sets a plain attribute: what Keras tracks becomes part of the weights, of `summary` and of every export."""
        object.__setattr__(self, name, value)

    @classmethod
    @known_keywords
    def from_features(
        cls, inputs: Any, features: Any, tasks: Sequence[Task], *, fuse: bool | str = "auto", name: str | None = None
    ) -> Self:
        """Builds one named head a task on shared features.

        Args:
            inputs: Keras inputs.
            features: KerasTensor, as `kmtl.trunks` returns; or `{"vector": ..., "map": ..., "sequence": ...}`, of
                which each task takes the one that its kind wants. A `kmtl.sharing.Fork` is put behind each that
                several tasks take. Or `{task: such a tensor}`, which is taken as it is. In place of a map may stand a
                list of maps from fine to coarse, as `kmtl.trunks.stages` makes it.
            tasks: The tasks, in order.
            fuse: Whether alike heads are computed as one kernel; see `kmtl.tasks.build_heads`.
            name: Of the model.
        """
        named = named_tasks(tasks)
        own = features_by_task(features, list(named.values()), "from_features")
        if not isinstance(features, Mapping) or not set(own) <= set(features):
            own = _forked(own)
        return cls(inputs, build_heads(own, named.values(), fuse=fuse), tasks=list(named.values()), name=name)

    @classmethod
    @known_keywords
    def from_model(cls, model: Any, tasks: Sequence[Task], *, from_logits: bool = False) -> Self:
        """Adopts a plain Keras model whose outputs are a dict keyed by task name; its weights are shared with it.

        Args:
            model: A functional model; with one task, its single output may stand alone.
            tasks: The tasks, in order.
            from_logits: Whether outputs of tasks that promise probabilities get their softmax or sigmoid, all but those
                that end in one. The loss then sees probabilities, exactly, and needs no `from_logits` of its own.

        Raises:
            ValueError: If the outputs are a list, do not match the tasks, or are logits and nobody says so.
        """
        named = named_tasks(tasks)
        if not getattr(model, "inputs", None):
            fix = "Build it with keras.Input and keras.Model, or call it on a keras.Input first."
            raise ValueError(refusal("from_model", "model", "must be a built functional model", model, fix))
        outputs = model.output
        if len(named) == 1 and not isinstance(outputs, Mapping | list | tuple):
            outputs = dict.fromkeys(named, outputs)
        if from_logits and isinstance(outputs, Mapping):
            outputs = with_activations(outputs, list(named.values()))
        return cls(model.input, outputs, tasks=list(named.values()), name=model.name)

    def get_config(self) -> dict[str, Any]:
        """Returns the functional config with the tasks; a clone has none."""
        tasks = [keras.saving.serialize_keras_object(task) for task in self.tasks.values()]
        return {**super().get_config(), "tasks": tasks or None, "format": FORMAT}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Self:
        """Makes the model again; tells what a file of an older form lacks, and refuses one of a newer form."""
        config = dict(config)
        form = config.pop("format", 1)
        if form > FORMAT:
            fix = "Load it with the kmtl that saved it, or a newer one."
            raise ValueError(refusal("load_model", "file", f"must be of form {FORMAT} or older", form, fix))
        if form < FORMAT and config.get("tasks"):
            text = (
                "load_model: the file is of before kmtl 0.1.0. Weights, optimizer and balancer come back; loss weights"
            )
            text = f"{text} that moved, balancers of further forks and random generators begin anew. Save it again."
            warnings.warn(text, UserWarning, stacklevel=2)
        return super().from_config(config, custom_objects=custom_objects)

    @property
    def forks(self) -> list[Fork]:
        """The forks that hand features to tasks of this model."""
        return [fork for fork in self._every_fork() if set(fork.names) <= set(self.tasks)]

    @property
    def borrowed_forks(self) -> list[Fork]:
        """Forks of a model whose layers this one shares: what its `compile` gave them is not for this one."""
        own = set(map(id, self.forks))
        return [fork for fork in self._every_fork() if id(fork) not in own and fork.balancer is None]

    def _every_fork(self) -> list[Fork]:
        """The forks among all layers."""
        return [layer for layer in every_layer(self) if isinstance(layer, Fork)]

    @property
    def shared_variables(self) -> list[Any]:
        """Trainable variables that more than one task's output depends on, derived from the graph.

        A model inside the model is one node of the graph: all of its variables belong to every task that leaves it.
        The slices of a fused head's kernel belong to one task each, so it is not among them.
        """
        counts: dict[int, int] = {}
        for name in self.tasks:
            for variable in variables_behind(self, name):
                counts[id(variable)] = counts.get(id(variable), 0) + 1
        apart = [layer for layer in every_layer(self) if getattr(layer, "serves_outputs_apart", False)]
        sliced = {id(variable) for layer in apart for variable in layer.trainable_variables}
        return [item for item in self.trainable_variables if counts.get(id(item), 0) > 1 and id(item) not in sliced]

    @property
    def shares_weights(self) -> bool:
        """Whether more than one task's output depends on some weight, be it frozen."""
        apart = {id(layer) for layer in self.layers if getattr(layer, "serves_outputs_apart", False)}
        seen: set[int] = set()
        for name in self.tasks:
            found = {id(layer) for layer in layers_behind(self, name) if layer.weights} - apart
            if seen & found:
                return True
            seen |= found
        return False

    def task_variables(self, task: str) -> list[Any]:
        """Trainable variables of one task's head; of a fused head, the kernel that holds its slice."""
        if task not in self.tasks:
            raise ValueError(refusal("task_variables", "task", "must be a task", task, near(task, self.tasks)))
        shared = {id(variable) for variable in self.shared_variables}
        return [variable for variable in variables_behind(self, task) if id(variable) not in shared]

    def task_layers(self, task: str) -> list[Any]:
        """Layers that one task's output alone depends on: its head, as `layer.trainable` freezes and unfreezes it.

        A fused head serves several tasks, so it is no task's own; `from_features(..., fuse=False)` builds heads apart.

        Args:
            task: Name of the task.

        Raises:
            ValueError: If there is no such task.

        >>> from kmtl.tasks import Classification, Regression
        >>> row = keras.Input((8,))
        >>> model = TaskGraph.from_features(row, row, [Classification("digit", 10, hidden=4), Regression("angle")])
        >>> [layer.name for layer in model.task_layers("digit")]
        ['digit_hidden_1', 'digit']
        """
        if task not in self.tasks:
            raise ValueError(refusal("task_layers", "task", "must be a task", task, near(task, self.tasks)))
        others = {id(layer) for name in self.tasks if name != task for layer in layers_behind(self, name)}
        apart = {id(layer) for layer in self.layers if getattr(layer, "serves_outputs_apart", False)}
        shared = others | apart | {id(layer) for layer in self.layers if isinstance(layer, keras.layers.InputLayer)}
        return [layer for layer in layers_behind(self, task) if id(layer) not in shared]

    def heads(self) -> dict[str, Head]:
        """The head of each task, whose weights can be taken out and put back; see `kmtl.model.head_weights`."""
        return heads(self)


def layers_behind(model: TaskGraph, task: str) -> list[Any]:
    """Layers that a task's output depends on."""
    return keras.Model(model.input, model.output[task]).layers


def variables_behind(model: TaskGraph, task: str) -> list[Any]:
    """Trainable variables that a task's output depends on."""
    return keras.Model(model.input, model.output[task]).trainable_variables


def every_layer(model: Any) -> Iterator[Any]:
    """The layers of a model and of the models inside it."""
    for layer in getattr(model, "layers", ()):
        yield layer
        yield from every_layer(layer)


def _forked(features: dict[str, Any]) -> dict[str, Any]:
    """Puts a fork behind each of the tensors that more than one task takes."""
    takers: dict[int, list[str]] = {}
    tensors = {id(tensor): tensor for tensor in keras.tree.flatten(features)}
    for name, taken in features.items():
        for tensor in keras.tree.flatten(taken):
            takers.setdefault(id(tensor), []).append(name)
    copies = {key: Fork(names)(tensors[key]) for key, names in takers.items() if len(names) > 1}

    def own(name: str, tensor: Any) -> Any:
        return copies[id(tensor)][name] if id(tensor) in copies else tensor

    return {name: keras.tree.map_structure(functools.partial(own, name), taken) for name, taken in features.items()}


def usable_cut(model: Any, shared: Sequence[Any]) -> Any:
    """The fork behind which no weight is shared and that every task passes, or None."""
    forks = [layer for layer in model.layers if isinstance(layer, Fork)]
    if len(forks) != 1 or set(forks[0].names) != set(model.tasks):
        return None
    fork = forks[0]
    above = {id(variable) for variable in keras.Model(model.input, fork.input).trainable_variables}
    try:
        below = keras.Model(fork.output, model.output)
    except ValueError:
        # Some task sees the inputs by another way.
        return None
    owned = {id(variable) for variable in below.trainable_variables}
    return fork if all(id(item) in above and id(item) not in owned for item in shared) else None
