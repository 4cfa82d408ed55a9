"""The whole trade-off between tasks from one training."""

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kmtl._checks import Refusals, is_number, is_whole, known_keywords, require, words
from kmtl.feeding import as_dataset
from kmtl.front import pareto, preferences
from kmtl.front.conditioning import PREFERENCE, condition
from kmtl.front.loss_scales import LossScales
from kmtl.front.result import Front
from kmtl.front.trade_off import Point
from kmtl.tasks import Task
from kmtl.training.builds import Build, checked_tasks, refuse_build
from kmtl.training.progress import Progress
from kmtl.training.trainer import refuse_model, scores

_FORM = "front.train(build, tasks, train, validation, epochs=...)"
# Steps of the lattice by number of tasks: 11, 21, 35 and 35 points.
_STEPS = {2: 10, 3: 5, 4: 4, 5: 3}


@known_keywords
def train(
    build: Callable[..., Any],
    tasks: Sequence[Task],
    train: Any,
    validation: Any = None,
    *,
    epochs: int,
    steps: int | None = None,
    alpha: float = 1.0,
    edges: float = 0.0,
    sharpness: tuple[float, float] = (0.0, 2.0),
    units: int = 64,
    rank: int | None = None,
    scale: str | Mapping[str, float] = "initial",
    steps_per_epoch: int | None = None,
    batch_size: int = 32,
    callbacks: Sequence[Any] = (),
    seed: int = 0,
    verbose: Any = "auto",
) -> Front:
    r"""Trains one model for every preference among its tasks, in plain `fit`.

    The model that `build` makes gets an input `r`, one number a task, by which `FiLM` layers bend its features, or for
    more than five tasks low-rank adapters its weights; see `kmtl.front.condition`. Each example draws a preference
    of its own and weighs the tasks' losses by it:

        r ~ (1 - edges) d^p / sum_j d_j^p + edges Uniform{e_1, ..., e_K},    d ~ Dirichlet(alpha, ..., alpha)
        loss = mean_b sum_k r_bk s_k L_bk,    s_k = 1 / size of the loss of task k

    The power `p` goes from 0 to 2: the training begins as one with fixed, equal shares, and what a preference changes
    is learned once there is something to change. The scales `s_k` make a preference mean the same whatever the units
    of the losses. The loss weights given to `compile` multiply them. Labels may be missing.

    Linear weights find the convex part of a trade-off. A preference is no share of the result: it is what the search
    is over.

    Source: Dosovitskiy and Djolonga, "You Only Train Once: Loss-Conditional Training of Deep Networks", ICLR 2020; Chen
    and Kwok, "Multi-Objective Deep Learning with Adaptive Reference Vectors", NeurIPS 2022; a power that grows is of
    Dimitriadis, Frossard and Fleuret, "Pareto Low-Rank Adapters: Efficient Multi-Task Learning with Preferences", 2024,
    who raise a fixed grid of preferences to it.

    Args:
        build: `build(tasks)`: makes a compiled `MultiTaskModel` whose balancer is `"equal"`; called twice.
        tasks: The tasks, two or more.
        train: What `fit` takes: batches `(x, {task: label})`, or `(x, y)` of arrays.
        validation: The same; the points are measured on it.
        epochs: Of the training. One as long as a training with fixed weights costs as much as that (and about a tenth
            for the further layers); three times as long gives a better front.
        steps: The points are all preferences in multiples of `1 / steps`; None takes 10 for two tasks (11 points), 5
            for three (21), 4 for four (35), 3 for five (35); for more tasks the middle, the corners, and the points
            half-way between.
        alpha: 1 draws uniformly, less draws more often near the edges.
        edges: Share of the examples that want one task alone. They teach the ends of the front, where it is weak, and
            take from everything else.
        sharpness: The power `p` in the first batch and at the end; `(1, 1)` draws alike throughout.
        units: Width of the hidden layer in each `FiLM`.
        rank: Of the adapters that more than five tasks have in place of `FiLM`; a number takes adapters for fewer, too.
        scale: The sizes of the losses. `"initial"` takes those of the untrained model on the validation set;
            `"running"` lets them follow the losses there for the first quarter of the epochs, which favours the tasks
            whose losses fall far; a dict gives them, such as those of single-task models.
        steps_per_epoch: As in `fit`; needed for a dataset without end.
        batch_size: Of arrays.
        callbacks: As in `fit`.
        seed: Of the preferences that are drawn.
        verbose: As in `fit`; unless it is 0, the points that are measured afterwards are counted.

    Returns:
        The front: print it, `plot` it, `select` a preference, and take the plain model for it by `model(preference)`.

    Raises:
        ValueError: With all offenders.
    """
    _check_numbers(epochs, steps, alpha, edges, sharpness)
    make, train, validation = _checked(build, tasks, train, validation, batch_size)
    base = make()
    _check_model(base, [task.name for task in tasks])
    length = steps_per_epoch or _length(train)
    scales = _scales(scale, list(base.tasks), epochs)
    tasks, started = list(tasks), time.perf_counter()
    model = condition(base, units=units, rank=rank)
    model.compile_from_config(base.get_compile_config())
    names = [*(tensor.name for tensor in base.inputs), PREFERENCE]
    watched = preferences.with_one(validation, names, [1 / len(tasks)] * len(tasks))
    callbacks = [LossScales(watched, scales[0], epochs=scales[1]), *callbacks]
    draws = preferences.Draws(alpha, edges, (float(sharpness[0]), float(sharpness[1])), epochs * length, seed)
    model.fit(
        preferences.with_draws(train, names, [task.name for task in tasks], draws),
        epochs=epochs,
        steps_per_epoch=length,
        validation_data=watched,
        callbacks=callbacks,
        verbose=verbose,
    )
    steps = steps or _STEPS.get(len(tasks))
    rows = pareto.lattice(len(tasks), steps) if steps else pareto.rays(len(tasks))
    found, progress = [], Progress(len(rows), verbose, unit="point")
    progress.say(f"Measuring {len(rows)} preferences")
    for row in rows.tolist():
        found.append(Point(tuple(row), scores(model, preferences.with_one(validation, names, row), losses=True)))
        progress.add(1)
    return Front(make, base, model, found, time.perf_counter() - started)


