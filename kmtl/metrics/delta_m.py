"""One number for all tasks, in the field's two conventions: the change against single-task models."""

from collections.abc import Mapping, Sequence
from typing import Any

from kmtl._checks import Refusals, is_number, near, refusal
from kmtl.tasks import Task

# Of a metric where more is better.
NEAR_ZERO = 1e-3


def delta_m(
    values: Mapping[str, Mapping[str, float]], baselines: Mapping[str, Mapping[str, float]], tasks: Sequence[Task]
) -> float:
    """Mean signed relative change against single-task models, in percent; negative is better.

        delta_m = 100 / S * sum_i (-1)^{d_i} (M_i - B_i) / |B_i|

    over all S metrics of all tasks, with `d_i = 1` where more is better. A baseline may be negative, as an R2 is; one
    near 0 makes any change endless, and is refused.

    Args:
        values: `{task: {metric: value}}` of the joint model.
        baselines: The same of the single-task models; only metrics named here count.
        tasks: The tasks, which know each metric's better end.

    Returns:
        Percent. NaN if a value is NaN.

    Raises:
        ValueError: If a task or metric is unknown, or a baseline is near 0 or not finite.

    Source: Maninis, Radosavovic and Kokkinos, "Attentive Single-Tasking of
    Multiple Tasks", CVPR 2019 (there with the opposite sign, and dividing by `B_i`, which is never negative).

    >>> from kmtl.tasks import Classification, Regression
    >>> tasks = [Regression("angle"), Classification("digit", 10)]
    >>> joint = {"angle": {"mae": 5.5}, "digit": {"accuracy": 0.95}}
    >>> single = {"angle": {"mae": 5.0}, "digit": {"accuracy": 0.9}}
    >>> round(delta_m(joint, single, tasks), 3)
    2.222
    """
    changes = [change for found in _changes(values, baselines, tasks, "delta_m").values() for change in found]
    return sum(changes) / len(changes)


def delta_p(
    values: Mapping[str, Mapping[str, float]], baselines: Mapping[str, Mapping[str, float]], tasks: Sequence[Task]
) -> float:
    """Mean relative gain against single-task models, in percent, each task counted once; positive is better.

        delta_p = 100 / T * sum_t 1 / S_t * sum_i (-1)^{1 - d_ti} (M_ti - B_ti) / |B_ti|

    over the S_t metrics of each of T tasks, with `d_ti = 1` where more is better. The sign is the opposite of
    `delta_m`'s, and so may be the verdict: a task of five metrics counts once here and five times there.

    Args:
        values: As of `delta_m`.
        baselines: As of `delta_m`.
        tasks: As of `delta_m`.

    Returns:
        Percent. NaN if a value is NaN.

    Raises:
        ValueError: As of `delta_m`.

    Source: Lin, Jiang, Ye, Zhang, Chen, Chen, Liu and Kwok, "Dual-Balancing for Multi-Task Learning", 2023
    (arXiv 2308.12029); LibMTL.

    >>> from kmtl.tasks import Classification, Regression
    >>> tasks = [Regression("angle"), Classification("digit", 10)]
    >>> joint = {"angle": {"mae": 5.5, "rmse": 6.0}, "digit": {"accuracy": 0.99}}
    >>> single = {"angle": {"mae": 5.0, "rmse": 6.0}, "digit": {"accuracy": 0.9}}
    >>> round(delta_p(joint, single, tasks), 3), round(delta_m(joint, single, tasks), 3)
    (2.5, 0.0)
    """
    means = [sum(found) / len(found) for found in _changes(values, baselines, tasks, "delta_p").values()]
    return -sum(means) / len(means)


def _changes(values: Any, baselines: Any, tasks: Sequence[Task], owner: str) -> dict[str, list[float]]:
    """Signed relative changes of each task's metrics, in percent; negative is better."""
    known = {task.name: task for task in tasks}
    check_baselines(baselines, known, owner)
    changes: dict[str, list[float]] = {name: [] for name in baselines}
    for name, metrics in baselines.items():
        for metric, base in metrics.items():
            if metric not in values.get(name, {}):
                got = {key: list(found) for key, found in values.items()}
                raise ValueError(refusal(owner, "values", f"must hold {metric!r} of {name!r}", got))
            sign = -1.0 if known[name].direction(metric) == "max" else 1.0
            changes[name].append(100.0 * sign * (float(values[name][metric]) - float(base)) / abs(float(base)))
    return changes


def check_baselines(baselines: Any, tasks: Mapping[str, Task], owner: str) -> None:
    """Refuses baselines that delta_m is undefined for: empty, of unknown tasks, zero, not finite."""
    with Refusals(owner) as refusals:
        if not isinstance(baselines, Mapping) or not baselines:
            refusals.add("baselines", "must be a dict {task: {metric: value}}", baselines)
            return
        for name, metrics in baselines.items():
            if name not in tasks:
                refusals.add("baselines", "must use task names as keys", name, near(str(name), tasks))
            elif not isinstance(metrics, Mapping) or not metrics:
                refusals.add("baselines", f"of {name!r} must be a dict {{metric: value}}", metrics)
            else:
                _check_values(refusals, tasks[name], metrics)


def _check_values(refusals: Refusals, task: Task, metrics: Mapping[str, Any]) -> None:
    """Records baselines that one cannot divide by."""
    for metric, value in metrics.items():
        if not is_divisor(task, metric, value):
            rule = f"of {task.name!r} must be finite and not near 0 for {metric!r}"
            fix = "delta_m divides by it: train the single task longer, or leave the metric out."
            refusals.add("baselines", rule, value, fix)


def is_divisor(task: Task, metric: str, value: Any) -> bool:
    """Whether a change may be told relative to a baseline.

    Where more is better the best value is about 1, and below a thousandth a model has learned nothing; an error is in a
    unit of its own, and may be as small as it likes.

    Args:
        task: Whose metric it is.
        metric: Its name.
        value: The baseline.

    >>> from kmtl.tasks import Regression
    >>> task = Regression("angle")
    >>> is_divisor(task, "r2", -0.5), is_divisor(task, "r2", 1e-5), is_divisor(task, "mae", 1e-5)
    (True, False, True)
    """
    if not is_number(value):
        return False
    try:
        is_more_better = task.direction(metric) == "max"
    except ValueError:
        is_more_better = False
    return bool(abs(value) >= NEAR_ZERO if is_more_better else value != 0)
