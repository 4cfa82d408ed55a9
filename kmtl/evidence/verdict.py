"""What the figures of some batches amount to, in words."""

from typing import Any, NamedTuple

# An order of magnitude: below it Adam and a tuned static weight make up the difference.
SCALES_DIFFER = 10.0
# A third of the batches, and an angle that is not noise around 90 degrees.
CONFLICT_SHARE, CONFLICT_COSINE = 1 / 3, -0.1
# From this many tasks on, one backward pass a task is too dear.
MANY_TASKS = 8
# A loss that is nearer to that of a constant output has not learned from the inputs.
LEARNED_BELOW = 0.98


class Extremes(NamedTuple):
    """The largest of some numbers over the smallest.

    Attributes:
        ratio: The quotient; 1 for fewer than two.
        largest: Whose number is largest.
        smallest: Whose is smallest.
    """

    ratio: float
    largest: str
    smallest: str

    @classmethod
    def of(cls, values: Any) -> "Extremes":
        """Of a pandas column."""
        if len(values) < 2:
            return cls(1.0, "", "")
        return cls(float(values.max() / values.min()), str(values.idxmax()), str(values.idxmin()))


def verdict(tasks: Any, pairs: Any, batches: int, *, is_trained: bool) -> tuple[str, str]:
    """Name of a balancer, and the reason.

    Args:
        tasks: A row a task, by its name, as `Advice.tasks`.
        pairs: A row a pair, as `Advice.pairs`.
        batches: How many batches were looked at.
        is_trained: Whether the model has taken a step.
    """
    alive = tasks[(tasks["gradient_norm"] > 0) & ~tasks["is_dead"]]
    weighted, plain = (
        Extremes.of(norms) for norms in (alive["gradient_norm"], alive["gradient_norm"] / alive["loss_weight"])
    )
    own = weighted.ratio >= SCALES_DIFFER > plain.ratio
    fighting = pairs[(pairs["conflicts"] > CONFLICT_SHARE) & (pairs["cosine"] < CONFLICT_COSINE)]
    differ = weighted.ratio >= SCALES_DIFFER and not own
    balancer, method = _method(weighted, differ, own, fighting)
    hint = " With this many tasks take level='features', or solve='online' where the method has it."
    many = hint if len(tasks) >= MANY_TASKS and balancer != "equal" else ""
    said = [
        f"Looked at {batches} batches.",
        *_dead(tasks),
        *_unlearned(tasks, is_trained=is_trained),
        *_own_weights(tasks, weighted, plain),
        *_unmeasured(pairs),
        method + many,
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
    if weighted.ratio >= SCALES_DIFFER > plain.ratio:
        said.append(
            f"Your own loss_weights ({weights}) make the gradient of {weighted.largest!r} {weighted.ratio:.0f} times "
            f"that of {weighted.smallest!r}; at equal weights the largest is {plain.ratio:.1f} times the smallest. Set "
            "them nearer to each other, unless that is what you want."
        )
    elif plain.ratio >= SCALES_DIFFER > weighted.ratio:
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


def _method(weighted: Extremes, differ: bool, own: bool, fighting: Any) -> tuple[str, str]:
    """The balancer that the norms and, after them, the cosines ask for."""
    ratio, largest, smallest = weighted
    scales = f"Scales differ: the gradient of {largest!r} is {ratio:.0f} times that of {smallest!r}."
    conflict = f"Gradients conflict: {', '.join(f'{a!r} and {b!r}' for a, b in fighting[['task', 'other']].values)}."
    if not weighted.largest:
        return (
            "equal",
            "Fewer than two tasks move the shared weights: there is nothing to balance. Keep balancer='equal'.",
        )
    if fighting.empty and not differ:
        sizes = "No" if own else f"The largest gradient is {ratio:.1f} times the smallest, and no"
        return "equal", (
            f"{sizes} pair conflicts for long: neither scale nor direction asks for a special method. Keep "
            "balancer='equal' and search the loss weights and the learning rate."
        )
    if fighting.empty:
        return "unit", (
            f"{scales} Use balancer='unit' (each gradient counts its direction alone), or at the price of the "
            "plain step 'si' or 'uncertainty'. Static weights near 1 / norm do most of it."
        )
    if not differ:
        return "upgrad", (
            f"{conflict} Use balancer='upgrad', whose direction ascends no task; compare it with equal "
            "weights under the same learning-rate search."
        )
    return "nash", (
        f"{scales} {conflict} Use balancer='nash', which neither scale nor conflict misleads; compare it with "
        "'unit' and with static weights near 1 / norm."
    )
