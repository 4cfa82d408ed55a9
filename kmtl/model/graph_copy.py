"""The graph of a model once more, for other tasks: layers of its own, the same weights."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import keras

from kmtl._checks import refusal, require, words
from kmtl._keras_private import Origin, copy_state, model_path
from kmtl.model.graph import TaskGraph
from kmtl.sharing import Fork
from kmtl.tasks import Task


class Addition(NamedTuple):
    """A task that a copy has beside those of its model.

    Attributes:
        task: The task.
        layers: The layers of the model whose outputs the head reads, one, or of several maps as many, from fine to
            coarse; of a fork, a copy of its own. None of a product of other tasks, which has no head.
    """

    task: Task
    layers: Sequence[Any]


class Change(NamedTuple):
    """What the layers of a copy are otherwise than those of its model, their weights being the same.

    Attributes:
        config: Makes a layer's config of that of the model's layer.
        call: Calls a layer in the copy's graph: `call(layer of the model, function, args, kwargs)` returns what the
            function, which calls the new layer, makes of the arguments, and what it puts before or behind.
    """

    config: Callable[[dict[str, Any]], dict[str, Any]]
    call: Callable[[Any, Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]


class Copy(NamedTuple):
    """A copied graph.

    Attributes:
        inputs: Of the copy.
        outputs: By task name, in order.
        origins: By id of a weight of the copy, the model's weight, and what of it was taken.
        layer_names: The names that changed, old to new.
    """

    inputs: Any
    outputs: dict[str, Any]
    origins: dict[int, Origin]
    layer_names: dict[str, str]


def copied_graph(
    owner: str,
    model: TaskGraph,
    names: Mapping[str, str],
    added: Addition | None = None,
    change: Change | None = None,
) -> Copy:
    """Copies the part of a model that some of its tasks need.

    Args:
        owner: Who is named in a refusal.
        model: The model.
        names: Of the tasks that stay, the old name and the new one, in order.
        added: A task more.
        change: Of the layers.

    Raises:
        ValueError: If a layer cannot be made again, or a name comes twice.
    """
    return _Copying(owner, model, names, added, change).run()


class _Copying:
    """The work: each layer is made again when the graph comes to it, and called."""

    def __init__(
        self,
        owner: str,
        model: TaskGraph,
        names: Mapping[str, str],
        added: Addition | None,
        change: Change | None,
    ) -> None:
        self.owner, self.model, self.names, self.added, self.change = owner, model, names, added, change
        self.part = keras.Model(model.input, {name: model.output[name] for name in names})
        self.layer_names = self._layer_names()
        self._check_renamed()
        # The old layer, and names of its heads that the copy has, by id of the new one.
        self.old: dict[int, Any] = {}
        self.new: dict[int, Any] = {}
        self.heads: dict[int, list[str]] = {}
        # What the new task's head reads, by id of the model's layer.
        self.features: dict[int, Any] = {}

    def run(self) -> Copy:
        """Makes the copy."""
        copy = keras.models.clone_model(self.part, clone_function=self.clone, call_function=self.call)
        outputs = {new: copy.output[old] for old, new in self.names.items()}
        if self.added is not None:
            outputs[self.added.task.name] = self._added_output(self.added, copy, outputs)
        origins: dict[int, Origin] = {}
        for key, layer in self.new.items():
            origins.update(self._fill(self.old[key], layer))
        return Copy(copy.input, outputs, origins, self.layer_names)

    def _added_output(self, added: Addition, copy: Any, outputs: Mapping[str, Any]) -> Any:
        """The output of the new task."""
        self._check_layer_names(copy, added.task.name)
        if not added.layers:
            return added.task.product([outputs[name] for name in added.task.product_of])
        for layer in added.layers:
            if isinstance(layer, keras.layers.InputLayer):
                self.features[id(layer)] = next(one for one in copy.inputs if one.name == layer.output.name)
        features = keras.tree.flatten([self.features[id(layer)] for layer in added.layers])
        return added.task.head(added.task.chosen_map(features) if len(features) > 1 else features[0])

    def _layer_names(self) -> dict[str, str]:
        """New names of the layers that are a renamed task's own and bear its name."""
        renamed = {old: new for old, new in self.names.items() if old != new}
        return {
            layer.name: new + layer.name.removeprefix(old)
            for old, new in renamed.items()
            for layer in self.model.task_layers(old)
            if layer.name == old or layer.name.startswith(f"{old}_")
        }

    def _check_renamed(self) -> None:
        """Refuses names that other layers bear."""
        new = [self.layer_names.get(layer.name, layer.name) for layer in self.part.layers]
        twice = sorted({name for name in self.layer_names.values() if new.count(name) > 1})
        fix = "Choose others."
        require(not twice, self.owner, "names", "must not be names of other layers", words(", ".join(twice)), fix)

    # A layer more.

    def clone(self, layer: Any) -> Any:
        """Makes a layer again, under its new name and for the tasks that stay."""
        heads = self._heads(layer)
        if heads is None:
            made = self._again(layer, {"name": self.layer_names.get(layer.name, layer.name)})
        elif not heads and not self._new_heads(layer):
            # The copies of a fork that no task is left for are read by another task's head.
            made = keras.layers.Identity(name=layer.name)
        else:
            named = [self.names[name] for name in heads] + self._new_heads(layer)
            made = self._again(layer, {"names": named, "name": self._name_of_several(layer, named)})
        self.old[id(made)], self.new[id(made)] = layer, made
        if heads is not None:
            self.heads[id(made)] = heads
        return made

    def _again(self, layer: Any, changes: Mapping[str, Any]) -> Any:
        """A layer of the same config but for some entries."""
        try:
            config = layer.get_config() if self.change is None else self.change.config(layer.get_config())
            return type(layer).from_config(
                {**config, **{key: value for key, value in changes.items() if key in config}}
            )
        except Exception as error:
            fix = "Write a keras.layers.Layer with `get_config` in its place."
            got = words(f"{layer.name!r}: {str(error).splitlines()[0] if str(error) else type(error).__name__}")
            raise ValueError(
                refusal(self.owner, "model", "must be of layers that can be made again", got, fix)
            ) from error

    def _heads(self, layer: Any) -> list[str] | None:
        """Names of the tasks that a layer which hands out one output a task keeps; None for any other layer."""
        if isinstance(layer, Fork):
            return [name for name in layer.names if name in self.names]
        if not getattr(layer, "serves_outputs_apart", False):
            return None
        flat = sorted(layer.names)
        read = {flat[place] for place in model_path(self.part).read_positions(layer)}
        if read - set(self.names):
            fix = "Take that one out, too."
            got = words(f"{sorted(read - set(self.names))}")
            raise ValueError(
                refusal(self.owner, "name", "must not be of a task whose output another one reads", got, fix)
            )
        return [name for name in layer.names if name in read]

    def _name_of_several(self, layer: Any, named: Sequence[str]) -> str:
        """The name of such a layer; one that tells the first and the number of its tasks tells them still."""
        told = f"{layer.names[0]}_and_{len(layer.names) - 1}_more"
        return f"{named[0]}_and_{len(named) - 1}_more" if layer.name == told else layer.name

    def _new_heads(self, layer: Any) -> list[str]:
        """The new task's name, if its head gets its features from a layer."""
        return [self.added.task.name] if self.added is not None and layer in self.added.layers else []

    # A call more.

    def call(self, layer: Any, *args: Any, **kwargs: Any) -> Any:
        """Calls a new layer, with what a change puts around it."""
        if self.change is None:
            return self._call(layer, *args, **kwargs)
        return self.change.call(self.old[id(layer)], functools.partial(self._call, layer), args, kwargs)

    def _call(self, layer: Any, *args: Any, **kwargs: Any) -> Any:
        """Calls a new layer; what it gives comes under the names of old, as the graph knows it."""
        old = self.old[id(layer)]
        if id(layer) not in self.heads:
            outputs = layer(*args, **kwargs)
            if self._new_heads(old):
                self.features[id(old)] = outputs
            return outputs
        heads = self.heads[id(layer)]
        if isinstance(layer, keras.layers.Identity):
            return dict.fromkeys(old.names, args[0])
        given = args[0]
        if isinstance(given, list | tuple):
            given = [one for name, one in zip(old.names, given, strict=True) if name in heads]
        outputs = layer(given, *args[1:], **kwargs)
        for name in self._new_heads(old):
            self.features[id(old)] = outputs[name]
        # What is left out is read by nobody, or is a copy of what a fork was given.
        rest = given if isinstance(old, Fork) else next(iter(outputs.values()))
        return {name: outputs[self.names[name]] if name in heads else rest for name in old.names}

    # Its state.

    def _fill(self, old: Any, new: Any) -> dict[int, Origin]:
        """Gives a new layer the state of the old one; tells where each weight comes from."""
        heads = self.heads.get(id(new))
        if not isinstance(old, keras.layers.Layer) or (isinstance(new, keras.layers.Identity) and heads is not None):
            return {}
        if heads is None or isinstance(old, Fork) or heads == old.names:
            copy_state(old, new)
            return {id(target): (source, _whole) for source, target in zip(old.variables, new.variables, strict=True)}
        new.trainable = old.trainable
        pairs = list(zip(old.weights, new.weights, strict=True))
        origins = {id(target): (source, old.part(source, heads)) for source, target in pairs}
        for source, target in pairs:
            target.assign(origins[id(target)][1](source.numpy()))
        for source, target in zip(old.variables, new.variables, strict=True):
            if tuple(source.shape) == tuple(target.shape) and id(target) not in origins:
                target.assign(source)
        return origins

    def _check_layer_names(self, copy: Any, name: str) -> None:
        """Refuses a new task that bears the name of a layer."""
        free = all(layer.name != name for layer in copy.layers)
        require(free, self.owner, "task", "must not bear the name of a layer", name, "Rename the task.")


def _whole(values: Any) -> Any:
    """All of an array."""
    return values
