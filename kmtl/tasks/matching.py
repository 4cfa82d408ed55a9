"""Tasks by name, and the outputs that go with them."""

from collections.abc import Mapping
from typing import Any

import keras

from kmtl._checks import Refusals, near, refusal, words
from kmtl.tasks.base import Task
from kmtl.tasks.final_activations import is_logits, takes_logits
from kmtl.tasks.shapes import same_shape
from kmtl.tasks.task_space import TaskSpace


def named_tasks(tasks: Any) -> dict[str, Task]:
    """Returns tasks by name, in order, from objects or a saved config; refuses anything else."""
    if tasks is None:
        return {}
    if isinstance(tasks, Mapping) or not isinstance(tasks, list | tuple):
        got = words(type(tasks).__name__)
        raise TypeError(refusal("MultiTaskModel", "tasks", "must be a list of tasks", got, "Their order is kept."))
    made = [keras.saving.deserialize_keras_object(item) if isinstance(item, Mapping) else item for item in tasks]
    with Refusals("MultiTaskModel") as refusals:
        if not made:
            refusals.add("tasks", "must not be empty", tasks)
        for task in made:
            if not isinstance(task, Task):
                refusals.add("tasks", "must hold kmtl tasks", task, "Use kmtl.Classification, kmtl.Regression, ...")
        names = [task.name for task in made if isinstance(task, Task)]
        for name in sorted({name for name in names if names.count(name) > 1}):
            refusals.add("tasks", "must have different names; twice", name)
    TaskSpace(made)
    return {task.name: task for task in made}


def matched_outputs(outputs: Any, tasks: Mapping[str, Task], *, loaded: bool = False) -> dict[str, Any]:
    """Returns the outputs in task order, or refuses those that do not match the tasks.

    Args:
        outputs: `{task: KerasTensor}`.
        tasks: The tasks by name.
        loaded: Whether they come from a file, which was saved by whoever knew what its outputs are.

    Raises:
        ValueError: With all offenders.
    """
    with Refusals("MultiTaskModel") as refusals:
        if not isinstance(outputs, Mapping):
            example = "{" + ", ".join(f"{name!r}: ..." for name in tasks) + "}"
            got = words(f"{type(outputs).__name__}")
            refusals.add("outputs", "must be a dict keyed by task name", got, f"Pass {example}.")
            outputs = {}
        else:
            for name in outputs:
                if name not in tasks:
                    refusals.add("outputs", "must each have a task; none for", name, near(str(name), tasks))
            for name, task in tasks.items():
                if name not in outputs:
                    refusals.add("tasks", "must each have an output; none for", name, near(name, outputs))
                else:
                    _check_output(refusals, task, outputs[name], loaded)
    return {name: outputs[name] for name in tasks}


def _check_output(refusals: Refusals, task: Task, output: Any, loaded: bool) -> None:
    """Records an output whose shape is not the task's, and logits where probabilities are due."""
    shape, wanted = tuple(getattr(output, "shape", ())), task.output_shape
    # A width must be known; a side may vary.
    if not same_shape(shape[1:], wanted) or shape[-1] != wanted[-1]:
        sides = ", ".join(["batch", *("any" if size is None else str(size) for size in wanted)])
        fix = "End the head in a Dense layer of that width." if len(wanted) == 1 else ""
        refusals.add("outputs", f"of {task.name!r} must have shape ({sides})", shape, fix)
    elif not loaded and is_logits(task, output) and not takes_logits(task.resolved_loss()):
        end = f"{'an' if task.final_activation == 'exponential' else 'a'} {task.final_activation}"
        fix = f"End it in {end}, or adopt the model by from_model(model, tasks, from_logits=True)."
        got = words(f"logits: its last layer has no {task.final_activation}")
        refusals.add("outputs", f"of {task.name!r} must be {task.meaning}", got, fix)
