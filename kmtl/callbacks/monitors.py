"""Which log keys a callback over several tasks looks at, and which end of each is the better one."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kmtl._checks import Refusals, near, refusal, words

# What callbacks of kmtl add to the logs, so that a model's own keys do not tell of them.
ADDED = frozenset({"delta_m", "worst_task", "constrained"})


def main_monitors(model: Any) -> dict[str, str]:
    """Each task's main metric on the validation data: its first with a known better end, else its loss.

    Args:
        model: A compiled `MultiTaskModel`.

    Returns:
        `{task: log key}`, in task order.
    """
    found = {name: f"val_{name}_loss" for name in model.tasks}
    for key in reversed(model.metrics_names):
        name = owner_of(key, model.tasks)
        if name is not None and key != f"{name}_loss" and _has_better_end(model, key):
            found[name] = f"val_{key}"
    return found


def owner_of(key: str, tasks: Iterable[str]) -> str | None:
    """The task that a log key belongs to; None if it belongs to none.

    >>> owner_of("val_left_eye_mae", ["left", "left_eye"])
    'left_eye'
    """
    owners = [name for name in tasks if key.removeprefix("val_").startswith(f"{name}_")]
    return max(owners, key=len, default=None)


def _has_better_end(model: Any, key: str) -> bool:
    """Whether a metric's name tells which end is better."""
    try:
        model.direction(key)
    except ValueError:
        return False
    return True


def check_monitors(refusals: Refusals, argument: str, model: Any, keys: Iterable[str]) -> dict[str, float]:
    """Records log keys that a model does not have, or whose better end nobody knows.

    Args:
        refusals: Where to record.
        argument: What the user calls the keys.
        model: A compiled `MultiTaskModel`.
        keys: Log keys, of training or validation.

    Returns:
        1 for each key of which less is better, -1 for the others.
    """
    known = [*model.metrics_names, *sorted(ADDED)]
    signs = {}
    for key in keys:
        name = key.removeprefix("val_")
        if name not in known:
            refusals.add(argument, "must name values of the logs", key, near(name, known))
        elif not _has_better_end(model, key):
            fix = "Take a metric whose name tells it, or the task's loss."
            refusals.add(argument, "must name metrics whose better end is known", key, fix)
        else:
            signs[key] = 1.0 if model.direction(key) == "min" else -1.0
    return signs


def is_better(value: float, best: float | None, sign: float, least: float) -> bool:
    """Whether a value improves on the best one by more than the least change that counts; NaN never does.

    >>> is_better(0.9, 0.8, -1.0, 0.0), is_better(0.9, 0.8, 1.0, 0.0), is_better(float("nan"), None, 1.0, 0.0)
    (True, False, False)
    """
    if best is None:
        return value == value
    return sign * (best - value) > least


def refuse_unmonitored(callbacks: Sequence[Any], *, validated: bool) -> None:
    """Refuses callbacks of kmtl that look at validation data where there is none.

    Args:
        callbacks: Of a training.
        validated: Whether it has validation data.
    """
    blind = [type(one).__name__ for one in callbacks if getattr(one, "needs_validation", False) and not validated]
    if blind:
        rule = f"must be given: {', '.join(blind)} monitors it"
        fix = "Pass it, or `monitors` of the training as 'digit_accuracy'."
        raise ValueError(refusal("fit", "validation_data", rule, words("none"), fix))


def least_changes(refusals: Refusals, given: Any) -> Any:
    """Records a `min_delta` that is neither a number of at least 0 nor such by log key, and returns it."""
    values = given.values() if isinstance(given, Mapping) else [given]
    good = all(isinstance(one, int | float) and not isinstance(one, bool) and 0 <= one < float("inf") for one in values)
    if not good:
        refusals.add("min_delta", "must be a finite number of at least 0, or such by log key", given)
    return given
