"""The rows of a comparison: which recipes, and which of them the others are held against."""

from collections.abc import Mapping, Sequence
from typing import Any

from kmtl._checks import Refusals, near, words
from kmtl.tasks import Task
from kmtl.training import Joint, Recipe, Separate, stretched
from kmtl.training.builds import refuse_build

SEPARATE, JOINT, EQUAL_COST = "separate", "joint", "joint, equal cost"


def rows_of(
    refusals: Refusals, build: Any, tasks: Sequence[Task], recipes: Any, builds: Any, baseline: Any
) -> tuple[dict[str, Recipe], str]:
    """The recipes by the name of their row, and the baseline; records what are none.

    Args:
        refusals: Where to record; holds something already where `build` is no build function.
        build: As of `compare`.
        tasks: The tasks.
        recipes: As of `compare`.
        builds: As of `compare`.
        baseline: As of `compare`.

    >>> from kmtl.tasks import Regression
    >>> def build(tasks): ...
    >>> rows, baseline = rows_of(Refusals("compare"), build, [Regression("age"), Regression("size")], None, None, None)
    >>> rows["joint, equal cost"], baseline
    (Joint(epochs=2.0, build=stretched(build, 2.0)), 'separate')
    """
    if recipes is None and len(tasks) == 1:
        fix = 'For ways to train one task give `recipes` and `baseline`: {"as it is": kmtl.training.Joint(), ...}.'
        refusals.add(
            "tasks",
            "must be 2 or more: of one task joint training is training alone",
            [task.name for task in tasks],
            fix,
        )
    if recipes is None and refusals.messages:
        return {}, SEPARATE
    rows = _defaults(build, tasks) if recipes is None else _given(refusals, recipes)
    for name, other in _builds(refusals, builds).items():
        if name in rows:
            refusals.add("builds", "must have names that no recipe has", name)
        rows[name] = Joint(build=other)
    alone = [name for name, recipe in rows.items() if isinstance(recipe, Separate)]
    if baseline is None and not alone:
        if SEPARATE in rows:
            refusals.add("recipes", f"must not call {SEPARATE!r} what is none, without a `baseline`", rows[SEPARATE])
        rows = {SEPARATE: Separate(), **rows}
    elif baseline is not None and baseline not in rows:
        refusals.add("baseline", "must be a row", baseline, near(str(baseline), rows))
    return rows, (alone or [SEPARATE])[0] if baseline is None else baseline


def _defaults(build: Any, tasks: Sequence[Task]) -> dict[str, Recipe]:
    """Each task alone, all jointly for as many epochs, and all jointly at the cost of the single models together."""
    times = float(len(tasks))
    return {SEPARATE: Separate(), JOINT: Joint(), EQUAL_COST: Joint(epochs=times, build=stretched(build, times))}


def _given(refusals: Refusals, recipes: Any) -> dict[str, Recipe]:
    """The recipes that are some."""
    if not isinstance(recipes, Mapping) or not recipes:
        fix = 'As {"joint": kmtl.training.Joint(), ...}.'
        refusals.add("recipes", "must be a dict of recipes by name", words(type(recipes).__name__), fix)
        return {}
    good = {name: one for name, one in recipes.items() if isinstance(name, str) and isinstance(one, Recipe)}
    for name in [name for name in recipes if name not in good]:
        fix = "See kmtl.training."
        got = words(type(recipes[name]).__name__)
        refusals.add(f"recipes[{name!r}]", "must be a recipe under a text", got, fix)
    return good


def _builds(refusals: Refusals, builds: Any) -> dict[str, Any]:
    """The build functions that are some."""
    if builds is None:
        return {}
    if not isinstance(builds, Mapping) or not all(isinstance(name, str) for name in builds):
        fix = 'As {"wide": build_wide, ...}.'
        refusals.add("builds", "must be a dict of build functions by name", words(type(builds).__name__), fix)
        return {}
    good = {}
    for name, build in builds.items():
        before = len(refusals.messages)
        refuse_build(refusals, build)
        if len(refusals.messages) == before:
            good[name] = build
    return good
