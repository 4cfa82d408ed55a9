"""What a step costs on many replicas: computing, and what crosses between them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kmtl import balancers
from kmtl._checks import Refusals, is_number
from kmtl._table import Result, Table

_BYTES = 4


@dataclass(frozen=True)
class Sizes:
    """What of a model decides how much crosses.

    Args:
        tasks: Number of tasks, K.
        shared: Trainable weights that tasks share.
        own: Trainable weights of single tasks.

    >>> Sizes(tasks=3, shared=1_000_000, own=5_000).shared
    1000000
    """

    tasks: int
    shared: int
    own: int

    @classmethod
    def of(cls, model: Any) -> "Sizes":
        """Those of a `MultiTaskModel`."""
        shared = sum(int(variable.shape.num_elements()) for variable in _values(model.shared_variables))
        every = sum(int(variable.shape.num_elements()) for variable in _values(model.trainable_variables))
        return cls(len(model.tasks), shared, every - shared)


@dataclass(frozen=True, repr=False)
class StepCost(Result):
    """What one step of one replica costs, the mean over the steps of `update_every`.

    Attributes:
        compute: Seconds of computing.
        communication: Seconds in which numbers cross and nothing else goes on.
        bytes: Bytes that each replica brings into sums over all replicas.
        sums: Such sums, one after the other.
        plain: Seconds of computing of a plain Keras step.
    """

    compute: float
    communication: float
    bytes: int
    sums: int
    plain: float

    @property
    def seconds(self) -> float:
        """All of the step."""
        return self.compute + self.communication

    @property
    def efficiency(self) -> float:
        """Share of the step that a plain step takes, of one replica alone and without balancing."""
        return self.plain / self.seconds

    def parts(self) -> list[str | Table]:
        """The numbers in one row."""
        row = {
            "compute, ms": 1000 * self.compute,
            "communication, ms": 1000 * self.communication,
            "bytes": self.bytes,
            "sums": self.sums,
            "efficiency": self.efficiency,
        }
        return [Table([row], {"bytes": ",", "efficiency": ".3f"})]


def cost(
    sizes: Any,
    balancer: Any = "equal",
    *,
    replicas: int,
    step_seconds: float,
    bandwidth: float,
    latency: float = 20e-6,
    backward_share: float = 0.6,
    overlap: float = 0.0,
) -> StepCost:
    """Predicts the time of a step on many replicas.

    With K tasks, S shared and O own weights, a replica brings in (numbers of 4 bytes):

        losses                K-vectors, S + O
        level="features"      K-vectors, K^2, S + O
        level="parameters"    K-vectors, K S + O          the direction is then known everywhere
        needs gradients       K-vectors, K S + O
        gram_fraction         K-vectors, K S + S + O
        solve="online"        K-vectors, S + O
        in between            K-vectors, S + O            the steps that `update_every` leaves out

    A ring over R replicas sums B bytes in `2 (R - 1) / R * B / bandwidth + 2 (R - 1) * latency` seconds
    (Patarasuk and Yuan, "Bandwidth Optimal All-reduce Algorithms for Clusters of Workstations", J. Parallel
    and Distributed Computing, 2009). One plain step is `backward_share` backward pass, the rest forward pass and
    update; a method of the Gramian takes K passes back, `famo` looks forward twice, online slopes cost a
    forward and a backward pass more, a method by features or losses the plain step.

    What it leaves out: waiting for the slowest replica, the optimizer's time on many small weights, reading data.

    Args:
        sizes: A `MultiTaskModel`, or `Sizes`.
        balancer: A name of `kmtl.balancers.names()`, or a balancer.
        replicas: How many replicas, R.
        step_seconds: Measured seconds of a plain Keras step of one replica on its own part of the batch.
        bandwidth: Bytes a second that one replica can send, and receive at the same time, by the ring's slowest link.
        latency: Seconds until the first byte arrives.
        backward_share: Part of the plain step that is the backward pass, in (0, 1).
        overlap: Part of the crossing that goes on beside the computing, in [0, 1].

    Raises:
        ValueError: With all offenders.

    >>> eight = cost(Sizes(3, 25_000_000, 6_000), "upgrad", replicas=8, step_seconds=0.1, bandwidth=100e9)
    >>> round(eight.compute, 3), round(eight.communication, 4), eight.bytes
    (0.22, 0.0069, 300024100)
    """
    _check(replicas, step_seconds, bandwidth, latency, backward_share, overlap)
    sizes = sizes if isinstance(sizes, Sizes) else Sizes.of(sizes)
    chosen = balancers.get(balancer)
    due, rest = _due(chosen, sizes, backward_share), _plain_step(sizes)
    often = 1 / chosen.update_every
    passes, numbers, sums = (often * one + (1 - often) * other for one, other in zip(due, rest, strict=True))
    crossing = _ring(_BYTES * numbers, sums, replicas, bandwidth, latency)
    compute = passes * step_seconds
    return StepCost(compute, (1 - overlap) * crossing, round(_BYTES * numbers), round(sums), step_seconds)


def _due(balancer: Any, sizes: Sizes, back: float) -> tuple[float, float, float]:
    """Plain steps, numbers and sums of a step that makes new weights."""
    tasks, shared, own = sizes.tasks, sizes.shared, sizes.own
    passes, numbers, sums = _plain_step(sizes)
    if balancer.needs == "losses":
        again = balancer.looks_again
        return passes + again * (1 - back), numbers + again * 2 * tasks, sums + again
    if balancer.level == "features":
        return passes, numbers + tasks**2, sums + 1
    if balancer.solve == "online":
        return passes + 1, numbers + 2 * tasks, sums + 3
    if balancer.gram_fraction < 1:
        slices = balancer.gram_fraction * (1 - back + tasks * back)
        return passes + slices, numbers + 3 * tasks + tasks * shared, sums + tasks + 3
    return passes + (tasks - 1) * back, 2 * tasks + _log_numbers(tasks) + tasks * shared + own, sums + tasks


def _plain_step(sizes: Sizes) -> tuple[float, float, float]:
    """Those of a plain step: the losses, the gradients, the logs."""
    return 1.0, 2 * sizes.tasks + _log_numbers(sizes.tasks) + sizes.shared + sizes.own, 3


def _log_numbers(tasks: int) -> int:
    """Numbers that the losses' and the metrics' logs need, with one metric a task."""
    return 6 * tasks + 1


def _ring(size: float, sums: float, replicas: int, bandwidth: float, latency: float) -> float:
    """Seconds for so many bytes in so many sums around a ring."""
    return 2 * (replicas - 1) * (size / replicas / bandwidth + sums * latency)


def _check(
    replicas: int, step_seconds: float, bandwidth: float, latency: float, backward_share: float, overlap: float
) -> None:
    """Refuses what no machine is like."""
    with Refusals("cost") as refusals:
        if isinstance(replicas, bool) or not isinstance(replicas, int) or replicas < 1:
            refusals.add("replicas", "must be a whole number of at least 1", replicas)
        for name, value in (("step_seconds", step_seconds), ("bandwidth", bandwidth)):
            if not is_number(value) or value <= 0:
                refusals.add(name, "must be above 0 and finite", value)
        if not is_number(latency) or latency < 0:
            refusals.add("latency", "must be at least 0", latency)
        if not is_number(backward_share) or not 0 < backward_share < 1:
            refusals.add("backward_share", "must lie between 0 and 1", backward_share)
        if not is_number(overlap) or not 0 <= overlap <= 1:
            refusals.add("overlap", "must be at least 0 and at most 1", overlap)


def _values(variables: Sequence[Any]) -> list[Any]:
    """The backend's variables, whose shapes can be counted."""
    return [variable.value for variable in variables]
