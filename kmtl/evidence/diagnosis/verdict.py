"""What the figures of some batches amount to, in words."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from kmtl.evidence.intervals import interval

# An order of magnitude: below it Adam and a tuned static weight make up the difference.
SCALES_DIFFER = 10.0
# An angle that is not noise around 90 degrees.
CONFLICT_COSINE = -0.1
# From this many tasks on, one backward pass a task is too dear.
MANY_TASKS = 8
# A loss that is nearer to that of a constant output has not learned from the inputs.
LEARNED_BELOW = 0.98


_FURTHER = (
    "Width, hidden layers in the heads and length come before any balancer: kmtl.evidence.diagnose tells by short "
    "trainings which of them a task lacks, kmtl.evidence.compare whether it pays."
)


class Extremes(NamedTuple):
    """The largest of some tasks' numbers over the smallest.

    Attributes:
        ratio: The quotient; 1 for fewer than two.
        largest: Whose number is largest.
        smallest: Whose is smallest.
        low: Lower end of the quotient's 95 % Student interval over the batches, taken of its logarithm.
        high: Its upper end.
    """

    ratio: float
    largest: str
    smallest: str
    low: float
    high: float

    @classmethod
    def of(cls, values: Any, norms: Mapping[str, Any], weights: Any = None) -> "Extremes":
        """Of a pandas column.

        Args:
            values: A number a task.
            norms: `{task: lengths by batch}`, of which the interval is made.
            weights: What the lengths are divided by, a pandas column; None divides by 1.
        """
        if len(values) < 2:
            return cls(1.0, "", "", 1.0, 1.0)
        largest, smallest = str(values.idxmax()), str(values.idxmin())
        ratio = float(values.max() / values.min())
        factor = 1.0 if weights is None else float(weights[smallest] / weights[largest])
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.log(norms[largest] / norms[smallest] * factor)
        half = interval(logs[np.isfinite(logs)].tolist())
        if np.isnan(half):
            return cls(ratio, largest, smallest, 0.0, float("inf"))
        ends = np.log(ratio) - half, np.log(ratio) + half
        return cls(ratio, largest, smallest, *(float(np.exp(min(end, 700.0))) for end in ends))

    @property
    def differ(self) -> bool:
        """Whether the whole interval is at the threshold or above."""
        return self.low >= SCALES_DIFFER

    @property
    def are_alike(self) -> bool:
        """Whether the whole interval is below."""
        return self.high < SCALES_DIFFER


def verdict(tasks: Any, pairs: Any, norms: Mapping[str, Any], batches: int, *, is_trained: bool) -> tuple[str, str]:
    """Name of a balancer, and the reason.

    Args:
        tasks: A row a task, by its name, as `Advice.tasks`.
        pairs: A row a pair, as `Advice.pairs`.
        norms: `{task: length of its gradient in each batch}`, under the loss weights.
        batches: How many batches were looked at.
        is_trained: Whether the model has taken a step.
    """
    alive = tasks[(tasks["gradient_norm"] > 0) & ~tasks["is_dead"]]
    length, weight = alive["gradient_norm"], alive["loss_weight"]
    weighted, plain = Extremes.of(length, norms), Extremes.of(length / weight, norms, weight)
    own = weighted.differ and plain.are_alike
    opposed = pairs[pairs["cosine"] + pairs["cosine_interval"] < CONFLICT_COSINE]
    fighting = opposed if is_trained else opposed[:0]
    balancer, method = _method(weighted, weighted.differ and plain.differ, own, fighting)
    hint = " With this many tasks take level='features', or solve='online' where the method has it."
    many = hint if len(tasks) >= MANY_TASKS and balancer != "equal" else ""
    said = [
        f"Looked at {batches} batches.",
        *_dead(tasks),
        *_unlearned(tasks, is_trained=is_trained),
        *_own_weights(tasks, weighted, plain),
        *_unmeasured(pairs),
        *_undecided(weighted, plain, pairs, opposed, is_trained=is_trained),
        method + many,
        _FURTHER,
    ]
    return balancer, " ".join(said)


def _listed(names: Any) -> str:
    """Names in quotes."""
    return ", ".join(map(repr, names))


def _dead(tasks: Any) -> list[str]:
    """What is to be done about tasks that move nothing that is shared."""
    dead = list(tasks.index[tasks["is_dead"]])
    if not dead:
        return []
    return [
        f"Dead: no gradient of {_listed(dead)} reaches the shared weights, it is 0 in every batch, and no balancer and "
        "no weight changes that. Look for a stopped gradient, or for units that are always 0, between trunk and head."
    ]


def _unlearned(tasks: Any, *, is_trained: bool) -> list[str]:
    """Which tasks are no better than a constant output."""
    here = (tasks["guessing"] > 1e-6) & (tasks["loss"] > LEARNED_BELOW * tasks["guessing"])
    names = list(tasks.index[here])
    if not names:
        return []
    listed = ", ".join(
        f"{name!r} (loss {tasks['loss'][name]:.4g}, guessing {tasks['guessing'][name]:.4g})" for name in names
    )
    if not is_trained:
        return [f"Not trained yet, and so no better than guessing: {listed}. Look again after some epochs."]
    return [
        f"No better than guessing, a constant output: {listed}. If that lasts, its labels do not follow from the "
        "inputs (shuffled apart, a wrong column), or the learning rate is far off; weights do not mend that."
    ]


def _own_weights(tasks: Any, weighted: Extremes, plain: Extremes) -> list[str]:
    """What the user's own loss weights do."""
    out = list(tasks.index[tasks["loss_weight"] == 0])
    said = [f"Sitting out, with a loss weight of 0: {_listed(out)}."] if out else []
    weights = ", ".join(f"{name!r}: {weight:.4g}" for name, weight in tasks["loss_weight"].items())
    if weighted.differ and plain.are_alike:
        said.append(
            f"Your own loss_weights ({weights}) make the gradient of {weighted.largest!r} {weighted.ratio:.0f} times "
            f"that of {weighted.smallest!r}; at equal weights the largest is {plain.ratio:.1f} times the smallest. Set "
            "them nearer to each other, unless that is what you want."
        )
    elif plain.differ and weighted.are_alike:
        said.append(
            f"Your loss_weights ({weights}) bring gradients within {weighted.ratio:.1f} of each other that differ "
            f"{plain.ratio:.0f} times at equal weights: keep them."
        )
    return said


