"""From features to named outputs: one head a task, alike ones fused."""

from collections.abc import Hashable, Iterable, Mapping, Sequence, Set
from typing import Any

from kmtl._checks import Refusals, near, near_match, refusal, words
from kmtl.tasks.base import Task
from kmtl.tasks.feature_forms import FEATURES, check_form
from kmtl.tasks.fused import FusedHeads

# Below this many alike heads a fused kernel saves nothing and hides the names in `summary()`.
FUSE_FROM = 4


def build_heads(features: Any, tasks: Iterable[Task], *, fuse: bool | str = "auto") -> dict[str, Any]:
    """Builds one named output a task on shared features.

    Args:
        features: KerasTensor, as `(batch, width)`; or `{"vector": ..., "map": ..., "sequence": ...}`, of which each
            task takes the one that its kind wants; or `{task: such a tensor}`, as a fork makes it. In place of a map
            there may be a list of maps from fine to coarse, of which a task takes what its `chosen_map` says.
        tasks: The tasks, in order.
        fuse: `"auto"` computes four or more heads of one form as one kernel;
            True does so from two on, False never.

    Returns:
        `{task name: output}`, in task order.

    Raises:
        ValueError: If a task gets no features, or such as its head cannot take, or is the product of what is none of
            the tasks.
    """
    tasks = list(tasks)
    own = features_by_task(features, tasks)
    products = [task for task in tasks if task.product_of]
    outputs: dict[str, Any] = {}
    for alike in _alike([task for task in tasks if not task.product_of], products, fuse):
        if len(alike) > 1:
            outputs.update(_fused([own[task.name] for task in alike], alike))
        else:
            outputs.update({task.name: task.head(own[task.name]) for task in alike})
    check_factors("build_heads", products, {task.name: task for task in tasks})
    outputs |= {task.name: task.product([outputs[name] for name in task.product_of]) for task in products}
    return {task.name: outputs[task.name] for task in tasks}


def check_factors(owner: str, products: Iterable[Task], tasks: Mapping[str, Task]) -> None:
    """Refuses products of what is no task, or has another output, or is a product itself.

    Args:
        owner: For the message.
        products: The tasks that are products of others.
        tasks: All tasks by name.
    """
    with Refusals(owner) as refusals:
        for task in products:
            for name in task.product_of:
                factor, argument = tasks.get(name), f"product_of of {task.name!r}"
                if factor is None:
                    others = [other for other in tasks if other != task.name]
                    refusals.add(argument, "must name tasks beside it", name, near(name, others))
                elif type(factor) is not type(task) or factor.product_of:
                    rule = f"must name tasks of its kind, {task.kind}, with a head"
                    got = words(f"{factor.owner}{', a product' if factor.product_of else ''}")
                    refusals.add(argument, rule, got)


def features_by_task(features: Any, tasks: Sequence[Task], owner: str = "build_heads") -> dict[str, Any]:
    """Gives each task the features that its kind wants, and refuses those that its head cannot take.

    Args:
        features: As for `build_heads`. Keyed by task it may hold more than these tasks want, as where a build function
            makes a model of one of them.
        tasks: The tasks, in order.
        owner: For the messages.

    Returns:
        `{task name: tensor}`, in task order, of several maps a list; without those whose output is a product of
        others'.

    Raises:
        ValueError: If a task gets none or such as its head cannot take.
    """
    wanting = [task for task in tasks if not task.product_of]
    if not isinstance(features, Mapping):
        found = {task.name: features for task in wanting}
    else:
        found = _of_mapping(features, wanting, {task.name for task in tasks}, owner)
    for task in wanting:
        if task.features == "map" and isinstance(found[task.name], list | tuple):
            check_form(task.name, task.features, found[task.name], owner)
            found[task.name] = task.chosen_map(list(found[task.name]))
        task.check_features(found[task.name], owner)
    return found


def _of_mapping(features: Mapping[str, Any], tasks: Sequence[Task], names: Set[str], owner: str) -> dict[str, Any]:
    """Features out of a mapping, which is keyed by their kind or by task; refuses what may be either, or is neither."""
    by_kind = _is_by_kind(features, {task.name for task in tasks}, owner)
    keys = {task.name: task.features if by_kind else task.name for task in tasks}
    missing = [task for task in tasks if keys[task.name] not in features]
    strays = [key for key in features if key not in FEATURES and key not in names]
    with Refusals(owner) as refusals:
        if by_kind or missing:
            wanted = [*(() if by_kind else [task.name for task in missing]), *sorted(FEATURES - set(features))]
            for key in strays:
                rule = "must use task names, or 'map', 'sequence' and 'vector', as keys"
                refusals.add("features", rule, key, near_match(key, wanted))
        for task in missing:
            rule = f"must hold those of task {task.name!r}, a {task.features!r}"
            fix = f"Add {task.features!r}: the trunk with pooling=None." if set(features) <= FEATURES else ""
            refusals.add("features", rule, list(features), fix)
    return {name: features[key] for name, key in keys.items()}


def _is_by_kind(features: Mapping[str, Any], names: Set[str], owner: str) -> bool:
    """Whether features are keyed by their kind rather than by task; refuses what may be either."""
    given = set(features)
    if not given & FEATURES or names <= given or (names & given and not given <= FEATURES):
        return False
    both = sorted(names & given)
    if both:
        fix = "Rename the task, or pass {task: tensor} for every task."
        got = words(f"{both}, the name of a task")
        raise ValueError(refusal(owner, "features", "must be keyed by kind of features or by task", got, fix))
    return True


def _alike(tasks: list[Task], products: list[Task], fuse: bool | str) -> list[list[Task]]:
    """Groups the tasks whose heads become one kernel, in order of first appearance; the others stay single.

    A head that is a factor of another task's output belongs to both, and a fused kernel's slices to one task each.
    """
    factors = {name for task in products for name in task.product_of}
    groups: dict[Hashable, list[Task]] = {}
    for task in tasks:
        form = task.head_form if fuse and task.name not in factors else None
        groups.setdefault(("own", task.name) if form is None else form, []).append(task)
    enough = 2 if fuse is True else FUSE_FROM
    return [part for group in groups.values() for part in ([group] if len(group) >= enough else [[t] for t in group])]


def _fused(features: list[Any], alike: list[Task]) -> dict[str, Any]:
    """Builds one fused layer for a group, and what each head has behind it."""
    together = all(one is features[0] for one in features)
    first = alike[0]
    layer = FusedHeads(
        [task.name for task in alike],
        first.units,
        hidden=first.hidden,
        activation=first.activation,
        dropout=first.dropout,
        l1=first.l1,
        l2=first.l2,
        name=f"{first.name}_and_{len(alike) - 1}_more",
    )
    outputs = layer(features[0] if together else features)
    return {task.name: task.fused_output(outputs[task.name]) for task in alike}
