"""Class weights as sample weights, which is what Keras makes of them too."""

from collections.abc import Mapping
from typing import Any

from kmtl._checks import Refusals, known_keys
from kmtl.feeding.label_statistics import DataStatistics
from kmtl.tasks import Task


def class_tables(given: Any, tasks: Mapping[str, Task], found: DataStatistics | None, owner: str) -> dict[str, Any]:
    """Resolves class weights to one table of weights a task.

    Args:
        given: `{task: {class: weight} or "balanced"}` or None; it comes before the tasks' own.
        tasks: The tasks by name.
        found: Counts for `"balanced"`.
        owner: For the messages.

    Returns:
        `{task: (classes,)}` for the tasks that have class weights.

    Raises:
        ValueError: If a name, class or weight is wrong, or `"balanced"` has nothing to count.
    """
    chosen: dict[str, Any] = {name: task.class_weight for name, task in tasks.items() if task.class_weight}
    with Refusals(owner) as refusals:
        if given is not None and not isinstance(given, Mapping):
            refusals.add("class_weight", "must be a dict keyed by task name", given)
            given = None
        known_keys(refusals, "class_weight", given or {}, tasks)
        chosen.update({name: given[name] for name in tasks if given and given.get(name) is not None})
        return {
            name: tasks[name].class_weight_table(
                refusals, f"class_weight[{name!r}]", value, None if found is None else found.tasks[name]
            )
            for name, value in chosen.items()
        }