def _unmeasured(pairs: Any) -> list[str]:
    """Which pairs have no cosine."""
    names = [f"{one!r} and {other!r}" for one, other in pairs[~pairs["is_measurable"]][["task", "other"]].values]
    if not names:
        return []
    return [f"Not measurable, for want of rows labelled for both: the direction of {'; '.join(names)}."]


def _undecided(weighted: Extremes, plain: Extremes, pairs: Any, opposed: Any, *, is_trained: bool) -> list[str]:
    """What the batches do not agree on, or what they cannot tell."""
    said = []
    if not (weighted.differ or weighted.are_alike) or (weighted.differ and not (plain.differ or plain.are_alike)):
        said.append(
            f"Undecided, whether scales differ: the gradient of {weighted.largest!r} is {weighted.ratio:.1f} times "
            f"that of {weighted.smallest!r}, between {weighted.low:.2g} and {weighted.high:.2g} over the batches, and "
            f"the threshold is {SCALES_DIFFER:.0f}. Take more batches."
        )
    if not is_trained and len(opposed):
        said.append(
            f"Of an untrained model the heads' random start decides which way gradients point: nothing follows for "
            f"{_pairs_listed(opposed)}."
        )
    perhaps = pairs[(pairs["cosine"] < CONFLICT_COSINE) & ~pairs.index.isin(opposed.index)]
    if is_trained and len(perhaps):
        said.append(f"Undecided, whether gradients conflict: {_pairs_listed(perhaps)}. Take more batches.")
    return said


def _pairs_listed(pairs: Any) -> str:
    """Pairs with their mean cosines."""
    rows = pairs[["task", "other", "cosine", "cosine_interval"]].values
    return ", ".join(f"{a!r} and {b!r} (mean cosine {mean:.2f} ± {half:.2f})" for a, b, mean, half in rows)


def _conflict_told(fighting: Any) -> str:
    """Which pairs conflict, and what that is worth."""
    return (
        f"Gradients conflict: {_pairs_listed(fighting)}. At the end of a joint training those of two tasks always do, "
        "their sum being 0: whether it costs anything, runs alone tell."
    )


def _method(weighted: Extremes, differ: bool, own: bool, fighting: Any) -> tuple[str, str]:
    """The balancer that the norms and, after them, the cosines ask for."""
    ratio, largest, smallest = weighted[:3]
    scales = f"Scales differ: the gradient of {largest!r} is {ratio:.0f} times that of {smallest!r}."
    conflict = _conflict_told(fighting)
    if not weighted.largest:
        return (
            "equal",
            "Fewer than two tasks move the shared weights: there is nothing to balance. Keep balancer='equal'.",
        )
    if fighting.empty and not differ:
        sizes = (
            "No" if own or not weighted.are_alike else f"The largest gradient is {ratio:.1f} times the smallest, and no"
        )
        return "equal", (
            f"{sizes} pair is seen to conflict: nothing here asks for a special method. Keep balancer='equal' and "
            "search the loss weights and the learning rate."
        )
    if fighting.empty:
        return "unit", (
            f"{scales} Static weights near 1 / norm do most of it, and balancer='unit' does it by itself: each "
            "gradient counts its direction alone."
        )
    if not differ:
        return "upgrad", (
            f"{conflict} balancer='upgrad' ascends no task; compare it with equal weights under the same search of the "
            "learning rate."
        )
    return "nash", (
        f"{scales} {conflict} Neither misleads balancer='nash'; compare it with 'unit' and with static weights near "
        "1 / norm."
    )
