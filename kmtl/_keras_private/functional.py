"""The graph of a functional model: its nodes, and what each tensor comes from."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import keras


def layer_behind(tensor: Any) -> Any:
    """Finds the layer or operation that made a Keras tensor; None for any other value."""
    return getattr(getattr(tensor, "_keras_history", None), "operation", None)


def operations_behind(tensor: Any) -> Iterator[Any]:
    """Goes back from a Keras tensor through what made it, models opened, as long as each has one input.

    Args:
        tensor: A Keras tensor; any other value has nothing behind it.

    Yields:
        Layers and operations, the last one of the graph first.
    """
    while True:
        history = getattr(tensor, "_keras_history", None)
        operation = getattr(history, "operation", None)
        if history is None or operation is None:
            return
        if isinstance(operation, keras.Model) and getattr(operation, "outputs", None):
            tensor = operation.outputs[history.tensor_index]
            continue
        yield operation
        inputs = operation._inbound_nodes[history.node_index].input_tensors
        if len(inputs) != 1:
            return
        tensor = inputs[0]


class Path(NamedTuple):
    """The calls of layers that lead from some Keras tensors of a graph to others, and no other call.

    Attributes:
        nodes: The calls, each behind those that it reads.
        tensors: What they lead to.
    """

    nodes: list[Any]
    tensors: list[Any]

    @property
    def layers(self) -> list[Any]:
        """The layers that are called, each once."""
        return list({id(node.operation): node.operation for node in self.nodes}.values())

    def read_positions(self, layer: Any) -> set[int]:
        """Positions among a layer's flattened outputs that are read, over all of its calls."""
        read = [tensor for node in self.nodes for tensor in node.input_tensors] + self.tensors
        histories = [tensor._keras_history for tensor in read]
        return {history.tensor_index for history in histories if history.operation is layer}

    def values(self, known: Mapping[int, Any]) -> list[Any]:
        """Computes the tensors.

        Args:
            known: The value of each tensor that the path begins at, by its `id`.
        """
        found = dict(known)
        for node in self.nodes:
            given, named = node.arguments.fill_in(found)
            outputs = keras.tree.flatten(node.operation(*given, **named))
            found.update(zip(map(id, node.outputs), outputs, strict=True))
        return [found[id(tensor)] for tensor in self.tensors]


def path(tensors: Sequence[Any], known: Collection[int]) -> Path:
    """Finds the way to some Keras tensors; it costs what lies on it, however large the model is.

    Args:
        tensors: Keras tensors of one graph.
        known: `id` of each tensor that needs no computing.
    """
    nodes: dict[int, Any] = {}
    # A node is opened, then those that it reads are walked, then it is closed: no recursion, for deep trunks.
    left = [(_node_of(tensor), False) for tensor in reversed(tensors) if id(tensor) not in known]
    while left:
        node, is_closed = left.pop()
        if is_closed:
            nodes[id(node)] = node
        elif id(node) not in nodes:
            left.append((node, True))
            left += [(_node_of(tensor), False) for tensor in node.input_tensors if id(tensor) not in known]
    return Path(list(nodes.values()), list(tensors))


def _node_of(tensor: Any) -> Any:
    """The call that made a tensor."""
    history = tensor._keras_history
    return history.operation._inbound_nodes[history.node_index]


def call_again(node: Any, operation: Any) -> list[Any]:
    """Calls an operation on what a call of another one was given; returns its outputs, flat."""
    given, named = node.arguments.fill_in({id(tensor): tensor for tensor in node.input_tensors})
    return keras.tree.flatten(operation(*given, **named))


def model_path(model: Any) -> Path:
    """The whole of a functional model."""
    return path(keras.tree.flatten(model.output), {id(tensor) for tensor in model.inputs})


