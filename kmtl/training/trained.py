"""What a recipe leaves: the model, how its training went, and what it cost."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from kmtl._table import Result, Table


class Stage(NamedTuple):
    """One stage of a recipe.

    Attributes:
        name: What it did.
        epochs: Epochs that it ran.
        cost: What it cost, in joint trainings.
        seconds: Wall time of its `fit`; of one that went on after a kill, of the last part.
        history: Logs by epoch, as Keras's `History.history`.
    """

    name: str
    epochs: int
    cost: float
    seconds: float
    history: Mapping[str, Sequence[float]]


class Trained(Result):
    """A trained recipe: prints its stages.

    The unit of `cost` is one plain joint training over the given epochs. A batch that goes forward and backward through
    one trunk counts 1; one that only goes forward counts a third, since the backward pass takes about twice the
    time of the forward pass. So `Joint()` costs 1 and `Separate()` as much as there are tasks, whatever the widths
    are: what a wider trunk costs is seen in the seconds.

    Args:
        model: The model.
        stages: The stages, in order.
        notes: Further results of the recipe, by name.

    Attributes:
        model: A compiled `MultiTaskModel` wherever the form can be one: it evaluates, predicts, saves, exports.
        stages: The stages, in order.
        notes: Further results, as `"forgetting"` of `FineTuned`; which ones, each recipe tells.

    >>> trained = Trained("the model", [Stage("joint", 2, 1.0, 3.5, {"loss": [2.0, 1.0]})])
    >>> trained.cost, trained.history
    (1.0, {'stage': ['joint', 'joint'], 'loss': [2.0, 1.0]})
    """

    def __init__(self, model: Any, stages: Sequence[Stage], notes: Mapping[str, Any] | None = None) -> None:
        self.model = model
        self.stages = list(stages)
        self.notes = dict(notes or {})

    @property
    def cost(self) -> float:
        """What the training cost, in plain joint trainings over the same epochs."""
        return float(sum(stage.cost for stage in self.stages))

    @property
    def seconds(self) -> float:
        """Wall time of all stages."""
        return float(sum(stage.seconds for stage in self.stages))

    @property
    def history(self) -> dict[str, list[Any]]:
        """Logs by epoch, as Keras's `History.history`, one stage after the other; NaN where a stage has no such log."""
        keys = dict.fromkeys(key for stage in self.stages for key in stage.history)
        logs: dict[str, list[Any]] = {"stage": [stage.name for stage in self.stages for _ in range(stage.epochs)]}
        for key in keys:
            logs[key] = [
                value for stage in self.stages for value in stage.history.get(key, [float("nan")] * stage.epochs)
            ]
        return logs

    def parts(self) -> list[str | Table]:
        """A row a stage, and the sum."""
        rows = [stage._asdict() for stage in self.stages]
        shown = [{key: value for key, value in row.items() if key != "history"} for row in rows]
        formats = {"cost": ".2f", "seconds": ".1f"}
        return [Table(shown, formats), f"cost {self.cost:.2f} joint trainings, {self.seconds:.1f} seconds"]
