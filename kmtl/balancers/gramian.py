"""What every balancer of the Gramian can do beside its method."""

from typing import Any, ClassVar

from keras import ops

from kmtl._checks import is_number, near, refusal, require, words
from kmtl._types import Tensor
from kmtl.balancers import online
from kmtl.balancers.base import Balancer
from kmtl.balancers.normalizing import divide_signals
from kmtl.balancers.signals import Signals, finite_tasks

LEVELS = ("parameters", "features")
SOLVES = ("exact", "online")
# A second product with the mean gradient costs a step and a half; every tenth step bears it.
PROBE_EVERY = 10.0


class GramianBalancer(Balancer):
    """A balancer that reads the inner products of the tasks' gradients.

    Args:
        level: `"parameters"` takes the exact gradients of the shared weights:
            one backward pass through the trunk a task. `"features"` takes those
            of the trunk's output, for about the cost of the plain step; the
            model needs a `kmtl.sharing.Fork`, which `from_features` builds in.
        solve: `"exact"`, or, for a method whose weights solve a condition in
            the product of the Gramian with the weights, `"online"`: the
            product comes from one forward-mode pass, whatever the number of
            tasks, and the weights converge to the exact ones over the steps.
        gram_fraction: Share of the batch from which the Gramian is taken, in
            (0, 1]; the weighted gradient itself always comes from the whole batch.
        **options: As for `Balancer`.
    """

    needs: ClassVar[str] = "gram"
    #: Whether the method's optimality condition depends on the Gramian through its product with the weights alone.
    has_online: ClassVar[bool] = False
    #: Whether it depends on the product with equal weights as well.
    probes: ClassVar[bool] = False

    def __init__(
        self,
        *,
        level: str = "parameters",
        solve: str = "exact",
        gram_fraction: float = 1.0,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        owner = type(self).__name__
        require(level in LEVELS, owner, "level", "must be 'parameters' or 'features'", level, near(str(level), LEVELS))
        require(solve in SOLVES, owner, "solve", "must be 'exact' or 'online'", solve, near(str(solve), SOLVES))
        fraction = is_number(gram_fraction) and 0 < gram_fraction <= 1
        require(fraction, owner, "gram_fraction", "must be above 0 and at most 1", gram_fraction)
        self.level = level
        self.solve = solve
        self.gram_fraction = float(gram_fraction)
        self._check_together(owner)

    def _check_together(self, owner: str) -> None:
        """Refuses options that exclude each other."""
        online = self.solve == "online"
        fix = "Leave `solve` out."
        require(self.has_online or not online, owner, "solve", "must be 'exact' for this method", self.solve, fix)
        sliced = self.gram_fraction < 1
        fix = "Choose one: each is a way to save backward passes."
        together = [self.level == "features", online, sliced]
        if sum(together) > 1:
            got = words(f"level={self.level!r}, solve={self.solve!r}, gram_fraction={self.gram_fraction}")
            raise ValueError(refusal(owner, "level", "cannot go with another way of taking the Gramian", got, fix))
        fix = "Leave `normalize` out."
        exact = not online or self.normalize in (None, "loss", "initial")
        require(exact, owner, "normalize", "must not need gradient lengths online", self.normalize, fix)

    def _build_once(self, shape: tuple[int, ...]) -> None:
        """Makes the estimate of the Gramian too, where it is learned."""
        if not self.built and self.solve == "online":
            count = shape[0]
            self.virtual = self.state((count, count), "zeros", "virtual")
            self.doubt = self.state((count, count), "zeros", "doubt")
            virtual, doubt = online.start_estimate(count)
            self.virtual.assign(virtual)
            self.doubt.assign(doubt)
        super()._build_once(shape)

    def foresee(self, losses: Tensor, present: Tensor, lengths: Tensor = None) -> Tensor:
        """Returns weights `(K,)` for the Gramian as it is estimated now.

        Args:
            losses: Loss of each task, `(K,)`, float32, unscaled.
            present: Booleans `(K,)`, False for a task without a label in the batch.
            lengths: A guess at the lengths of the gradients, up to one factor, `(K,)`; it serves a
                task of which nothing is known yet.
        """
        self._build_once((losses.shape[0],))
        healthy = self._admit(finite_tasks(losses, None, present), present)
        virtual = self.virtual if lengths is None else online.start_rows(self.virtual, lengths)
        signals = Signals(present, losses, online.gramian(virtual)).only(healthy)
        known = ops.all(~healthy | (ops.diagonal(signals.gram) > 0))
        by = self._divisors(signals)
        weights = self.task_weights(divide_signals(signals, by)) / by
        return self._settle(ops.where(known, weights, 1.0), signals)

    def learn(self, weights: Tensor, products: Tensor, present: Tensor) -> None:
        """Takes in what a direction did.

        Args:
            weights: Of the direction, `(K,)`.
            products: Inner products of each task's gradient with it, `(K,)`.
            present: Booleans `(K,)`, False for a task whose product says nothing.
        """
        virtual, doubt = online.update_estimate(self.virtual, self.doubt, weights, products, present)
        self.virtual.assign(virtual)
        self.doubt.assign(doubt)

    @property
    def probes_now(self) -> Tensor:
        """Whether this step also learns from the mean gradient, a boolean scalar; asked after `foresee`."""
        return ops.equal(ops.mod(self.step, PROBE_EVERY), 1.0)

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        own = {"level": self.level, "solve": self.solve, "gram_fraction": self.gram_fraction}
        return {**super().get_config(), **own}
