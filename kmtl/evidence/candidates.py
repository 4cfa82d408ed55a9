"""What a race tries: joint models of several sizes and lengths, and what follows from those that were trained."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from kmtl.balancers import Unit
from kmtl.model.compile_like import compile_like
from kmtl.tasks import Task
from kmtl.training import Joint, stretched, widened, width_for
from kmtl.training.builds import Build
from kmtl.training.recipe import Recipe

# Epochs at most, as a multiple of the given ones; a training that is much shorter than the given one is no candidate.
LONGEST, SHORTEST = 2.0, 0.75
# Half of the way from the plain sum of gradients to gradients of one length.
_POWER = 0.5
# Shares of the weights that the single models have together.
SHARES = {"half the weights": 0.5, "all the weights": 1.0}


class Form(NamedTuple):
    """A joint model of some size.

    Attributes:
        name: What it is called.
        build: Makes it.
        weights: How many weights it has.
    """

    name: str
    build: Callable[..., Any]
    weights: int


def head_units(build: Callable[..., Any], tasks: Sequence[Task]) -> int:
    """Units of the hidden layer that heads get: half of the features' width, from 16 to 128.

    Args:
        build: The user's build function.
        tasks: The tasks.
    """
    model = Build(build, "recommend")(tasks)
    widths = [fork.input.shape[-1] for fork in model.forks if getattr(fork.input, "shape", None)]
    return int(min(max((max(widths, default=64) or 64) // 2, 16), 128))


def forms(build: Callable[..., Any], tasks: Sequence[Task], alone: Mapping[str, int]) -> tuple[list[Form], str]:
    """Joint models with a share of the weights of all single ones, from small to large.

    Args:
        build: The user's build function.
        tasks: The tasks.
        alone: Weights of each task's own model.

    Returns:
        The forms, and why there are no wider ones, where that is so.
    """
    hidden, total = head_units(build, tasks), sum(alone.values())
    found, why_not = [], ""
    for name, share in SHARES.items():
        try:
            factor = width_for(build, tasks, int(share * total), hidden=hidden)
            made = Balanced(widened(build, factor, hidden=hidden))
            found.append(Form(f"joint, {name}", made, int(made(tasks).count_params())))
        except ValueError as error:
            why_not = str(error)
    if not found:
        made = Balanced(widened(build, hidden=hidden))
        found.append(Form("joint, hidden layers", made, int(made(tasks).count_params())))
    return found, why_not


class Balanced:
    """A build function whose models weigh their tasks half of the way to gradients of one length.

    A model that was compiled with a balancer keeps it. Where the features are no one cut through the model, the
    gradients are those of the shared weights, at one backward pass a task.

    Args:
        build: Makes a compiled `MultiTaskModel`.
    """

    def __init__(self, build: Callable[..., Any]) -> None:
        self.build = build

    def __call__(self, tasks: Sequence[Task]) -> Any:
        """Makes the model of some tasks."""
        model = Build(self.build, "recommend")(tasks)
        if model.get_compile_config()["balancer"] not in (None, "equal") or len(model.tasks) < 2:
            return model
        try:
            return compile_like(model, model, balancer=Unit(power=_POWER, level="features"))
        except ValueError:
            return compile_like(model, model, balancer=Unit(power=_POWER))

    def get_config(self) -> dict[str, Any]:
        """What it is made of, for finished runs that are found again."""
        return {"build": self.build, "power": _POWER}


def recipe_of(form: Form, length: float) -> Recipe:
    """A joint training of a form.

    Args:
        form: The form.
        length: Its epochs, as a multiple of the given ones.
    """
    return Joint(length, build=stretched(form.build, length))


def affordable(left: float, cost: float) -> float:
    """The length of a training that is left for it, at most twice; 0 where that is too little.

    >>> affordable(1.0, 0.4), affordable(1.0, 0.8), affordable(0.2, 0.4)
    (2.0, 1.25, 0.0)

    Args:
        left: Of the budget.
        cost: Of a training over the given epochs.
    """
    length = min(LONGEST, left / cost)
    return length if length >= SHORTEST else 0.0
