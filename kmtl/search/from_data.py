"""Loss weights from data: by the number of labels, by the first loss, by difficulty.

All return `{task: weight}` with mean 1, for `compile(loss_weights=...)` or
`model.set_loss_weights(...)`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from keras import ops

from kmtl._checks import Refusals, refusal
from kmtl.balancers.capping import capped, check_cap
from kmtl.feeding import DataStatistics, feed
from kmtl.tasks import Task


def power_weights(values: Mapping[str, float], exponent: float, owner: str = "power_weights") -> dict[str, float]:
    """Weights proportional to a power of one positive number a task: `w_k = K v_k^a / sum_j v_j^a`.

    Args:
        values: A positive, finite number a task.
        exponent: The power `a`; 1 is proportional, -1 inverse, 0 equal.
        owner: For the message.

    Raises:
        ValueError: If a value is not positive and finite; every such task is named.

    >>> power_weights({"digit": 100.0, "angle": 300.0}, 1.0)
    {'digit': 0.5, 'angle': 1.5}
    """
    with Refusals(owner) as refusals:
        for name, value in values.items():
            if not 0 < value < float("inf"):
                refusals.add(f"values[{name!r}]", "must be above 0 and finite", value)
    # Relative to the largest first, so that no power overflows.
    largest = max(values.values())
    powers = {name: (value / largest) ** exponent for name, value in values.items()}
    total = sum(powers.values())
    return {name: len(powers) * power / total for name, power in powers.items()}


def by_label_count(data: Any, tasks: Sequence[Task], *, exponent: float = 1.0, y: Any = None) -> dict[str, float]:
    """Weights by the number of labels a task: `w_k` proportional to `N_k^a`.

    Args:
        data: As `x` of `fit`.
        tasks: The tasks.
        exponent: 1 trusts tasks with many labels more, -1 lifts those with few, 0 is equal.
        y: As `y` of `fit`.

    Raises:
        ValueError: If a task has no label.

    >>> import numpy as np
    >>> from kmtl.tasks import Regression
    >>> labels = {"age": np.array([30.0, np.nan]), "height": np.array([1.6, 1.8])}
    >>> weights = by_label_count(np.ones((2, 3)), [Regression("age"), Regression("height")], y=labels, exponent=-1.0)
    >>> round(weights["age"] / weights["height"], 3)
    2.0
    """
    named = {task.name: task for task in tasks}
    given = feed(data, y, None, named, "by_label_count", all_needed=False)
    found = DataStatistics.of(named, given.batches(None))
    counts = {name: float(labels.labelled) for name, labels in found.tasks.items()}
    return power_weights(counts, exponent, "by_label_count")


def by_initial_loss(
    model: Any, data: Any, *, exponent: float = -1.0, y: Any = None, steps: int | None = None
) -> dict[str, float]:
    """Weights by each task's loss at the start: `w_k` proportional to `L_k(0)^a`; -1 makes all terms alike.

    Args:
        model: A compiled model, usually untrained; its statistics are learned if need be.
        data: As `x` of `evaluate`.
        exponent: The power.
        y: As `y` of `evaluate`.
        steps: Number of batches to look at; None looks at all.

    Raises:
        ValueError: If a task has no label in the data or a loss of 0.
    """
    if any(not layer.is_learned for layer in model.scalers.values()):
        model.adapt(data, y, steps=steps)
    logs = model.evaluate(data, y, steps=steps, verbose=0, return_dict=True)
    return power_weights({name: logs[f"{name}_loss"] for name in model.tasks}, exponent, "by_initial_loss")


def by_difficulty(
    difficulties: Mapping[str, float], *, exponent: float = 1.0, cap: float | None = None
) -> dict[str, float]:
    """Weights by how hard each task is: `w_k` proportional to `difficulty_k^a`.

    For weights that move during the training, `kmtl.balancers.by_difficulty`.

    Args:
        difficulties: A positive number a task, larger for harder: `L_k / L_k(0)`
            late in a run, `1 - accuracy`, or a single-task model's error. Noisy
            labels look hard too.
        exponent: Positive lifts hard tasks, negative easy ones; both are published.
        cap: No weight is above this, nor below its inverse; None for as the power says.

    Raises:
        ValueError: If there are none, or one is not positive, or the cap is not above 1.

    >>> by_difficulty({"digit": 0.25, "angle": 0.75})["angle"]
    1.5
    >>> by_difficulty({"digit": 0.25, "angle": 0.75}, cap=1.25)["digit"]
    0.8
    """
    limit = check_cap("by_difficulty", cap)
    if not difficulties:
        raise ValueError(refusal("by_difficulty", "difficulties", "must name the tasks", dict(difficulties)))
    found = power_weights(difficulties, exponent, "by_difficulty")
    if limit is None:
        return found
    within = capped(ops.array(list(found.values()), "float64"), ops.ones((len(found),), "bool"), limit)
    return dict(zip(found, ops.convert_to_numpy(within).tolist(), strict=True))
