"""Dynamic task prioritization: a focal loss on tasks."""

from collections.abc import Mapping, Sequence
from typing import Any

from keras import ops

from kmtl._checks import is_number, near, non_negative, refusal, require, words
from kmtl._types import Logs, Tensor
from kmtl.balancers.by_losses.epochs import check_tasks
from kmtl.balancers.by_task import by_task, check_by_task
from kmtl.balancers.capping import CappedBalancer
from kmtl.balancers.normalizing import InitialLosses
from kmtl.balancers.registry import register
from kmtl.balancers.signals import Signals

LEAST = 1e-3


def dtp_weights(indicators: Any, gamma: float) -> Tensor:
    """Weights `-(1 - kpi)^gamma * log(kpi)`, `(K,)`; an indicator is clipped to [0.001, 0.999] first.

    >>> weights = dtp_weights(ops.array([0.9, 0.5, 0.2]), 1.0)
    >>> [round(float(weight), 5) for weight in weights]
    [0.01054, 0.34657, 1.28755]
    """
    clipped = ops.clip(indicators, LEAST, 1.0 - LEAST)
    return -ops.power(1.0 - clipped, gamma) * ops.log(clipped)


@register("dtp")
class DTP(CappedBalancer):
    """Dynamic task prioritization: tasks whose key performance indicator is low weigh more.

        w_k = (-(1 - kpi_k)^gamma * log(kpi_k))^a,   kpi_k <- s kpi_k + (1 - s) new kpi_k   after each epoch

    The indicator is in (0, 1], 1 for a task that is done. It is the first metric of the task of which more is better,
    else the relative progress `1 - L / L(0)`, with `L(0)` the mean over the task's first 20 steps. Validation logs
    are taken where there are any. Before its first epoch with labels a task weighs 1.

    It lifts hard tasks, `uncertainty` lowers them; a task that is hard because its labels are noise gets the
    weight of all. Indicators of unlike kinds are compared as they are: give `kpi` where they should be alike.

    Args:
        gamma: Focus; 0 leaves `-log kpi`, larger values forget the easy tasks.
        exponent: The power a of the published weights; a negative one lifts tasks whose indicator is high.
        kpi_smoothing: s, the share of the last indicator that is kept, in [0, 1).
        kpi: `{task: metric}`: the name of a metric of the task that lies in (0, 1] and of which more is better, or
            `"loss"` for the relative progress.
        **options: As for `CappedBalancer`: `cap`, and those of `Balancer`.

    Raises:
        ValueError: If an option is out of range; in `compile`, if a task or metric is unknown or more of the metric
            is worse; at the end of an epoch, if the logs lack a metric that was named.

    Source: Guo et al., "Dynamic Task Prioritization for Multitask Learning", ECCV 2018. Departures: indicators are
    those of an epoch, not of a batch; progress stands in for one; the weights sum to K by default.

    >>> from kmtl.tasks import BinaryClassification
    >>> balancer = DTP(scale="paper")
    >>> balancer.prepare([BinaryClassification("alive"), BinaryClassification("large")])
    >>> balancer.end_epoch({"val_alive_accuracy": 0.9, "val_large_accuracy": 0.5})
    >>> [round(float(weight), 5) for weight in balancer.weigh(losses=ops.array([1.0, 1.0]))]
    [0.01054, 0.34657]
    """

    def __init__(
        self,
        *,
        gamma: float = 1.0,
        exponent: float = 1.0,
        kpi_smoothing: float = 0.0,
        kpi: Any = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.gamma = non_negative("DTP", "gamma", gamma)
        require(is_number(exponent), "DTP", "exponent", "must be a finite number", exponent)
        self.exponent = float(exponent)
        in_range = is_number(kpi_smoothing) and 0 <= kpi_smoothing < 1
        require(in_range, "DTP", "kpi_smoothing", "must be at least 0 and below 1", kpi_smoothing)
        self.kpi_smoothing = float(kpi_smoothing)
        named = kpi is None or isinstance(kpi, Mapping)
        require(named, "DTP", "kpi", "must be None or {task: metric}", kpi)
        self.kpi = check_by_task("DTP", "kpi", kpi, lambda value: isinstance(value, str), "must hold names of metrics")

    # State.

    def prepare(self, tasks: Sequence[Any], size: int | None = None) -> None:
        """Makes the state, and refuses an indicator that no task has."""
        wanted = by_task("DTP", "kpi", self.kpi, tasks, len(tasks), None)
        for task, metric in zip(tasks, wanted, strict=True):
            known = ["loss", *task.metric_names()]
            rule = f"of {task.name!r} must be one of its metrics or 'loss'"
            require(metric is None or metric in known, "DTP", "kpi", rule, metric, near(str(metric), known))
            worse = metric not in (None, "loss") and _better(task, metric) == "min"
            fix = "'loss' takes the relative progress."
            require(not worse, "DTP", "kpi", f"of {task.name!r} must be a metric of which more is better", metric, fix)
        super().prepare(tasks, size)

    def build(self, input_shape: tuple[int, ...]) -> None:
        """Makes the indicators, and the first losses unless `normalize` keeps them."""
        count = input_shape[0]
        self.indicators = self.state((count,), "zeros", "indicators")
        self.measured = self.state((count,), "zeros", "measured")
        self.validated = self.state((count,), "zeros", "validated")
        self.first = self.initial or InitialLosses(self, count)

    # Weights.

    def task_weights(self, signals: Signals) -> Tensor:
        """Weights by the indicators of the last epoch."""
        if self.initial is None:
            self.first.of(signals.losses, signals.present)
        weights = dtp_weights(self.indicators, self.gamma)
        weights = weights if self.exponent == 1 else ops.power(weights, self.exponent)
        return ops.where(self.measured > 0, weights, 1.0)

    def end_epoch(self, logs: Logs) -> None:
        """Takes the epoch's indicators in; that of a task without any stands still."""
        check_tasks("DTP", self.tasks)
        keys = [self._key(place, logs) for place in range(len(self.tasks))]
        self.move(self.validated, ops.ones((len(keys),)), ops.array([key.startswith("val_") for key in keys]))
        values = ops.array([float(logs.get(key, float("nan"))) for key in keys], "float32")
        is_loss = ops.array([key.endswith("_loss") for key in keys])
        new = ops.where(is_loss, 1.0 - values / self._first_losses(), values)
        mixed = self.kpi_smoothing * self.indicators + (1.0 - self.kpi_smoothing) * new
        known = ops.isfinite(new)
        self.move(self.indicators, ops.where(self.measured > 0, mixed, new), known)
        self.move(self.measured, ops.ones_like(new), known)

    def _first_losses(self) -> Tensor:
        """Mean first losses as the model has them, `(K,)`; NaN before any."""
        count = len(self.tasks)
        means = self.first.of(ops.ones((count,)), ops.zeros((count,), "bool"))
        return ops.where(self.first.number > 0, means, float("nan"))

    def _key(self, place: int, logs: Logs) -> str:
        """The log to read for a task; one that `logs` lacks if there is none this time."""
        task = self.tasks[place]
        wanted = (self.kpi or {}).get(task.name)
        default = [*(name for name in task.metric_names() if _better(task, name) == "max"), "loss"]
        # Indicators of training and validation must not alternate where only some epochs are validated.
        prefixes = ["val_"] if bool(self.validated[place] > 0) else ["val_", ""]
        keys = [f"{prefix}{task.name}_{name}" for name in ([wanted] if wanted else default) for prefix in prefixes]
        found = next((key for key in keys if key in logs), None)
        if wanted and found is None and len(prefixes) > 1:
            fix = "Give the task the metric, not `compile`."
            got = words(f"logs without {keys[-1]}")
            raise ValueError(refusal("DTP", "kpi", f"of {task.name!r} must be in the logs", got, fix))
        return found or keys[-1]

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        own = {"gamma": self.gamma, "exponent": self.exponent, "kpi_smoothing": self.kpi_smoothing}
        return {**super().get_config(), **own, "kpi": self.kpi}


def _better(task: Any, metric: str) -> str:
    """The better end of a metric; unknown for one of the user's own."""
    try:
        return str(task.direction(metric))
    except ValueError:
        return "unknown"
