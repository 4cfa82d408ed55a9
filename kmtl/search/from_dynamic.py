"""Fixed weights out of a run with moving ones."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kmtl._checks import Refusals, is_number, words


def from_dynamic(model: Any, *, last: float = 0.5) -> dict[str, float]:
    """Takes the mean weights of a training whose balancer moved them, for a second training with fixed ones.

    Two runs in place of a search: a balancer finds the order of magnitude, and fixed weights train without its noise
    and its cost. The logs' `<task>_weight` is what a task's loss counted in the step; for a balancer of gradients it is
    the weight of the task's gradient in the trunk.

        w_k = K m_k / sum_j m_j,    m_k = mean of `<task>_weight` over the last epochs that had labels of it

    Source: Xin et al., "Do Current Multi-Task Optimization Methods in Deep Learning Even Help?", NeurIPS 2022, and
    Kurin et al., "In Defense of the Unitary Scalarization for Deep Multi-Task Learning", NeurIPS 2022, find that tuned
    fixed weights do as well as the methods.

    Args:
        model: A `MultiTaskModel` that `fit` has trained in this process, or a `History` of one, or its dict of logs.
        last: Share of the epochs, from the end, that count, in (0, 1]; at least one does.

    Returns:
        `{task: weight}`, which sum to the number of tasks: `compile(loss_weights=...)` takes them.

    Raises:
        ValueError: If nothing was trained, or no weights were logged.

    >>> from_dynamic({"digit_weight": [1.0, 0.4, 0.4], "angle_weight": [1.0, 1.6, 1.6], "loss": [3.0, 2.0, 1.0]})
    {'digit': 0.4, 'angle': 1.6}
    """
    logs, tasks = _logs(model)
    with Refusals("from_dynamic") as refusals:
        if not is_number(last) or not 0 < last <= 1:
            refusals.add("last", "must be above 0 and at most 1", last)
        if not tasks:
            fix = "Train it by `fit` first; a loaded model has no history."
            refusals.add("model", "must have logs of its tasks' weights", words("none"), fix)
    means = {task: float(np.nanmean(_end(logs[f"{task}_weight"], last))) for task in tasks}
    total = sum(means.values())
    return {task: round(len(means) * mean / total, 6) for task, mean in means.items()}


def _logs(model: Any) -> tuple[Mapping[str, Sequence[float]], list[str]]:
    """The logs by name and the tasks whose weights they hold, in order."""
    history = getattr(model, "history", model)
    logs = getattr(history, "history", history)
    logs = logs if isinstance(logs, Mapping) else {}
    # With a joint loss, its weight too: what is one number apart must stay so.
    named = list(getattr(getattr(model, "setup", None), "names", ()) or getattr(model, "tasks", ()))
    found = [key.removesuffix("_weight") for key in logs if key.endswith("_weight") and not key.startswith("val_")]
    return logs, [task for task in named or found if f"{task}_weight" in logs]


def _end(values: Sequence[float], last: float) -> Sequence[float]:
    """The last values."""
    return values[-max(1, round(last * len(values))) :]