def shared_tensors(model: Any, apart: Callable[[Any], bool]) -> list[Any]:
    """Finds where a functional model with a dict of outputs parts into its outputs.

    Args:
        model: A functional model.
        apart: Tells of a layer whether it serves each output alone, though it computes several.

    Returns:
        The Keras tensors that come from what every output needs, and that an output is or what else reads; none if
        the outputs share nothing but the inputs.
    """
    nodes = [node for node in _nodes(model) if not node.is_input]
    needed: dict[int, set[str]] = {}
    for name, tensor in model.output.items():
        needed.setdefault(id(tensor), set()).add(name)
    for node in nodes:
        wanted = set().union(*(needed.get(id(tensor), set()) for tensor in node.outputs))
        for tensor in node.input_tensors:
            needed.setdefault(id(tensor), set()).update(wanted)
    known = {id(tensor) for tensor in model.inputs}
    produced: dict[int, Any] = {}
    read = list(model.output.values())
    for node in reversed(nodes):
        wanted = set().union(*(needed.get(id(tensor), set()) for tensor in node.outputs))
        inside = all(id(tensor) in known for tensor in node.input_tensors)
        if wanted == set(model.output) and inside and not apart(node.operation):
            produced.update((id(tensor), tensor) for tensor in node.outputs)
            known.update(id(tensor) for tensor in node.outputs)
        else:
            read += node.input_tensors
    return list({id(tensor): tensor for tensor in read if id(tensor) in produced}.values())


def tensors_needed(model: Any, names: Iterable[str]) -> list[tuple[Any, Any]]:
    """Finds what all of some outputs of a functional model are computed from.

    Args:
        model: A functional model with a dict of outputs.
        names: Keys of outputs.

    Returns:
        `(layer, tensor)` from the inputs, which are left out, to the outputs, for each value of a layer's call that
        every one of the outputs needs.
    """
    wanted = set(names)
    needed: dict[int, set[str]] = {}
    for name in wanted:
        needed.setdefault(id(model.output[name]), set()).add(name)
    nodes, found = [node for node in _nodes(model) if not node.is_input], []
    for node in nodes:
        own = set().union(*(needed.get(id(tensor), set()) for tensor in node.outputs))
        for tensor in node.input_tensors:
            needed.setdefault(id(tensor), set()).update(own)
    for node in reversed(nodes):
        found += [(node.operation, tensor) for tensor in node.outputs if needed.get(id(tensor)) == wanted]
    return found


def replay(model: Any, call: Callable[..., Any]) -> Any:
    """Builds the outputs of a functional model once more, from its own inputs and layers.

    Args:
        model: A functional model; models inside it are opened.
        call: Called as `call(layer, *args, **kwargs)` in place of the layer; it may add layers.

    Returns:
        Outputs in the structure of the model's.
    """

    def step(layer: Any, *args: Any, **kwargs: Any) -> Any:
        part = getattr(layer, "_functional", None) or layer  # what is inside of a `Sequential`
        if isinstance(part, keras.Model) and hasattr(part, "_run_through_graph"):
            return part._run_through_graph(args[0], call_fn=step)
        return call(layer, *args, **kwargs)

    return model._run_through_graph(model.inputs, call_fn=step)


def first_reader(model: Any, layer: Any, name: str) -> Any:
    """Finds what reads an output of a layer that returns a dict, dropout aside.

    Args:
        model: A functional model.
        layer: One of its layers, called once.
        name: Key of the output.

    Returns:
        The layer that reads it.
    """
    nodes = _nodes(model)
    tensor = keras.tree.pack_sequence_as(dict.fromkeys(layer.names, 0), layer.output)[name]
    while True:
        reader = next(node for node in nodes if any(one is tensor for one in node.input_tensors))
        if not isinstance(reader.operation, keras.layers.Dropout):
            return reader.operation
        tensor = reader.outputs[0]


def _nodes(model: Any) -> list[Any]:
    """The calls of a functional model's layers, from the outputs to the inputs."""
    depths = model._nodes_by_depth
    return [node for depth in sorted(depths) for node in depths[depth]]
