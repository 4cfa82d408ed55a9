"""What a task's loss or gradient is divided by before a method sees it."""

from typing import Any

from keras import ops

from kmtl._checks import near, refusal, require, words
from kmtl._types import Tensor
from kmtl.balancers.signals import Signals, norms

NORMALIZERS = ("l2", "loss", "loss+", "initial")
FIRST_STEPS = 20


def check_normalize(owner: str, normalize: Any, needs: str) -> None:
    """Refuses a normaliser that is unknown, or that needs gradients where there are none."""
    known = NORMALIZERS if needs != "losses" else ("initial",)
    fix = near(str(normalize), known)
    require(normalize is None or normalize in known, owner, "normalize", f"must be None or of {known}", normalize, fix)


class InitialLosses:
    """The mean loss of each task over its first steps.

    One batch alone is a noisy yardstick for the whole training.

    Args:
        owner: The balancer whose state it is.
        count: Number of tasks.
        steps: How many steps of a task make the mean; until then it is that of the steps so far.
    """

    def __init__(self, owner: Any, count: int, steps: int = FIRST_STEPS) -> None:
        self.owner = owner
        self.steps = float(steps)
        self.total = owner.state((count,), "zeros", "initial_total")
        self.number = owner.state((count,), "zeros", "initial_number")

    def of(self, losses: Tensor, present: Tensor) -> Tensor:
        """Takes a step's losses in while they are the first, and returns the means `(K,)`; 1 before any."""
        early = present & (self.number < self.steps)
        self.owner.move(self.total, self.total + losses, early)
        self.owner.move(self.number, self.number + 1.0, early)
        mean = self.total / ops.maximum(self.number, 1.0)
        return ops.where(mean > 0, mean, 1.0)


def divisors(normalize: str | None, signals: Signals, initial: Any, owner: str) -> Tensor:
    """What each task's gradient is divided by, `(K,)`.

    >>> signals = Signals(ops.array([True, True]), ops.array([2.0, 3.0]), ops.array([[9.0, 0.0], [0.0, 1.0]]))
    >>> divisors("loss+", signals, None, "MGDA").numpy().tolist()
    [6.0, 3.0]
    """
    if normalize is not None and normalize != "l2" and signals.losses is None:
        rule = f"are needed to normalize by {normalize!r}"
        raise ValueError(refusal(owner, "losses", rule, words("none")))
    found = ops.ones_like(ops.cast(signals.present, "float32"))
    if normalize in ("l2", "loss+"):
        found = found * norms(signals.gram, signals.present)
    if normalize in ("loss", "loss+"):
        found = found * ops.where(signals.losses > 0, signals.losses, 1.0)
    if normalize == "initial":
        found = initial.of(signals.losses, signals.present)
    return found


def divide_signals(signals: Signals, by: Tensor) -> Signals:
    """Signals of the tasks' losses and gradients divided by something a task."""
    losses = None if signals.losses is None else signals.losses / by
    gram = None if signals.gram is None else signals.gram / by[:, None] / by[None, :]
    return signals._replace(losses=losses, gram=gram)
