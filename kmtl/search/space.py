"""What a search draws: loss weights as ratios, a balancer, a learning rate."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras

from kmtl import balancers
from kmtl._checks import Refusals, is_number, near, words
from kmtl.front.loss_scales import alike

_OWNER = "weights"


class Space(NamedTuple):
    """The numbers that a search draws, and how they become settings of a model.

    The loss of each task is first divided by its size at the start of training; then all tasks but the reference get a
    weight drawn log-uniformly, and all weights are scaled to sum to the number of tasks:

        w_k = K r_k / L_k / sum_j (r_j / L_j),    r_reference = 1,    log r_k ~ Uniform(log low, log high)

    Attributes:
        tasks: Names, in order.
        reference: The task whose ratio is 1.
        low: Smallest ratio.
        high: Largest ratio.
        balancers: `{name: {hyper-parameter: (low, high) or list of choices}}`; empty keeps the build's own.
        learning_rate: `(low, high)`, or None for the build's own.
        losses: Size of each task's loss at the start.
    """

    tasks: tuple[str, ...]
    reference: str
    low: float
    high: float
    balancers: dict[str, dict[str, Any]]
    learning_rate: tuple[float, float] | None
    losses: dict[str, float]

    @property
    def names(self) -> list[str]:
        """The hyper-parameters that the search draws itself."""
        found = [f"weight_{name}" for name in self.tasks if name != self.reference]
        found += ["balancer"] if self.balancers else []
        found += [f"{name}_{key}" for name, options in self.balancers.items() for key in options]
        return found + (["learning_rate"] if self.learning_rate else [])

    def weights(self, values: Mapping[str, Any]) -> dict[str, float]:
        """Returns the loss weights that drawn values stand for; they sum to the number of tasks."""
        ratios = {name: float(values.get(f"weight_{name}", 1.0)) for name in self.tasks}
        return alike(self.losses, ratios)

    def others(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the drawn values that are not set in variables: those of the build, and of the balancer."""
        set_later = {f"weight_{name}" for name in self.tasks} | {"learning_rate"}
        return {
            name: value for name, value in values.items() if name not in set_later and not name.startswith("tuner/")
        }

    def compile(self, hp: Any, model: Any) -> None:
        """Draws a balancer from KerasTuner's `hp`, if one is to be drawn, and compiles a compiled model with it."""
        if self.balancers:
            name = hp.Choice("balancer", list(self.balancers))
            self._recompile(model, name, self._options(hp, name))

    def set(self, hp: Any, model: Any) -> None:
        """Draws the learning rate and the loss weights and sets them, which leaves traced steps as they are."""
        if self.learning_rate:
            low, high = self.learning_rate
            model.optimizer.learning_rate = hp.Float("learning_rate", low, high, sampling="log")
        default = 1.0 if self.low <= 1.0 <= self.high else (self.low * self.high) ** 0.5
        ratios = {
            f"weight_{name}": hp.Float(f"weight_{name}", self.low, self.high, sampling="log", default=default)
            for name in self.tasks
            if name != self.reference
        }
        model.set_loss_weights(self.weights(ratios))

    def _options(self, hp: Any, chosen: str) -> dict[str, Any]:
        """Draws the hyper-parameters of every balancer, and returns those of the chosen one."""
        found: dict[str, Any] = {}
        for name, options in self.balancers.items():
            with hp.conditional_scope("balancer", [name]):
                drawn = {key: _drawn(hp, f"{name}_{key}", given) for key, given in options.items()}
            found = drawn if name == chosen else found
        return found

    def _recompile(self, model: Any, name: str, options: Mapping[str, Any]) -> None:
        """Compiles a model with another balancer, all else as it is."""
        config = model.get_compile_config()
        balancer = type(balancers.get(name))(**options)
        model.compile_from_config({**config, "balancer": keras.saving.serialize_keras_object(balancer)})


def checked_space(
    tasks: Sequence[str], reference: Any, low: Any, high: Any, given: Any, learning_rate: Any, *, fixed_rate: bool
) -> Space:
    """Returns the space of what the user gave, with every loss taken as 1.

    Args:
        tasks: Names, in order.
        reference: One of them; None takes the first.
        low: Smallest ratio.
        high: Largest ratio.
        given: None, names of balancers, or `{name: {hyper-parameter: (low, high) or list}}`.
        learning_rate: None or `(low, high)`.
        fixed_rate: Whether the build's optimizer has a schedule, which a drawn rate cannot replace.

    Raises:
        ValueError: With all offenders.
    """
    with Refusals(_OWNER) as refusals:
        chosen = _balancers(refusals, given)
        if reference is not None and reference not in tasks:
            refusals.add("reference", "must name a task", reference, near(str(reference), tasks))
        if not _is_range(low, high):
            refusals.add("low", "and `high` must be positive numbers, low < high", words(f"{low!r} and {high!r}"))
        if learning_rate is not None:
            if not isinstance(learning_rate, Sequence) or len(learning_rate) != 2 or not _is_range(*learning_rate):
                refusals.add("learning_rate", "must be (low, high), positive numbers, low < high", learning_rate)
            elif fixed_rate:
                fix = "Compile with a number, or leave `learning_rate` out."
                refusals.add("learning_rate", "must not be drawn for a schedule", words("an optimizer with one"), fix)
    rate = None if learning_rate is None else (float(learning_rate[0]), float(learning_rate[1]))
    first = tasks[0] if reference is None else reference
    return Space(tuple(tasks), first, float(low), float(high), chosen, rate, dict.fromkeys(tasks, 1.0))


def _is_range(low: Any, high: Any) -> bool:
    """Whether these are two positive numbers in order."""
    return is_number(low) and is_number(high) and 0 < low < high


def _balancers(refusals: Refusals, given: Any) -> dict[str, dict[str, Any]]:
    """Balancers with the hyper-parameters to draw; records what is not one."""
    if given is None:
        return {}
    if isinstance(given, str) or not (isinstance(given, Mapping | Sequence) and len(given)):
        refusals.add("balancers", "must be names, or {name: {hyper-parameter: (low, high)}}", given)
        return {}
    chosen = {name: dict(given[name] or {}) if isinstance(given, Mapping) else {} for name in given}
    known = balancers.names()
    for name, options in chosen.items():
        if name not in known:
            refusals.add("balancers", "must be known", name, near(str(name), known))
            continue
        own = [key for key in balancers.get(name).get_config() if key != "name"]
        for key, value in options.items():
            if key not in own:
                refusals.add("balancers", f"must use hyper-parameters of {name!r}", key, near(str(key), own))
            elif not _is_choice(value):
                refusals.add("balancers", f"must give {key!r} of {name!r} as (low, high) or as a list", value)
    return chosen


def _is_choice(value: Any) -> bool:
    """Whether one can draw from it: a pair of numbers in order, or a list of choices."""
    if isinstance(value, tuple):
        return len(value) == 2 and all(map(is_number, value)) and value[0] < value[1]
    return isinstance(value, list) and len(value) > 0 and len({type(one) for one in value}) == 1


def _drawn(hp: Any, name: str, given: Any) -> Any:
    """One hyper-parameter: a tuple is a range, a list is a choice."""
    if isinstance(given, tuple):
        return hp.Float(name, float(given[0]), float(given[1]))
    return hp.Choice(name, given)
