"""Tasks that a user names, one or several, by themselves or by their names."""

from collections.abc import Iterable, Mapping
from typing import Any

from kmtl._checks import Refusals
from kmtl.tasks import Task


def names_of(tasks: str | Task | Iterable[str | Task]) -> list[str]:
    """Names of tasks given as names or as tasks, one or several.

    >>> names_of("digit"), names_of(["digit", "angle"])
    (['digit'], ['digit', 'angle'])
    """
    return [item.name if isinstance(item, Task) else item for item in listed_tasks(tasks)]


def task_list(refusals: Refusals, tasks: Any) -> list[Task]:
    """Returns tasks as a list, or refuses, at once, what is no task, no tasks, or a name twice.

    Args:
        refusals: Whose owner asks.
        tasks: One task, several, or a mapping of names to them as a model has.

    Returns:
        The tasks, in their order.

    Raises:
        ValueError: With all offenders.
    """
    listed = listed_tasks(tasks)
    seen: set[str] = set()
    for task in listed:
        if not isinstance(task, Task):
            refusals.add("tasks", "must hold kmtl tasks", task, "For example kmtl.Regression('age').")
        elif task.name in seen:
            refusals.add("tasks", "must have different names", task.name)
        else:
            seen.add(task.name)
    if not listed:
        refusals.add("tasks", "must hold at least one task", listed)
    refusals.check()
    return listed


def listed_tasks(tasks: Any) -> list[Any]:
    """One task or name, or several, as a list.

    >>> listed_tasks("digit"), listed_tasks(("digit", "angle"))
    (['digit'], ['digit', 'angle'])
    """
    if isinstance(tasks, Mapping):
        return list(tasks.values())
    return list(tasks) if isinstance(tasks, Iterable) and not isinstance(tasks, str) else [tasks]
