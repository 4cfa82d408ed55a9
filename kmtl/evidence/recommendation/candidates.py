"""What a race tries: joint models of several sizes and lengths, and what follows from those that were trained."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from kmtl.balancers import Equal, Unit
from kmtl.model.compile_like import compile_like
from kmtl.tasks import Task
from kmtl.training import Joint, stretched, widened, width_for
from kmtl.training.builds import Build
from kmtl.training.recipe import Recipe

# Epochs at most, as a multiple of the given ones; a training that is much shorter than the given one is no candidate.
LONGEST, SHORTEST = 2.0, 0.75
# Half of the way from the plain sum of gradients to gradients of one length.
HALF_WAY = 0.5
# Of the loss of a task that lost: gradients half of the way to one length grow by its root, to three times.
MORE = 9.0
# Shares of the weights that the single models have together.
SHARES = {"joint, half the weights": 0.5, "joint, all the weights": 1.0}


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


class Attempt(NamedTuple):
    """A candidate that the budget pays for.

    Attributes:
        recipe: How it is trained.
        build: Makes its models.
        cost: What it costs, in trainings of every task alone.
    """

    recipe: Recipe
    build: Callable[..., Any]
    cost: float


def hidden_layers(build: Callable[..., Any], tasks: Sequence[Task], weights: int) -> tuple[int, ...]:
    """Units of the hidden layer that heads get, one or none: half of the features' width, from 16 to 128.

    Args:
        build: The user's build function.
        tasks: The tasks.
        weights: Of the model; where hidden layers would take more than half of them, as behind flattened maps, heads
            get none.
    """
    model = Build(build, "recommend")(tasks)
    widths = [fork.input.shape[-1] for fork in model.forks if getattr(fork.input, "shape", None)]
    units = int(min(max((max(widths, default=64) or 64) // 2, 16), 128))
    deeper = widened(build, hidden=units)(tasks).count_params() - model.count_params()
    return (units,) if 2 * deeper <= weights else ()


def form(build: Callable[..., Any], tasks: Sequence[Task], weights: int, name: str) -> Form:
    """A joint model with a trunk of so many weights at most, and a hidden layer in each head where there is room.

    Args:
        build: The user's build function.
        tasks: The tasks.
        weights: Of the model.
        name: Its name.

    Raises:
        ValueError: If the trunk cannot be widened to it.
    """
    hidden = hidden_layers(build, tasks, weights)
    made = Balanced(widened(build, width_for(build, tasks, weights, hidden=hidden), hidden=hidden))
    return Form(name, made, int(made(tasks).count_params()))


def unwidened(build: Callable[..., Any], tasks: Sequence[Task], weights: int) -> Form:
    """A joint model on the trunk as it is, with a hidden layer in each head where there is room.

    Args:
        build: The user's build function.
        tasks: The tasks.
        weights: That it may have.
    """
    hidden = hidden_layers(build, tasks, weights)
    made = Balanced(widened(build, hidden=hidden))
    return Form("joint, hidden layers" if hidden else "joint, as built", made, int(made(tasks).count_params()))


class Balanced:
    """A build function whose models bring their tasks' gradients nearer to one length.

    A model that was compiled with a balancer keeps it, and so does one without a trainable weight that tasks share.
    Where the features are no one cut through the model, the gradients are those of the shared weights, at one backward
    pass a task.

    Args:
        build: Makes a compiled `MultiTaskModel`.
        power: As of `kmtl.balancers.Unit`.
    """

    def __init__(self, build: Callable[..., Any], power: float = HALF_WAY) -> None:
        self.build, self.power = build, power

    def __call__(self, tasks: Sequence[Task]) -> Any:
        """Makes the model of some tasks."""
        model = Build(self.build, "recommend")(tasks)
        if not isinstance(model.balancer, Equal) or len(model.tasks) < 2 or not model.shared_variables:
            return model
        try:
            return compile_like(model, model, balancer=Unit(power=self.power, level="features"))
        except ValueError:
            return compile_like(model, model, balancer=Unit(power=self.power))

    def get_config(self) -> dict[str, Any]:
        """What it is made of, for finished runs that are found again."""
        return {"build": self.build, "power": self.power}


class Weighed:
    """A build function whose models weigh the losses of some tasks more.

    Args:
        build: Makes a compiled `MultiTaskModel`.
        factors: `{task: factor}` of its loss weight.
    """

    def __init__(self, build: Callable[..., Any], factors: Mapping[str, float]) -> None:
        self.build, self.factors = build, dict(factors)

    def __call__(self, tasks: Sequence[Task]) -> Any:
        """Makes the model of some tasks."""
        model = self.build(tasks)
        weights = model.loss_weights
        model.set_loss_weights({name: weights[name] * self.factors.get(name, 1.0) for name in weights})
        return model

    def get_config(self) -> dict[str, Any]:
        """What it is made of, for finished runs that are found again."""
        return {"build": self.build, "factors": self.factors}


def attempt_at(form: Form, length: float, cost: float) -> Attempt:
    """A joint training of a form.

    Args:
        form: The form.
        length: Its epochs, as a multiple of the given ones.
        cost: Of a training over the given epochs, in trainings of every task alone.
    """
    return Attempt(Joint(length), stretched(form.build, length), cost * length)


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
