"""Where a new head comes: the layers of a model whose outputs it reads."""

from collections.abc import Sequence
from typing import Any

from kmtl._checks import near, refusal, words
from kmtl._keras_private import layer_behind, shared_tensors
from kmtl.model.graph import TaskGraph
from kmtl.sharing import Fork
from kmtl.tasks import Task, features_by_task

_OWNER = "with_task"


def feature_layers(model: TaskGraph, task: Task, features: Any) -> list[Any]:
    """Finds the layers of a model that a new head is to read: one, or several maps from fine to coarse.

    Args:
        model: The model.
        task: The new task.
        features: The layer's name, or a list of them; None for the one fork, or else the one end of what all tasks
            share, whose output the task's kind can take. Of several maps of different sizes the task chooses.

    Raises:
        ValueError: If there is none, or more than one.
    """
    if features is not None:
        names = list(features) if isinstance(features, list | tuple) else [features]
        return _chosen(task, [_named_layer(model, task, name) for name in names])
    forks = [fork for fork in model.forks if fork in model.layers and _fits(task, fork.input)]
    found = forks or _ends(model, task)
    if len(found) == 1:
        return found
    stages = _from_fine_to_coarse(task, found)
    if stages:
        return _chosen(task, stages)
    known = [layer.name for layer in found or model.layers if found or _fits(task, getattr(layer, "output", None))]
    got = words("several that fit" if found else "none that is known to end the trunk")
    fix = f"Say which: features=, the name of a layer; fitting: {', '.join(map(repr, known)) or 'none'}."
    raise ValueError(refusal(_OWNER, "features", f"must end in one layer for task {task.name!r}", got, fix))


def _from_fine_to_coarse(task: Task, layers: Sequence[Any]) -> list[Any]:
    """Layers by the sizes of their maps; none where they are no maps, or two are of one size or of an open one."""
    sizes = [tuple(_read(layer).shape[1:3]) for layer in layers]
    if task.features != "map" or len(set(sizes)) < len(sizes) or any(None in size for size in sizes):
        return []
    return [layers[place] for place in sorted(range(len(sizes)), key=sizes.__getitem__, reverse=True)]


def _chosen(task: Task, layers: Sequence[Any]) -> list[Any]:
    """The layers whose maps the task takes."""
    if len(layers) == 1:
        return list(layers)
    maps = [_read(layer) for layer in layers]
    taken = features_by_task({task.name: maps}, [task], _OWNER)[task.name]
    wanted = {id(one) for one in (taken if isinstance(taken, list) else [taken])}
    return [layer for layer, one in zip(layers, maps, strict=True) if id(one) in wanted]


def _read(layer: Any) -> Any:
    """What a head reads of a layer."""
    return layer.input if isinstance(layer, Fork) else layer.output


def _ends(model: TaskGraph, task: Task) -> list[Any]:
    """Layers in which what all tasks share ends, of those that a head can read."""
    if len(model.tasks) < 2:
        # Everything is needed by the only task, its head too.
        return []
    tensors = shared_tensors(model, lambda layer: getattr(layer, "serves_outputs_apart", False))
    layers = [layer_behind(tensor) for tensor in tensors if _fits(task, tensor)]
    return list({id(layer): layer for layer in layers}.values())


def _named_layer(model: TaskGraph, task: Task, name: Any) -> Any:
    """The layer of a name, if the task's head can read its output."""
    layers = {layer.name: layer for layer in model.layers}
    if not isinstance(name, str) or name not in layers:
        raise ValueError(refusal(_OWNER, "features", "must name a layer of the model", name, near(str(name), layers)))
    task.check_features(_read(layers[name]), _OWNER)
    return layers[name]


def _fits(task: Task, tensor: Any) -> bool:
    """Whether a head can read a tensor."""
    try:
        task.check_features(tensor, _OWNER)
    except ValueError:
        return False
    return True
