"""How much the user prefers each task, where a method has a place for it."""

from collections.abc import Mapping, Sequence
from typing import Any

from kmtl._checks import is_number, refusal, require, words


def check_preference(owner: str, preference: Any) -> Any:
    """Returns a preference as a dict, a tuple or None, or refuses one that is no share of anything."""
    if preference is None:
        return None
    listed = isinstance(preference, Sequence) and not isinstance(preference, str)
    if not isinstance(preference, Mapping) and not listed:
        raise TypeError(refusal(owner, "preference", "must be None, {task: number} or one number a task", preference))
    values = list(preference.values()) if isinstance(preference, Mapping) else list(preference)
    good = bool(values) and all(is_number(value) and value >= 0 for value in values)
    require(good, owner, "preference", "must hold finite numbers of at least 0", preference)
    return dict(preference) if isinstance(preference, Mapping) else tuple(preference)


def preference_of(owner: str, preference: Any, tasks: Sequence[Any], count: int) -> list[float]:
    """Shares of the tasks, in their order, that sum to 1.

    Args:
        owner: Who is named in a refusal.
        preference: What `check_preference` returned; a task left out of a dict counts 1.
        tasks: The tasks; may be empty where nothing is given by name.
        count: Number of tasks.

    Raises:
        ValueError: If it names a task that is not there, or is of another length.

    >>> preference_of("UPGrad", (3, 1), [], 2)
    [0.75, 0.25]
    """
    if isinstance(preference, Mapping):
        known = [task.name for task in tasks]
        strangers = [name for name in preference if name not in known]
        got = words(", ".join(map(repr, strangers)))
        require(not strangers, owner, "preference", "must name the model's tasks", got, f"They are {known}.")
        values = [float(preference.get(name, 1.0)) for name in known]
    else:
        values = [1.0] * count if preference is None else [float(value) for value in preference]
    require(len(values) == count, owner, "preference", f"must have {count} numbers, one a task", preference)
    require(any(values), owner, "preference", "must be above 0 for one task", preference)
    return [value / sum(values) for value in values]
