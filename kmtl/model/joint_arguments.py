"""What `compile` accepts over the outputs of several tasks: joint losses and metrics."""

from collections.abc import Mapping, Sequence
from itertools import permutations
from typing import Any

import keras

from kmtl._checks import Refusals, near, refusal, words
from kmtl.joint_terms import JointLoss, JointMetric, JointTerm
from kmtl.model.symbolic_trial import FAILURES, Trial, first_line
from kmtl.tasks import Task
from kmtl.tasks.several_losses import SeveralLosses
from kmtl.tasks.shapes import known_shape

# Log keys that are no task's.
_TAKEN = {"loss", "regularization", "delta_m", "solver_failures", "conflicting_pairs", "gram_condition"}
# Ends of a task's own log keys.
_ENDS = ("loss", "weight", "gradient_norm", "excluded")
# A side of a map that varies, large enough for the window of any usual filter.
_SIDE = 32


def joint_terms(
    refusals: Refusals, argument: str, kind: type[JointTerm], tasks: Mapping[str, Task], given: Any
) -> list[Any]:
    """Lists the joint losses or metrics that are fit, and records what is not.

    Args:
        refusals: Where to record.
        argument: Of `compile`.
        kind: What each must be.
        tasks: The model's tasks by name.
        given: None, one, or a list of them.
    """
    listed = [] if given is None else list(given) if isinstance(given, list | tuple) else [given]
    found: list[Any] = []
    for term in listed:
        if not isinstance(term, kind):
            refusals.add(argument, f"must hold kmtl.{kind.__name__}", term)
        elif term.name in tasks or term.name in [other.name for other in found]:
            rule = "must have names that neither a task nor another has"
            refusals.add(argument, rule, term.name, "Give it another `name`.")
        elif not _is_unknown(refusals, argument, term, tasks) and _fits(refusals, argument, term, tasks):
            found.append(term)
    return found


def _is_unknown(refusals: Refusals, argument: str, term: JointTerm, tasks: Mapping[str, Task]) -> bool:
    """Whether it names a task that the model has not; records each."""
    unknown = [name for name in term.tasks if name not in tasks]
    for name in unknown:
        refusals.add(argument, f"of {term.name!r} must name tasks of the model", name, near(name, tasks))
    return bool(unknown)


def _fits(refusals: Refusals, argument: str, term: JointTerm, tasks: Mapping[str, Task]) -> bool:
    """Whether its function takes these outputs and labels and returns one value an example; records it if not."""
    shapes = {name: known_shape(tasks[name].output_shape, _SIDE) for name in term.tasks}
    own = {name: known_shape(tasks[name].label_shape, _SIDE) for name in term.needs_labels}
    # A batch that broadcasts with no other size.
    batch = 1 + max(size for shape in [*shapes.values(), *own.values()] for size in (*shape, 1))
    outputs = {name: keras.KerasTensor((batch, *shape)) for name, shape in shapes.items()}
    labels = {name: keras.KerasTensor((batch, *shape), dtype=tasks[name].label_dtype) for name, shape in own.items()}
    function = getattr(term.fn, "__name__", type(term.fn).__name__)
    try:
        result = Trial(lambda seen, truth: term.values(tasks, truth, seen)[0])(outputs, labels)
    except KeyError as error:
        there = words(f"{error}: it has outputs of {term.tasks} and labels of {term.needs_labels}")
        refusals.add(argument, f"of {term.name!r} must read what it asks for: {function!r} reads another key", there)
        return False
    except FAILURES as error:
        rule = f"of {term.name!r} must take outputs and labels of {term.tasks}"
        refusals.add(argument, rule, words(function), f"It says: {first_line(error)}")
        return False
    shape = tuple(getattr(result, "shape", ()))
    if shape != (batch,):
        got = words(f"shape {shape} for {batch} examples")
        fix = "Keep the batch axis and reduce the others: `ops.mean(values, axis=-1)`."
        refusals.add(argument, f"of {term.name!r} must return one value an example, (batch,)", got, fix)
    return shape == (batch,)


def check_log_keys(
    tasks: Mapping[str, Task],
    losses: Mapping[str, Any],
    reported: Sequence[str],
    joint_losses: Sequence[JointLoss],
    joint_metrics: Sequence[JointMetric],
) -> None:
    """Refuses losses and metrics whose log keys would overwrite others.

    Args:
        tasks: The tasks by name.
        losses: Their losses.
        reported: Log keys of their metrics.
        joint_losses: Losses over several outputs.
        joint_metrics: Metrics over several outputs.

    Raises:
        ValueError: With all offenders.
    """
    names = [*tasks, *(loss.name for loss in joint_losses)]
    taken = _TAKEN | {f"{name}_{end}" for name in tasks for end in _ENDS} | set(reported)
    taken |= {f"{one}_{other}_cosine" for one, other in permutations(names, 2)}
    several = {name: loss.losses for name, loss in losses.items() if isinstance(loss, SeveralLosses)}
    wanted = [("losses", f"{name}_{part}_loss") for name, parts in several.items() for part in parts]
    wanted += [("joint_losses", f"{loss.name}_{end}") for loss in joint_losses for end in _ENDS]
    wanted += [("joint_metrics", metric.name) for metric in joint_metrics]
    with Refusals("compile") as refusals:
        for argument, key in wanted:
            if key in taken:
                rule = "must have log keys of their own; twice"
                refusals.add(argument, rule, key, "Give it another `name`.")
            taken.add(key)


def check_route(model: Any, balancer: Any, joint_losses: Sequence[JointLoss]) -> None:
    """Refuses joint losses where the balancer could not tell their gradients from those of the tasks.

    Raises:
        ValueError: If it balances copies of the features, or one that is balanced shares no weights with a task.
    """
    if not joint_losses or balancer.needs == "losses":
        return
    if balancer.level == "features":
        fix = "Take level='parameters', or a balancer of losses."
        rule = "must not be there with level='features', which knows one gradient a task"
        raise ValueError(refusal("compile", "joint_losses", rule, [loss.name for loss in joint_losses], fix))
    alone = [loss.name for loss in joint_losses if loss.balanced]
    if alone and not model.shared_variables:
        fix = "Take balanced=False, or a balancer of losses."
        rule = "of balanced=True need trainable weights that tasks share"
        raise ValueError(refusal("compile", "joint_losses", rule, words("a model with none"), fix))
