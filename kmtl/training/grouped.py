"""Tasks in groups: one joint model a group, and one model of all their outputs."""

from collections.abc import Mapping, Sequence
from typing import Any

from kmtl._checks import Refusals, is_whole, near, require, words
from kmtl.tasks import Task
from kmtl.training.combined import combined
from kmtl.training.recipe import Recipe, share
from kmtl.training.work import Work

_SHOWN = 3


class Grouped(Recipe):
    """One joint model for each group of tasks, trained apart on the labels of that group.

    The result is one model of all outputs, each task's from the group that serves it; heads of tasks that only help in
    a group are left out of it. A group of one task is that task alone, so that `Grouped([["a"], ["b"]])` is `Separate`
    and `Grouped([["a", "b"]])` is `Joint`. A task whose condition or factors (`where`, `product_of`) are not in its
    group is trained as alone: the condition is in the data.

    `kmtl.evidence.groups` says which tasks belong together; its result's `recipe()` is one of these.

    Source: Standley et al., "Which Tasks Should Be Learned Together in Multi-task Learning?", ICML 2020. It costs one
    training a group.

    Args:
        groups: Names of the tasks of each group; every task is in one at least.
        serves: `{task: place of the group that serves it, from 0}`; a task left out is served by the first that has it.
        epochs: Of each group, as a multiple of the given epochs.

    >>> Grouped([["digit", "angle"], ["noise"]])
    Grouped(groups=(('digit', 'angle'), ('noise',)))
    """

    source = "Standley et al., Which Tasks Should Be Learned Together in Multi-task Learning?, ICML 2020"

    def __init__(
        self,
        groups: Sequence[Sequence[str]],
        serves: Mapping[str, int] | None = None,
        *,
        epochs: float = 1.0,
    ) -> None:
        self.groups = _checked(groups)
        self.serves = None if serves is None else self._checked_serves(serves)
        self.epochs = share("Grouped", "epochs", epochs)
        idle = [group for place, group in enumerate(self.groups) if place not in self.served_by().values()]
        fix = "Leave them out, or say in `serves` whom they serve."
        require(not idle, "Grouped", "groups", "must serve a task each", idle, fix)

    def served_by(self) -> dict[str, int]:
        """The place of the group that serves each task.

        >>> Grouped([["digit", "angle"], ["angle", "size"]], {"angle": 1}).served_by()
        {'digit': 0, 'angle': 1, 'size': 1}
        """
        first: dict[str, int] = {}
        for place, group in enumerate(self.groups):
            for name in group:
                first.setdefault(name, place)
        return {**first, **(self.serves or {})}

    def _checked_serves(self, serves: Any) -> dict[str, int]:
        """Returns who serves whom, or refuses a task that is in no group, and a group that does not have it."""
        require(isinstance(serves, Mapping), "Grouped", "serves", "must be a dict {task: place of its group}", serves)
        names = list(dict.fromkeys(name for group in self.groups for name in group))
        with Refusals("Grouped") as refusals:
            for name, place in serves.items():
                if name not in names:
                    refusals.add("serves", "must name tasks of the groups", name, near(str(name), names))
                elif not is_whole(place) or not 0 <= place < len(self.groups):
                    rule = f"of {name!r} must be the place of a group, 0 to {len(self.groups) - 1}"
                    refusals.add("serves", rule, place)
                elif name not in self.groups[place]:
                    refusals.add("serves", f"of {name!r} must be a group that has it", words(f"{self.groups[place]}"))
        return {name: int(place) for name, place in serves.items()}

    def check(self, refusals: Refusals, work: Work) -> None:
        """Refuses unknown tasks, and tasks that are in no group."""
        for group in self.groups:
            for name in group:
                if name not in work.names:
                    refusals.add("groups", "must hold names of tasks", name, near(name, work.names))
        left = [name for name in work.names if name not in self.served_by()]
        if left:
            refusals.add("groups", "must hold every task", words(f"none with {', '.join(map(repr, left))}"))

    def run(self, work: Work) -> Any:
        """Trains a model a group."""
        models = []
        for place, group in enumerate(self.groups):
            model = work.model(within(work.tasks, group))
            more = f" and {len(group) - _SHOWN} more" if len(group) > _SHOWN else ""
            stage = f"group {place + 1}, {', '.join(group[:_SHOWN])}{more}"
            work.fit(stage, model, work.data_of(model.tasks), epochs=self.epochs)
            models.append(model)
        serving = self.served_by()
        work.notes["groups"] = {"groups": self.groups, "serves": serving}
        if len(models) == 1:
            return models[0]
        return combined({name: models[serving[name]] for name in work.names})


def within(tasks: Sequence[Task], group: Sequence[str]) -> list[Task]:
    """The tasks of a group, in the order of all; one that reads a task outside of it stands for itself.

    >>> from kmtl.tasks import BinaryClassification, Regression
    >>> face, age = BinaryClassification("face"), Regression("age", where={"face": 1})
    >>> [task.where for task in within([face, age], ["age", "face"])], within([face, age], ["age"])[0].where
    ([{}, {'face': (1,)}], {})
    """
    return [
        task if {*task.where, *task.product_of} <= {*group} else task.alone() for task in tasks if task.name in group
    ]


def _checked(groups: Any) -> tuple[tuple[str, ...], ...]:
    """Returns the groups, or refuses what are no lists of different names."""
    rule, fix = "must be lists of names of tasks", 'As [["digit", "angle"], ["noise"]].'
    is_list = isinstance(groups, Sequence) and not isinstance(groups, str) and len(groups) > 0
    require(is_list, "Grouped", "groups", rule, groups, fix)
    with Refusals("Grouped") as refusals:
        for group in groups:
            is_group = isinstance(group, Sequence) and not isinstance(group, str) and len(group) > 0
            if not is_group or not all(isinstance(name, str) for name in group):
                refusals.add("groups", rule, group, fix)
            elif len(set(group)) < len(group):
                refusals.add("groups", "must hold a task once each", list(group))
        refusals.check()
        listed = tuple(tuple(group) for group in groups)
        twice = [group for place, group in enumerate(listed) if set(group) in map(set, listed[:place])]
        if twice:
            refusals.add("groups", "must differ from each other", twice)
    return listed
