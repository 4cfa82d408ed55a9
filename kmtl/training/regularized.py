"""The plain means against over-fitting, put around a build function: penalties and dropout."""

import functools
from collections.abc import Callable, Mapping
from itertools import takewhile
from typing import Any, NamedTuple

import keras

from kmtl._checks import Refusals, is_number, is_weight
from kmtl._keras_private import layer_behind, operations_behind, path, shared_tensors
from kmtl.model.graph_copy import Change
from kmtl.sharing import Fork
from kmtl.training.builds import refuse_build
from kmtl.training.trainer import refuse_model
from kmtl.trunks.features import dropped

_OWNER = "regularized"
#: Names under which the configs of layers hold the penalties of their kernels.
_KERNELS = ("kernel_regularizer", "depthwise_regularizer", "pointwise_regularizer", "recurrent_regularizer")


def regularized(
    build: Callable[..., Any], *, l1: float = 0.0, l2: float = 0.0, dropout: float = 0.0
) -> Callable[..., Any]:
    """Puts penalties and dropout around a build function, for all that trains more than once.

    Every kernel that has no penalty of its own, in the trunk, in models inside it and in the heads, gets

        l1 sum |w| + l2 sum w^2

    and each head reads the features through dropout of its own; of a map or a sequence it drops whole channels. Biases,
    normalisations and embeddings have no penalty. Under one seed the weights start as those of `build`'s own model, and
    what it is compiled with stays. Penalties belong to no task: they are logged as `regularization`, never balanced.

    With this, a tuned learning rate and early stopping (`kmtl.callbacks.EarlyStopping`, by task
    `TaskEarlyStopping`), a plain sum of losses did as well as special optimizers where it was tried (Kurin et al., "In
    Defense of the Unitary Scalarization for Deep Multi-Task Learning", NeurIPS 2022). To build them in by hand:
    `l1`, `l2` and `dropout` of every trunk of `kmtl.trunks` and of every task.

    Args:
        build: `build(tasks)`, or `build(tasks, hp)`: makes a compiled `MultiTaskModel`.
        l1: Factor of the absolute values, at least 0.
        l2: Factor of the squares, at least 0.
        dropout: Share of the features that a head misses in training, at least 0 and below 1.

    Returns:
        A build function of the same arguments.

    Raises:
        ValueError: If a number is out of range; when a model is built, if a layer cannot be made again from its config.

    >>> import kmtl
    >>> def build(tasks):
    ...     row = keras.Input((4,))
    ...     model = kmtl.MultiTaskModel.from_features(row, keras.layers.Dense(3)(row), tasks)
    ...     model.compile("adam")
    ...     return model
    >>> model = regularized(build, l2=1e-4, dropout=0.2)([kmtl.Regression("age"), kmtl.Regression("height")])
    >>> [layer.name for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    ['age_features_dropout', 'height_features_dropout']
    """
    with Refusals(_OWNER) as refusals:
        refuse_build(refusals, build)
        for argument, value in (("l1", l1), ("l2", l2)):
            if not is_weight(value):
                refusals.add(argument, "must be a finite number of at least 0", value)
        if not is_number(dropout) or not 0 <= dropout < 1:
            refusals.add("dropout", "must be at least 0 and below 1", dropout)
    penalty = keras.regularizers.serialize(keras.regularizers.L1L2(float(l1), float(l2))) if l1 or l2 else None

    @functools.wraps(build)
    def built(*args: Any, **kwargs: Any) -> Any:
        model = build(*args, **kwargs)
        with Refusals(_OWNER) as refusals:
            refuse_model(refusals, model)
        if penalty is None and not dropout:
            return model
        ends = _feature_layers(model) if dropout else set()
        through = functools.partial(_through_dropout, _Places(model, ends), dropout)
        change = Change(functools.partial(_penalized, penalty), through)
        return model.remade(change, _OWNER)

    return built


def _penalized(penalty: Any, config: Any) -> Any:
    """A layer's config, and those of the layers inside it, with the penalty on each kernel that has none."""
    if isinstance(config, list | tuple):
        return type(config)(_penalized(penalty, item) for item in config)
    if not isinstance(config, Mapping) or penalty is None:
        return config
    found = {key: _penalized(penalty, value) for key, value in config.items()}
    found |= {key: penalty for key in _KERNELS if key in found and found[key] is None}
    if {"units", "l1", "l2"} <= set(found) and not found["l1"] and not found["l2"]:
        # Fused heads.
        found |= {key: penalty["config"][key] for key in ("l1", "l2")}
    return found


class _Places(NamedTuple):
    """Where features end.

    Attributes:
        model: The model.
        ends: Names of the layers whose outputs the heads read, but for forks.
    """

    model: Any
    ends: set[str]

    def name(self, fork: Fork, task: str) -> str:
        """Names the dropout of what a fork hands to a task, whose head may read several maps."""
        several = sum(task in one.names for one in self.model.forks) > 1
        return f"{task}_{fork.name}_dropout" if several else f"{task}_features_dropout"


def _through_dropout(
    places: _Places, rate: float, layer: Any, call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Calls a layer in the new graph; what heads read, of a fork or of the layers that features end in, is dropped."""
    if not rate:
        return call(*args, **kwargs)
    outputs = call(*keras.tree.map_structure(functools.partial(_dropped_input, places.ends, rate), args), **kwargs)
    if isinstance(layer, Fork):
        return {name: dropped(copy, rate, places.name(layer, name)) for name, copy in outputs.items()}
    return dropped(outputs, rate, f"{layer.name}_head_dropout") if layer.name in places.ends else outputs


def _dropped_input(ends: set[str], rate: float, tensor: Any) -> Any:
    """An input of the model that a head reads, dropped; anything else as it is."""
    behind = layer_behind(tensor)
    is_read = isinstance(behind, keras.layers.InputLayer) and behind.name in ends
    return dropped(tensor, rate, f"{behind.name}_head_dropout") if is_read else tensor


def _feature_layers(model: Any) -> set[str]:
    """Names of the layers whose outputs the heads read, but for forks."""
    forked = {name for fork in model.forks for name in fork.names}
    left = [task for task in model.tasks.values() if task.name not in forked and not task.product_of]
    if left and len(model.tasks) > 1:
        ends = {layer_behind(tensor).name for tensor in shared_tensors(model, _serves_apart)}
        if ends:
            return ends
    return {name for task in left for name in _head_reads(model, task.name)}


def _head_reads(model: Any, task: str) -> set[str]:
    """Names of the layers that a head reads: before the layers of the task's name, or before the last kernel."""

    def is_own(layer: Any) -> bool:
        return bool(layer.name == task or layer.name.startswith(f"{task}_"))

    behind = list(operations_behind(model.output[task]))
    own = list(takewhile(is_own, behind))
    if own and len(own) == len(behind):
        # Its own layers join several maps.
        nodes = path([model.output[task]], {id(tensor) for tensor in model.inputs}).nodes
        read = [layer_behind(tensor) for node in nodes if is_own(node.operation) for tensor in node.input_tensors]
        return {layer.name for layer in read if not is_own(layer)}
    places = [place for place, one in enumerate(behind) if hasattr(one, "kernel")]
    place = len(own) if own else places[0] + 1 if places else len(behind)
    return {str(behind[place].name)} if place < len(behind) else set()


def _serves_apart(layer: Any) -> bool:
    """Whether a layer serves each output alone."""
    return bool(getattr(layer, "serves_outputs_apart", False))
