"""Several trained models as one model of all their outputs."""

from collections.abc import Callable, Mapping
from typing import Any

import keras

from kmtl.model.compile_like import compile_like
from kmtl.model.model import MultiTaskModel


def combined(models: Mapping[str, Any], *, optimizer: Any = "by_task", like: Any = None) -> MultiTaskModel:
    """Makes one model of one model a task, on the same inputs; they stay as they are, and share their weights with it.

    Args:
        models: `{task: model that has this task}`; inputs alike. What several tasks come from is called once, and heads
            of other tasks are left out of it.
        optimizer: As of `compile_like`.
        like: A model of all of the tasks that it is compiled as; None takes each task's own.

    Returns:
        A compiled `MultiTaskModel`.
    """
    first = next(iter(models.values()))
    with first.distribute_strategy.scope():
        inputs, outputs = inputs_like(first), {}
        for model in {id(model): model for model in models.values()}.values():
            names = [name for name, own in models.items() if own is model]
            part = keras.Model(model.input, {name: model.output[name] for name in names}, name=f"{names[0]}_alone")
            outputs.update(part(inputs))
        tasks = [(like or model).tasks[name] for name, model in models.items()]
        made = MultiTaskModel(inputs, {name: outputs[name] for name in models}, tasks=tasks)
        return compile_like(made, models if like is None else like, optimizer=optimizer)


def inputs_like(model: Any) -> Any:
    """New inputs in the structure and under the names of a model's."""

    def again(tensor: Any) -> Any:
        return keras.Input(tensor.shape[1:], dtype=tensor.dtype, name=tensor.name.split(":")[0])

    return keras.tree.map_structure(again, model.input)


def called(model: Any, inputs: Any, name: str) -> Any:
    """Calls a model as one layer of another one, under a name of its own there."""
    return keras.Model(model.input, model.output, name=name)(inputs)


def ensemble(models: Mapping[str, Any], join: Callable[[str, list[Any]], Any]) -> MultiTaskModel:
    """Makes one model of several models of the same tasks.

    Args:
        models: Models of the same tasks on the same inputs, by a name of their own.
        join: From a task's name and its outputs, one a model, to one output.

    Returns:
        A compiled `MultiTaskModel`.
    """
    first = next(iter(models.values()))
    with first.distribute_strategy.scope():
        inputs = inputs_like(first)
        outputs = [called(model, inputs, name) for name, model in models.items()]
        joined = {task: join(task, [output[task] for output in outputs]) for task in first.tasks}
        made = MultiTaskModel(inputs, joined, tasks=list(first.tasks.values()))
        return compile_like(made, first)
