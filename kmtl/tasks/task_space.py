"""Where a task counts: the examples whose other labels have the values that it names."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from keras import ops

from kmtl._checks import Refusals, is_whole, near, refusal, require, words

Condition = dict[str, tuple[int | str, ...]]


def checked_where(owner: str, name: str, where: Any) -> Condition:
    """Returns a condition as `{task: values}`, or refuses what is none.

    Args:
        owner: For the message.
        name: Of the task that has the condition.
        where: `{task: value or several}`, values whole numbers or names of classes.

    >>> checked_where("Regression('box')", "box", {"face": 1, "pose": ["left", "right"]})
    {'face': (1,), 'pose': ('left', 'right')}
    """
    if where is None:
        return {}
    fix = "For example {'face': 1} or {'pose': ['left', 'right']}."
    require(isinstance(where, Mapping), owner, "where", "must be a dict {task: value or list of values}", where, fix)
    condition: Condition = {}
    for other, given in where.items():
        values = tuple(given) if isinstance(given, Sequence | set | frozenset) and not isinstance(given, str) else ()
        values = values or (given,)
        if not isinstance(other, str) or not all(_is_value(value) for value in values):
            rule = "must map names of tasks to whole numbers of at least 0 or names of classes"
            raise ValueError(refusal(owner, "where", rule, words(f"{other!r}: {given!r}"), fix))
        require(other != name, owner, "where", "must name other tasks", other)
        condition[other] = tuple(value if isinstance(value, str) else int(value) for value in values)
    return condition


def renamed(task: Any, names: Mapping[str, str]) -> Any:
    """A task of the same settings where tasks bear other names: its own, and those of the tasks that it reads.

    Args:
        task: The task.
        names: `{old: new}`; a task left out keeps its name.

    >>> from kmtl.tasks import Regression
    >>> renamed(Regression("box", where={"face": 1}), {"face": "head"}).where
    {'head': (1,)}
    """
    config = task.get_config()
    changed = {**config, "name": names.get(task.name, task.name)}
    if task.where:
        changed["where"] = {names.get(other, other): values for other, values in config["where"].items()}
    if task.product_of:
        changed["product_of"] = [names.get(other, other) for other in task.product_of]
    return task if changed == config else type(task).from_config(changed)


def _is_value(value: Any) -> bool:
    """Whether a label may be said to have it; yes and no are 1 and 0."""
    return isinstance(value, str | bool | np.bool_) or (is_whole(value) and value >= 0)


class TaskSpace:
    """The examples that each task counts on.

    A task with `where` counts on the examples whose other labels have the values that it names; elsewhere its own label
    is as good as missing. An example whose other label is missing does not count: nobody knows. Conditions chain: a
    label that is outside of its own task's space is missing for those that ask for it.

    Args:
        tasks: The tasks, those that conditions name among them.
        owner: For the messages.

    Raises:
        ValueError: If a condition names no task, one without a whole number an example, a value that it cannot have,
            or leads back to its own task; with all offenders.

    >>> from kmtl.tasks import BinaryClassification, Regression
    >>> space = TaskSpace([BinaryClassification("face"), Regression("age", where={"face": 1})])
    >>> space.mask({"face": np.array([1, 0, -1]), "age": np.array([30.0, 0.0, 40.0])})["age"]
    array([30., nan, nan])
    """

    def __init__(self, tasks: Iterable[Any], owner: str = "MultiTaskModel") -> None:
        self.tasks = {task.name: task for task in tasks}
        self.conditions: dict[str, dict[str, list[int]]] = {}
        with Refusals(owner) as refusals:
            for task in self.tasks.values():
                found = {other: self._codes(refusals, task, other, values) for other, values in task.where.items()}
                self.conditions |= {task.name: found} if found else {}
            for name in self.conditions:
                if name in self._behind(name):
                    rule = f"of {name!r} must not lead back to the task itself"
                    refusals.add("where", rule, words(", ".join(map(repr, self.conditions[name]))))

    def _codes(self, refusals: Refusals, task: Any, other: str, values: Sequence[int | str]) -> list[int]:
        """The numbers of the values that another task's label is to have; records what it cannot have."""
        argument = f"where of {task.name!r}"
        asked = self.tasks.get(other)
        if asked is None:
            fix = f"{near(other, [name for name in self.tasks if name != task.name])} A model of {task.name!r} without"
            fix = f"{fix} {other!r} trains on kmtl.data.in_task_space(dataset, tasks) and `task.alone()`."
            refusals.add(argument, "must name tasks beside it", other, fix)
            return []
        if asked.label_dtype != "int32" or asked.label_shape:
            kind = f"{asked.owner}, {'whole numbers' if asked.label_dtype == 'int32' else 'floats'}"
            kind = f"{kind} of shape {asked.label_shape}" if asked.label_shape else kind
            fix = "Make a label of yes or no of it, and a task on that."
            refusals.add(argument, "must name tasks whose label is one whole number an example", words(kind), fix)
            return []
        names = list(asked.label_names or ())
        numbers = [names.index(value) if value in names else value for value in values]
        for number in numbers:
            if isinstance(number, str):
                fix = near(number, names) if names else f"Give {other!r} its label_names, or say the number."
                refusals.add(argument, f"must name classes of {other!r}", number, fix)
            elif asked.classes and number >= asked.classes:
                refusals.add(argument, f"must name classes of {other!r}, 0..{asked.classes - 1}", number)
        return [number for number in numbers if not isinstance(number, str)]

    def _behind(self, name: str) -> set[str]:
        """The tasks that a condition depends on, by whatever way."""
        found: set[str] = set()
        waiting = list(self.conditions.get(name, ()))
        while waiting:
            other = waiting.pop()
            if other not in found:
                found.add(other)
                waiting += self.conditions.get(other, ())
        return found

    def mask(self, labels: Mapping[str, Any], names: Iterable[str] | None = None) -> Mapping[str, Any]:
        """Makes labels missing where their task does not count.

        Args:
            labels: `{task: label}` of a batch, arrays or tensors; of a task without any all are missing.
            names: The tasks that are asked for; None for all.

        Returns:
            The same, those with a condition in their task's dtype if they are tensors.
        """
        wanted = self.conditions.keys() & set(labels if names is None else names)
        return {**labels, **{name: self._masked(name, labels) for name in wanted}} if wanted else labels

    def _masked(self, name: str, labels: Mapping[str, Any]) -> Any:
        """The labels of one task, missing where it does not count."""
        task, label = self.tasks[name], labels[name]
        if isinstance(label, np.ndarray):
            # No unsigned number and no bool says that it is missing.
            label = label.astype("int64") if label.dtype.kind in "ub" else label
            backend: Any = np
        else:
            label, backend = ops.cast(label, task.label_dtype), ops
        inside = backend.ones(backend.shape(label)[:1], "bool")
        for holds in self._holding(name, labels):
            inside = inside & holds
        return backend.where(backend.reshape(inside, (-1, *[1] * (len(label.shape) - 1))), label, task.missing)

    def _holding(self, name: str, labels: Mapping[str, Any]) -> Iterator[Any]:
        """For each condition of a task, and of those behind it, whether an example fulfils it, `(batch,)`."""
        for other, numbers in self.conditions.get(name, {}).items():
            label = labels.get(other)
            if label is None:
                yield False
                continue
            array = isinstance(label, np.ndarray)
            label = label.astype("int64").reshape(-1) if array else ops.reshape(ops.cast(label, "int32"), (-1,))
            holds = label == numbers[0]
            for number in numbers[1:]:
                holds = holds | (label == number)
            yield holds
            yield from self._holding(other, labels)
