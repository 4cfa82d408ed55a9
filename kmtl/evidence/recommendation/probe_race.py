"""A race for whose yardstick there is no budget: probes of the tasks alone, and one joint model."""

import math

from kmtl.evidence.recommendation.candidates import LONGEST, SHORTEST, attempt_at
from kmtl.evidence.recommendation.paired_scores import changes
from kmtl.evidence.recommendation.race_plan import Plan
from kmtl.evidence.recommendation.serving_choice import holds_up
from kmtl.training import Joint, Separate, stretched

# Of the epochs that a task alone would be given.
_PROBE = 0.25
# A task is split off where its probe alone is better by so many standard errors: the price is a training.
_CLEARLY = 1.0


def probe_race(plan: Plan) -> None:
    """Probes of the tasks alone and of the joint model, then the joint model; what clearly loses gets its own model."""
    race, tasks = plan.race, plan.race.given.tasks
    race.check(Separate())
    build = stretched(race.given.build, _PROBE)
    race.yardstick = race.train("probes of each task alone", Separate(_PROBE), cost=_PROBE, build=build).scores
    form, share = next(plan.forms()), 1.0 / len(tasks)
    ratio = plan.ratio(form)
    short = attempt_at(form, _PROBE, ratio)
    probe = race.train(f"probe of {form.name}", short.recipe, cost=short.cost, build=short.build)
    lost = [name for name in plan.weights if not holds_up(probe.changes[name], _CLEARLY)]
    lost.sort(key=lambda name: -probe.changes[name].percent)
    apart = lost[: max(0, math.floor((race.left - SHORTEST * ratio) / share))]
    length = min(max((race.left - share * len(apart)) / ratio, _PROBE), LONGEST)
    for task in tasks:
        if task.name in apart:
            plan.singles[task.name] = race.train(f"{task.name} alone", Joint(), cost=share, task=task)
    long = attempt_at(form, length, ratio)
    joint = race.train(form.name, long.recipe, cost=long.cost, build=long.build)
    held = {
        task.name: changes(joint.scores, plan.singles[task.name].scores, [task])[task.name]
        for task in tasks
        if task.name in apart
    }
    plan.add(joint._replace(changes={**joint.changes, **held}))
    plan.caveats.append(
        "The tasks alone were probes of a quarter of the epochs: what they reach in full was not seen, and that the "
        "joint model is not worse is a guess. A budget of 2 shows it."
    )
    if len(lost) > len(apart):
        names = ", ".join(lost[len(apart) :])
        plan.caveats.append(f"Alone, the probes of {names} did better, and the budget was too small to train on alone.")