def _checked(build: Any, tasks: Any, train: Any, validation: Any, batch_size: Any) -> tuple[Any, Any, Any]:
    """What makes the model, and the data; refuses what is none."""
    with Refusals("front") as refusals:
        refuse_build(refusals, build)
        listed = checked_tasks(refusals, tasks, _FORM, least=2)
        if not is_whole(batch_size) or batch_size < 1:
            refusals.add("batch_size", "must be a whole number of at least 1", batch_size)
        refusals.check()
        named = {task.name: task for task in listed}
        sets = [
            as_dataset(refusals, argument, data, named, batch_size=batch_size, shuffle=argument == "train")
            for argument, data in (("train", train), ("validation", validation))
        ]
    return functools.partial(Build(build, "front"), listed), *sets


def _length(train: Any) -> int:
    """Batches of a pass; counted, where the dataset does not know."""
    length = int(train.cardinality())
    fix = "Pass it, or cut the dataset with take(n)."
    require(length != -1, "front", "steps_per_epoch", "must be given for a dataset without end", words("none"), fix)
    return length if length >= 0 else sum(1 for _ in train)


def _check_model(base: Any, names: Sequence[str]) -> None:
    """Refuses a build function that makes no fit model."""
    with Refusals("front") as refusals:
        if not refuse_model(refusals, base, names) and type(base.balancer).__name__ != "Equal":
            fix = "Leave the balancer out: the preferences weigh the tasks."
            refusals.add("build", "must compile with balancer='equal'", type(base.balancer).__name__, fix)


def _check_numbers(epochs: Any, steps: Any, alpha: Any, edges: Any, sharpness: Any) -> None:
    """Refuses numbers out of range."""
    with Refusals("front") as refusals:
        for argument, value in (("epochs", epochs), ("steps", steps)):
            if not (is_whole(value) and value >= 1) and not (argument == "steps" and value is None):
                refusals.add(argument, "must be a whole number of at least 1", value)
        if not is_number(alpha) or alpha <= 0:
            refusals.add("alpha", "must be a positive number", alpha)
        if not is_number(edges) or not 0 <= edges <= 1:
            refusals.add("edges", "must be a number from 0 to 1", edges)
        pair = isinstance(sharpness, Sequence) and len(sharpness) == 2
        if not (pair and all(is_number(power) and power >= 0 for power in sharpness)):
            refusals.add(
                "sharpness", "must be two numbers of at least 0, of the first batch and of the last", sharpness
            )


def _scales(scale: Any, tasks: Sequence[str], epochs: int) -> tuple[Mapping[str, float] | None, int]:
    """Returns the sizes of the losses, if they are given, and for how many epochs they follow the losses."""
    given = isinstance(scale, Mapping)
    good = given and set(scale) == set(tasks) and all(is_number(value) and value > 0 for value in scale.values())
    rule = f"must be 'initial', 'running' or a positive number for each of {list(tasks)}"
    require(good or scale in ("initial", "running"), "front", "scale", rule, scale)
    return (scale if given else None), max(1, epochs // 4) if scale == "running" else 0
