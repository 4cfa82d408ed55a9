"""Balancers that let one sign through in every element."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from kmtl._checks import is_number, require
from kmtl._types import ByTask, Tensor
from kmtl.balancers.by_gradients.base import GradientBalancer
from kmtl.balancers.by_task import by_task
from kmtl.balancers.registry import register
from kmtl.balancers.signals import Signals


def graddrop_direction(gradients: Tensor, uniforms: Tensor, leaks: Tensor) -> Tensor:
    """Sum of the gradients of which each element keeps the positive or the negative parts.

        P = (1 + sum_k g_k / sum_k |g_k|) / 2                         (1/2 where all are 0)
        M_k = [P > U] [g_k > 0] + [P <= U] [g_k < 0]
        d = sum_k (leak_k + (1 - leak_k) M_k) g_k

    Args:
        gradients: `(K, P)`.
        uniforms: Uniform numbers `U` in [0, 1), `(P,)`: one an element, the same for every task.
        leaks: Share of each gradient that is never dropped, `(K,)`.

    Returns:
        The direction, `(P,)`.

    >>> gradients = ops.array([[3.0, 1.0], [-1.0, 1.0]])
    >>> direction = graddrop_direction(gradients, ops.array([0.8, 0.8]), ops.zeros((2,)))
    >>> ops.convert_to_numpy(direction).tolist()
    [-1.0, 2.0]
    """
    size = ops.sum(ops.abs(gradients), axis=0)
    purity = 0.5 * (1.0 + ops.sum(gradients, axis=0) / ops.where(size > 0, size, 1.0))
    # Where all agree, P is 0 or 1 and no draw from [0, 1) drops anything.
    kept = ops.where(purity > uniforms, ops.maximum(gradients, 0.0), ops.minimum(gradients, 0.0))
    leaks = leaks[:, None]
    return ops.sum(leaks * gradients + (1.0 - leaks) * kept, axis=0)


def _as_leak(leak: Any) -> float | dict[str, float]:
    """Returns the leak as a float or a dict of floats, or refuses what is no share."""
    values = list(leak.values()) if isinstance(leak, Mapping) else [leak]
    good = all(is_number(value) and 0 <= value <= 1 for value in values)
    require(good, "GradDrop", "leak", "must be between 0 and 1, one number or {task: number}", leak)
    return {name: float(value) for name, value in leak.items()} if isinstance(leak, Mapping) else float(leak)


@register("graddrop")
class GradDrop(GradientBalancer):
    """Picks one sign for every element of the gradient and drops what pulls the other way.

        keep the positive parts with probability P = (1 + sum_k g_k / sum_k |g_k|) / 2, else the negative

    Where all tasks agree it is the plain sum. It needs no solver, and is noise
    as much as balance: dropping at random, whatever the signs, did as well in
    Kurin et al., "In Defense of the Unitary Scalarization for Deep Multi-Task
    Learning", NeurIPS 2022. It promises no common descent. Published re-runs
    put it close to the plain sum: Office-Home -2.02 % against -2.05 % (Lin et
    al., arXiv 2308.12029).

    Args:
        leak: Share of each gradient that is never dropped, in [0, 1]: one number,
            or `{task: number}`, where a task left out leaks nothing. 1 is the plain sum.
        seed: Of the draws; None draws one from Keras's global seed.
        **options: As for `GradientBalancer`. `scale` changes nothing: the
            paper's own length is that of the sum.

    Source: Chen et al., "Just Pick a Sign: Optimizing Deep Multitask Models with
    Gradient Sign Dropout", NeurIPS 2020. Departure: the paper takes the signs
    of the features' gradients times the features' own signs, summed over the
    batch; here each element of the gradient stands for itself, on either level.

    >>> gradients = ops.array([[1.0, 2.0], [3.0, 1.0]])
    >>> ops.convert_to_numpy(GradDrop().combine(gradients)).tolist()
    [4.0, 3.0]
    """

    def __init__(self, *, leak: float | ByTask[float] = 0.0, seed: int | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.leak = _as_leak(leak)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def prepare(self, tasks: Sequence[Any], size: int | None = None) -> None:
        """Makes the state; refuses a leak of a task that is not there."""
        super().prepare(tasks, size)
        self.leaks(len(self.tasks))

    def leaks(self, count: int) -> list[float]:
        """One share a task, in order."""
        if not isinstance(self.leak, Mapping):
            return [self.leak] * count
        return by_task("GradDrop", "leak", self.leak, self.tasks, count, 0.0)

    def transform(self, gradients: Tensor, signals: Signals) -> tuple[Tensor, Tensor]:
        """The sum of what is kept under fresh draws."""
        del signals
        uniforms = keras.random.uniform((gradients.shape[1],), seed=self.seed_generator)
        return graddrop_direction(gradients, uniforms, ops.array(self.leaks(gradients.shape[0]))), None

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        return {**super().get_config(), "leak": self.leak, "seed": self.seed}
