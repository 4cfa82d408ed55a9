"""What a search draws: loss weights as ratios, a balancer, a learning rate."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras

from kmtl import balancers
from kmtl._checks import Refusals, is_number, near, words
from kmtl.front.loss_scales import alike


@dataclasses.dataclass(frozen=True)
class Space:
    """What `kmtl.search.weights` draws beside what the build function draws from KerasTuner's `hp`.

    The loss of each task is first divided by its size at the start of training; then all tasks but the reference get a
    weight drawn log-uniformly, and all weights are scaled to sum to the number of tasks:

        w_k = K r_k / L_k / sum_j (r_j / L_j),    r_reference = 1,    log r_k ~ Uniform(log low, log high)

    Args:
        low: Smallest ratio.
        high: Largest ratio.
        reference: The task whose ratio is 1; None takes the first.
        balancers: Names to choose from, or `{name: {hyper-parameter: (low, high) or [choices]}}`; None keeps the
            build's own.
        learning_rate: `(low, high)`, drawn log-uniformly; None keeps the build's own.

    Raises:
        ValueError: With all offenders.

    >>> Space(balancers=["equal", "famo"], learning_rate=(1e-4, 1e-2)).balancers
    {'equal': {}, 'famo': {}}
    """

    low: float = 0.03
    high: float = 30.0
    reference: str | None = None
    balancers: Any = None
    learning_rate: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        with Refusals("Space") as refusals:
            chosen = _balancers(refusals, self.balancers)
            if not _is_range(self.low, self.high):
                got = words(f"{self.low!r} and {self.high!r}")
                refusals.add("low", "and `high` must be positive numbers, low < high", got)
            rate = self.learning_rate
            if rate is not None and not (isinstance(rate, Sequence) and len(rate) == 2 and _is_range(*rate)):
                refusals.add("learning_rate", "must be (low, high), positive numbers, low < high", rate)
        object.__setattr__(self, "balancers", chosen)


class TaskSpace(NamedTuple):
    """A space over the tasks of a model: the numbers that a search draws, and how they become settings of a model.

    Attributes:
        space: What is drawn.
        losses: Size of each task's loss at the start, by name, in order of the tasks.
    """

    space: Space
    losses: dict[str, float]

    @property
    def drawn_tasks(self) -> list[str]:
        """The tasks whose ratios are drawn."""
        reference = self.space.reference or next(iter(self.losses))
        return [name for name in self.losses if name != reference]

    @property
    def names(self) -> list[str]:
        """The hyper-parameters that the search draws itself."""
        space = self.space
        found = [f"weight_{name}" for name in self.drawn_tasks]
        found += ["balancer"] if space.balancers else []
        found += [f"{name}_{key}" for name, options in space.balancers.items() for key in options]
        return found + (["learning_rate"] if space.learning_rate else [])

    def weights(self, values: Mapping[str, Any]) -> dict[str, float]:
        """Returns the loss weights that drawn values stand for; they sum to the number of tasks."""
        return alike(self.losses, {name: float(values.get(f"weight_{name}", 1.0)) for name in self.losses})

    def others(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the drawn values that are not set in variables: those of the build, and of the balancer."""
        set_later = {f"weight_{name}" for name in self.losses} | {"learning_rate"}
        return {
            name: value for name, value in values.items() if name not in set_later and not name.startswith("tuner/")
        }

    def compile(self, hp: Any, model: Any) -> None:
        """Draws a balancer from KerasTuner's `hp`, if one is to be drawn, and compiles a compiled model with it."""
        if self.space.balancers:
            name = hp.Choice("balancer", list(self.space.balancers))
            balancer = type(balancers.get(name))(**self._options(hp, name))
            chosen = keras.saving.serialize_keras_object(balancer)
            model.compile_from_config({**model.get_compile_config(), "balancer": chosen})

    def set(self, hp: Any, model: Any) -> None:
        """Draws the learning rate and the loss weights and sets them, which leaves traced steps as they are."""
        low, high = self.space.low, self.space.high
        if self.space.learning_rate:
            slow, fast = self.space.learning_rate
            model.optimizer.learning_rate = hp.Float("learning_rate", slow, fast, sampling="log")
        default = 1.0 if low <= 1.0 <= high else (low * high) ** 0.5
        names = [f"weight_{name}" for name in self.drawn_tasks]
        ratios = {name: hp.Float(name, low, high, sampling="log", default=default) for name in names}
        model.set_loss_weights(self.weights(ratios))

    def _options(self, hp: Any, chosen: str) -> dict[str, Any]:
        """Draws the hyper-parameters of every balancer, and returns those of the chosen one."""
        found: dict[str, Any] = {}
        for name, options in self.space.balancers.items():
            with hp.conditional_scope("balancer", [name]):
                drawn = {key: _draw(hp, f"{name}_{key}", given) for key, given in options.items()}
            found = drawn if name == chosen else found
        return found


def refuse_space(refusals: Refusals, space: Any, model: Any) -> None:
    """Records a space that does not fit a compiled model."""
    names = list(model.tasks)
    if not isinstance(space, Space):
        refusals.add("space", "must be a kmtl.search.Space", space)
        return
    if space.reference is not None and space.reference not in names:
        refusals.add("space", "must have a task as its reference", space.reference, near(str(space.reference), names))
    has_schedule = not isinstance(model.optimizer.get_config().get("learning_rate"), float | int)
    if space.learning_rate is not None and has_schedule:
        fix = "Compile with a number, or leave `learning_rate` out."
        refusals.add("space", "must not draw a learning rate for a schedule", words("an optimizer with one"), fix)


def _is_range(low: Any, high: Any) -> bool:
    """Whether these are two positive numbers in order."""
    return is_number(low) and is_number(high) and 0 < low < high


def _balancers(refusals: Refusals, given: Any) -> dict[str, dict[str, Any]]:
    """Balancers with the hyper-parameters to draw; records what is not one."""
    if given is None or given == {}:
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


def _draw(hp: Any, name: str, given: Any) -> Any:
    """Draws one hyper-parameter: a tuple is a range, a list is a choice."""
    if isinstance(given, tuple):
        return hp.Float(name, float(given[0]), float(given[1]))
    return hp.Choice(name, given)
