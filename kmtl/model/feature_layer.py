"""Where a new head comes: the layer of a model whose output it reads."""

from typing import Any

from kmtl._checks import near, refusal, words
from kmtl._keras_private import layer_behind, shared_tensors
from kmtl.model.graph import TaskGraph
from kmtl.sharing import Fork
from kmtl.tasks import Task


def feature_layer(model: TaskGraph, task: Task, features: Any) -> Any:
    """Finds the layer of a model that a new head is to read.

    Args:
        model: The model.
        task: The new task.
        features: The layer's name; None for the one fork, or else the one end of what all tasks share, whose output
            the task's kind can take.

    Raises:
        ValueError: If there is none, or more than one.
    """
    if features is not None:
        return _named_layer(model, task, features)
    forks = [fork for fork in model.forks if fork in model.layers and _fits(task, fork.input)]
    found = forks or _ends(model, task)
    if len(found) == 1:
        return found[0]
    known = [layer.name for layer in found or model.layers if found or _fits(task, getattr(layer, "output", None))]
    got = words("several that fit" if found else "none that is known to end the trunk")
    fix = f"Say which: features=, the name of a layer; fitting: {', '.join(map(repr, known)) or 'none'}."
    raise ValueError(refusal("with_task", "features", f"must end in one layer for task {task.name!r}", got, fix))


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
        raise ValueError(
            refusal("with_task", "features", "must name a layer of the model", name, near(str(name), layers))
        )
    layer = layers[name]
    task.check_features(layer.input if isinstance(layer, Fork) else layer.output, "with_task")
    return layer


def _fits(task: Task, tensor: Any) -> bool:
    """Whether a head can read a tensor."""
    try:
        task.check_features(tensor, "with_task")
    except ValueError:
        return False
    return True
