"""Balancers that compare the losses with those of a while ago."""

from typing import Any

from keras import ops

from kmtl._checks import is_number, require, whole
from kmtl._types import Logs, Tensor
from kmtl.balancers.by_losses.bounds import BoundedBalancer, excess
from kmtl.balancers.by_losses.epochs import epoch_losses
from kmtl.balancers.capping import CappedBalancer
from kmtl.balancers.registry import register
from kmtl.balancers.signals import Signals, masked_softmax


def dwa_weights(ratios: Tensor, temperature: float, present: Tensor) -> Tensor:
    """Weights `K * softmax(r / T)` over the K tasks present, `(K,)`.

    Args:
        ratios: How much of its loss each task kept, `(K,)`.
        temperature: T.
        present: Booleans `(K,)`.

    >>> ratios = ops.array([0.8 / 1.0, 0.3 / 0.4, 1.5 / 1.2])
    >>> weights = dwa_weights(ratios, 2.0, ops.array([True, True, True]))
    >>> [round(float(weight), 5) for weight in weights]
    [0.92947, 0.90653, 1.164]
    """
    return ops.sum(ops.cast(present, "float32")) * masked_softmax(ratios / temperature, present)


@register("dwa")
class DWA(CappedBalancer, BoundedBalancer):
    """Dynamic weight averaging: tasks whose loss falls more slowly weigh more.

        r_k = D_k(e - 1) / D_k(e - 2),   w = K * softmax(a r / T),   D_k = L_k - b_k + 1e-8

    on the mean losses of the last two epochs. A task counts `r = 1` until it has two. Ratios are near 1 in most
    of a training, so that with `T = 2` it is nearly the plain sum, and published tables agree (QM9, 173.0 % against
    179.8 %; NYUv2, 3.57 % against 5.59 %; CelebA, 3.20 % against 4.15 %; lower is better).

    Args:
        temperature: T, above 0; smaller for unequal weights.
        exponent: The power a of the published weights; a negative one lifts tasks whose loss falls fast.
        window: None for epochs as `fit` reports them, or a number of steps n: then the means are those of a
            task's last n steps and of the n before, and move on with every step.
        **options: As for `BoundedBalancer`, `lower_bounds`; as for `CappedBalancer`, `cap`; and those of `Balancer`.

    Source: Liu, Johns and Davison, "End-to-End Multi-Task Learning with Attention", CVPR 2019; windows of 25
    steps: the code of Navon et al., ICML 2022. Departures: a window waits until it is full; 1e-8 and lower
    bounds keep the ratio finite.

    >>> from kmtl.tasks import Regression
    >>> balancer = DWA()
    >>> balancer.prepare([Regression("age"), Regression("size")])
    >>> balancer.end_epoch({"age_loss": 1.0, "size_loss": 1.0})
    >>> balancer.end_epoch({"age_loss": 0.5, "size_loss": 1.0})
    >>> [round(float(weight), 4) for weight in balancer.weigh(losses=ops.array([0.5, 1.0]))]
    [0.8756, 1.1244]
    """

    def __init__(
        self, *, temperature: float = 2.0, exponent: float = 1.0, window: int | None = None, **options: Any
    ) -> None:
        super().__init__(**options)
        good = is_number(temperature) and temperature > 0
        require(good, "DWA", "temperature", "must be a finite number above 0", temperature)
        self.temperature = float(temperature)
        require(is_number(exponent), "DWA", "exponent", "must be a finite number", exponent)
        self.exponent = float(exponent)
        self.window = None if window is None else whole("DWA", "window", window, 1)

    def build(self, input_shape: tuple[int, ...]) -> None:
        """Makes the memory: the newest losses are the last."""
        self.reach = self.window or 1
        self.memory = self.state((input_shape[0], 2 * self.reach), "ones", "memory")
        self.number = self.state((input_shape[0],), "zeros", "number")

    def remember(self, values: Tensor, known: Any) -> None:
        """Takes one more loss above its bound in, `(K,)`, where it is known."""
        self.move(self.memory, ops.concatenate([self.memory[:, 1:], values[:, None]], axis=1), known)
        self.move(self.number, self.number + 1.0, known)

    def ratios(self) -> Tensor:
        """Mean of the newer half over that of the older, `(K,)`; 1 until a task's memory is full."""
        older = ops.mean(self.memory[:, : self.reach], axis=1)
        newer = ops.mean(self.memory[:, self.reach :], axis=1)
        return ops.where(self.number >= 2.0 * self.reach, newer / older, 1.0)

    def task_weights(self, signals: Signals) -> Tensor:
        """Shares by the ratios."""
        above = self.excess(signals)
        sound = ops.isfinite(above)
        if self.window is not None:
            self.remember(above, signals.present & sound)
        ratios = ops.where(sound, self.ratios(), float("nan"))
        return dwa_weights(self.exponent * ratios, self.temperature, signals.present)

    def end_epoch(self, logs: Logs) -> None:
        """Takes the epoch's mean losses in."""
        if self.window is None:
            above = excess(epoch_losses("DWA", self.tasks, logs), self.bounds(len(self.tasks)))
            self.remember(above, ops.isfinite(above))

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        own = {"temperature": self.temperature, "exponent": self.exponent, "window": self.window}
        return {**super().get_config(), **own}
