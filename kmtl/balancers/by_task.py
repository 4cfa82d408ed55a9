"""Options that hold one number a task, by name or in order."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kmtl._checks import Refusals, is_number, known_keys, refusal, require


def check_by_task(owner: str, argument: str, values: Any, good: Callable[[Any], bool], rule: str) -> Any:
    """Returns such an option as a dict, a tuple or None, or refuses it.

    Args:
        owner: Who is named in a refusal.
        argument: The option.
        values: None, `{task: value}` or one value a task.
        good: Whether a value is one that the option can hold.
        rule: What the values must be.

    Raises:
        TypeError: If it is neither a dict nor a sequence.
        ValueError: If a value is not good.

    >>> check_by_task("Static", "weights", [1, 2], lambda value: value >= 0, "must hold numbers of at least 0")
    (1, 2)
    """
    if values is None:
        return None
    listed = isinstance(values, Sequence) and not isinstance(values, str)
    if not isinstance(values, Mapping) and not listed:
        raise TypeError(refusal(owner, argument, "must be None, {task: value} or one value a task", values))
    found = list(values.values()) if isinstance(values, Mapping) else list(values)
    require(bool(found) and all(good(value) for value in found), owner, argument, rule, values)
    return dict(values) if isinstance(values, Mapping) else tuple(values)


def check_amounts(owner: str, argument: str, values: Any) -> Any:
    """Returns such an option of numbers of at least 0, or refuses it; see `check_by_task`."""
    rule = "must hold finite numbers of at least 0"
    return check_by_task(owner, argument, values, lambda value: is_number(value) and value >= 0, rule)


def by_task(owner: str, argument: str, values: Any, tasks: Sequence[Any], count: int, default: Any) -> list[Any]:
    """The values in the order of the tasks.

    Args:
        owner: Who is named in a refusal.
        argument: The option.
        values: What `check_by_task` returned.
        tasks: The tasks; may be empty where nothing is given by name.
        count: Number of tasks.
        default: Value of a task that a dict leaves out, and of all tasks if there is no option.

    Raises:
        ValueError: If it names a task that is not there, or is of another length.

    >>> by_task("Static", "weights", (3.0, 1.0), [], 2, 1.0)
    [3.0, 1.0]
    """
    if isinstance(values, Mapping):
        names = [task.name for task in tasks]
        with Refusals(owner) as refusals:
            known_keys(refusals, argument, values, names)
        return [values.get(name, default) for name in names]
    found = [default] * count if values is None else list(values)
    require(len(found) == count, owner, argument, f"must have {count} values, one a task", values)
    return found


def preference_shares(owner: str, preference: Any, tasks: Sequence[Any], count: int) -> list[float]:
    """What the user prefers, as shares in the order of the tasks that sum to 1; a task left out of a dict counts 1.

    >>> preference_shares("UPGrad", (3, 1), [], 2)
    [0.75, 0.25]
    """
    values = by_task(owner, "preference", preference, tasks, count, 1.0)
    require(any(values), owner, "preference", "must be above 0 for one task", preference)
    return [float(value) / sum(map(float, values)) for value in values]
