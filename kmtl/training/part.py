"""The work of a recipe inside another one: its stages bear the name of the part, its data may be fewer rows."""

from typing import Any

from kmtl.training.builds import Build
from kmtl.training.trained import Stage
from kmtl.training.trainer import Trainer
from kmtl.training.work import Work


class Part(Work):
    """What a recipe inside another one works with: the files, the count of the cost and the validation are the whole's.

    Args:
        whole: The work of the outer recipe.
        recipe: The inner recipe.
        name: Of the part; the names of its stages begin with it.
        train: Its training data; None takes those of the whole.

    Attributes:
        whole: The same.
        name: The same.
    """

    def __init__(self, whole: Work, recipe: Any, name: str, train: Any = None) -> None:
        self.__dict__.update(whole.__dict__)
        self.whole, self.recipe, self.name, self.notes = whole, recipe, name, {}
        self._own: list[Stage] = []
        trainer = self._trainer
        self._build = Build(recipe.build_function(whole._build.function), self.owner)
        self._trainer = Trainer(self._build, owner=self.owner, callbacks=trainer.callbacks, verbose=self.verbose)
        if train is not None:
            self.train = train
            self.looked = self._look()
            self.statistics, self.steps = self.looked

    def fit(self, stage: str, model: Any, data: Any = None, **options: Any) -> dict[str, list[float]]:
        """Trains as a stage of the whole."""
        data = self.train if data is None else data
        history = self.whole.fit(f"{self.name}, {stage}", model, data, **options)
        self._own.append(self.whole._stages[-1])
        return history

    def keep(self, stage: str, compute: Any, *, cost: float = 0.0) -> dict[str, Any]:
        """Computes arrays once, as a stage of the whole."""
        return self.whole.keep(f"{self.name}, {stage}", compute, cost=cost)

    def forward_cost(self, batches: float) -> float:
        """The cost of batches that only go forward, in joint trainings of the whole."""
        return self.whole.forward_cost(batches)

    @property
    def trunks(self) -> float:
        """How many trunks its models have, as its stages count them."""
        by_epoch = sum(stage.cost / stage.epochs for stage in self._own if stage.epochs)
        return by_epoch * self.epochs * self.whole.steps / self.steps
