"""A recipe: a way to train tasks jointly."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from kmtl._checks import Refusals, is_number, known_keywords, words
from kmtl.training.trained import Trained
from kmtl.training.work import Given, Work


class Recipe:
    """A way to train tasks jointly: a small object with its settings, a `repr`, a source, and `train`.

    A recipe of one's own overrides `run`, which does its stages by `Work` and returns the model, and, where not
    everything fits, `check`. Each argument of its constructor is kept under its own name.

    Attributes:
        source: Where the form of training comes from.
        takes_sets_by_task: Whether `train` may be `{task: data}`.

    >>> class Twice(Recipe):
    ...     def run(self, work):
    ...         model = work.model()
    ...         work.fit("first", model)
    ...         work.fit("second", model)
    ...         return model
    >>> Twice()
    Twice()
    """

    source: ClassVar[str] = ""
    takes_sets_by_task: ClassVar[bool] = False

    @known_keywords
    def train(
        self,
        build: Callable[..., Any],
        tasks: Sequence[Any],
        train: Any,
        *,
        epochs: int,
        validation: Any = None,
        seed: int = 0,
        batch_size: int = 32,
        callbacks: Callable[[], list[Any]] | None = None,
        verbose: Any = "auto",
        folder: Any = None,
    ) -> Trained:
        """Trains the tasks.

        Args:
            build: `build(tasks)`: makes a compiled `MultiTaskModel` for the tasks it is given.
            tasks: The tasks, in order.
            train: What `fit` takes: batches `(x, {task: label})`, or `(x, y)` of arrays.
            epochs: Of one training; what a recipe needs beside, its own options say as multiples of them.
            validation: The same as `train`, for the logs, and for what a recipe chooses by it.
            seed: Of the weights and of all that is drawn: the same seed gives the same weights.
            batch_size: Of arrays.
            callbacks: Makes fresh callbacks for each stage.
            verbose: As in `fit`; unless it is 0, each stage is named before its bar.
            folder: Where the state is kept: a training that was killed, and is started again by the same script, does
                not repeat finished stages and goes on inside the one that was interrupted. None keeps nothing.

        Returns:
            A `Trained`.

        Raises:
            ValueError: With all offenders, before anything is trained.
        """
        given = Given(build, tasks, train, validation, epochs, seed, batch_size, callbacks, verbose, folder)
        return self.trained(Work(self, given))

    def trained(self, work: Work) -> Trained:
        """Trains what has been checked."""
        return work.trained(self.run(work))

    def run(self, work: Work) -> Any:
        """Trains; returns the model."""
        raise NotImplementedError

    def check(self, refusals: Refusals, work: Work) -> None:
        """Records what this recipe cannot train: tasks, data or a balancer; nothing is trained before."""
        del refusals, work

    def build_function(self, build: Callable[..., Any]) -> Callable[..., Any]:
        """The build function that is used, where a recipe has one of its own."""
        return build

    def configuration(self) -> dict[str, Any]:
        """What it is made of, as plain values: two recipes of one configuration train alike."""
        values = {key: getattr(self, key) for key in inspect.signature(type(self)).parameters}
        return {"recipe": type(self).__name__, **{key: plain(value) for key, value in values.items()}}

    def __repr__(self) -> str:
        parameters = inspect.signature(type(self)).parameters
        told = [
            f"{key}={_told(getattr(self, key))}"
            for key, parameter in parameters.items()
            if plain(getattr(self, key)) != plain(parameter.default)
        ]
        return f"{type(self).__name__}({', '.join(told)})"


def plain(value: Any) -> Any:
    """A setting as JSON holds it; a function by its name, a recipe by its configuration.

    >>> plain({"members": 3, "after": Recipe()})
    {'members': 3, 'after': {'recipe': 'Recipe'}}
    """
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return float(value) if is_number(value) else _plain_object(value)


def _plain_object(value: Any) -> Any:
    """An object as JSON holds it."""
    if isinstance(value, Recipe):
        return value.configuration()
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if hasattr(value, "get_config"):
        return [type(value).__name__, plain(value.get_config())]
    return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', type(value).__qualname__)}"


def _told(value: Any) -> str:
    """A setting as `repr` shows it."""
    if isinstance(value, tuple):
        return f"({', '.join(map(_told, value))}{',' * (len(value) == 1)})"
    return getattr(value, "__qualname__", None) or repr(value)


def share(owner: str, argument: str, value: Any, *, least: float = 0.0) -> float:
    """Returns a number of trainings, as a float above `least`, or refuses."""
    with Refusals(owner) as refusals:
        if not is_number(value) or value <= least:
            refusals.add(argument, f"must be a finite number above {least:g}", words(repr(value)))
    return float(value)
