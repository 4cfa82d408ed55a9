"""A race with its yardstick: every task alone, then what may replace them, from the most promising on."""

from collections.abc import Iterator, Mapping, Sequence

from kmtl.evidence.affinities.affinity import affinity
from kmtl.evidence.grouping.groups import groups
from kmtl.evidence.recommendation.candidates import (
    MORE,
    Attempt,
    Balanced,
    Form,
    Weighed,
    affordable,
    attempt_at,
    hidden_layers,
)
from kmtl.evidence.recommendation.race_plan import Plan
from kmtl.evidence.recommendation.serving_choice import ALONE
from kmtl.feeding.resume import stream_from
from kmtl.training import Distilled, Grouped, Separate, stretched, widened

# Seeds of what would be shipped, as far as the budget goes.
_SEEDS = 3
# A forward pass of the teachers, beside a forward and a backward one.
_TEACHERS = 1 / 3
# That gradients are looked at in.
_BATCHES = 20


def full_race(plan: Plan) -> None:
    """Trains every task alone, then joint models until one holds up on every task, then further seeds of it.

    Args:
        plan: What is known, and is to be known.
    """
    race = plan.race
    race.check(Separate())
    plan.alone = race.train("each task alone", Separate(), cost=1.0)
    race.yardstick = plan.alone.scores
    tried: dict[str, Attempt] = {}
    for name, attempt in _attempts(plan):
        _train(plan, tried, name, attempt)
        if plan.all_hold():
            _confirm(plan, tried)
            # What one seed said another may contradict.
            if plan.all_hold():
                return
    _confirm(plan, tried)


def _attempts(plan: Plan) -> Iterator[tuple[str, Attempt]]:
    """Joint models from small to large for as long as the budget allows, then what else there is to try."""
    race, sizes = plan.race, []
    for one in plan.forms():
        ratio = plan.ratio(one)
        sizes.append((one, ratio))
        length = affordable(race.left, ratio)
        if length:
            yield one.name, attempt_at(one, length, ratio)
        else:
            race.skipped[one.name] = f"it costs {ratio:.2f} over the given epochs, and {race.left:.2f} was left"
    yield from _further(plan, sizes)


def _train(plan: Plan, tried: dict[str, Attempt], name: str, attempt: Attempt) -> None:
    """Trains a candidate."""
    tried[name] = attempt
    plan.add(plan.race.train(name, attempt.recipe, cost=attempt.cost, build=attempt.build))


def _further(plan: Plan, sizes: Sequence[tuple[Form, float]]) -> Iterator[tuple[str, Attempt]]:
    """What else there is to try: students of the single models, gradients and losses weighed otherwise, groups."""
    if not plan.trained:
        return
    for form, ratio in sizes:
        yield from _student(plan, form, ratio)
        if isinstance(form.build, Balanced):
            yield from _weighed(plan, form, form.build, ratio)
    yield from _groups(plan)


def _student(plan: Plan, form: Form, ratio: float) -> Iterator[tuple[str, Attempt]]:
    """A student of the single models, which are there."""
    length = affordable(plan.race.left, ratio + _TEACHERS)
    if length and plan.alone is not None:
        teachers = dict.fromkeys(plan.weights, plan.alone.model)
        recipe = Distilled(feature_weight=0.0, epochs=length).taught_by(teachers)
        yield f"{form.name}, distilled", Attempt(recipe, stretched(form.build, length), (ratio + _TEACHERS) * length)


def _weighed(plan: Plan, form: Form, build: Balanced, ratio: float) -> Iterator[tuple[str, Attempt]]:
    """Gradients of one length; and more weight on the tasks that lost in this form, where others did not."""
    length = affordable(plan.race.left, ratio)
    if length:
        whole = Form(form.name, Balanced(build.build, 1.0), form.weights)
        yield f"{form.name}, gradients of one length", attempt_at(whole, length, ratio)
    lost = [task for task in plan.weights if form.name in plan.trained and not plan.holds(form.name, task)]
    length = affordable(plan.race.left, ratio)
    if length and 0 < len(lost) < len(plan.weights):
        heavier = Form(form.name, Weighed(build, dict.fromkeys(lost, MORE)), form.weights)
        yield f"{form.name}, more weight on {', '.join(lost)}", attempt_at(heavier, length, ratio)


def _groups(plan: Plan) -> Iterator[tuple[str, Attempt]]:
    """Groups of tasks whose gradients agree in the first joint model, each on a trunk as it was given."""
    given, count = plan.race.given, len(plan.weights)
    if count < 3 or affordable(plan.race.left, 2 / count) == 0:
        return
    joint = next(iter(plan.trained.values()))[0].model
    # The stream's order is the same in every process: a race that goes on finds the same groups.
    batches = stream_from(given.train, 0).take(_BATCHES)
    found = groups(affinity(joint, batches, kind="gradient", batches=_BATCHES, verbose=0), count - 1)
    length = affordable(plan.race.left, len(found.groups) / count)
    if len(found.groups) > 1 and length:
        hidden = hidden_layers(given.build, given.tasks, joint.count_params())
        build = Balanced(widened(given.build, hidden=hidden))
        recipe = Grouped(found.groups, found.serves, epochs=length)
        cost = length * len(found.groups) / count
        yield f"{len(found.groups)} groups", Attempt(recipe, stretched(build, length), cost)


def _confirm(plan: Plan, tried: Mapping[str, Attempt]) -> None:
    """Trains what would be shipped under further seeds, while the budget lasts."""
    race = plan.race
    while True:
        used = [name for name in dict.fromkeys(plan.choice().serves.values()) if name != ALONE]
        open_ = [name for name in used if len(plan.trained[name]) < _SEEDS and tried[name].cost <= race.left]
        if not open_:
            return
        name = min(open_, key=lambda name: len(plan.trained[name]))
        attempt, seed = tried[name], race.given.seed + len(plan.trained[name])
        plan.add(race.train(name, attempt.recipe, cost=attempt.cost, build=attempt.build, seed=seed))
