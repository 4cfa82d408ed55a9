"""From features to named outputs: one head a task, alike ones fused."""

from collections.abc import Iterable, Mapping
from typing import Any

from kmtl._checks import refusal
from kmtl.tasks.base import Task
from kmtl.tasks.fused import FusedHeads
from kmtl.tasks.regression import Regression
from kmtl.tasks.standardization import Unstandardize

# Below this many alike heads a fused kernel saves nothing and hides the names in `summary()`.
FUSE_FROM = 4


def build_heads(features: Any, tasks: Iterable[Task], *, fuse: bool | str = "auto") -> dict[str, Any]:
    """Builds one named output a task on shared features.

    Args:
        features: KerasTensor of shape `(batch, width)`, or `{task: such a tensor}`, as a fork makes it.
        tasks: The tasks, in order.
        fuse: `"auto"` computes four or more heads of one form as one kernel;
            True does so from two on, False never.

    Returns:
        `{task name: output}`, in task order.

    Raises:
        ValueError: If the features are not `(batch, width)`.
    """
    tasks = list(tasks)
    own = features if isinstance(features, Mapping) else {task.name: features for task in tasks}
    for tensor in own.values():
        check_features(tensor, "build_heads")
    outputs: dict[str, Any] = {}
    for alike in _alike(tasks):
        if _is_fused(alike, fuse):
            outputs.update(_fused([own[task.name] for task in alike], alike))
        else:
            outputs.update({task.name: task.head(own[task.name]) for task in alike})
    return {task.name: outputs[task.name] for task in tasks}


def check_features(features: Any, owner: str) -> None:
    """Refuses features that no dense head can take."""
    if len(getattr(features, "shape", ())) != 2 or features.shape[-1] is None:
        got = getattr(features, "shape", features)
        fix = "Pool or flatten the trunk's output first, as kmtl.trunks does."
        raise ValueError(refusal(owner, "features", "must be a KerasTensor of shape (batch, width)", got, fix))


def _form(task: Task) -> tuple[object, ...]:
    """What two heads must share to be one kernel."""
    standardize = getattr(task, "standardize", False)
    return (task.units, task.hidden, task.activation, task.dropout, task.l1, task.l2, standardize, _builds(type(task)))


def _builds(kind: type[Task]) -> tuple[object, ...]:
    """The methods that build the head of a kind of task: a kind of the user's own may replace them."""
    return (kind.head, kind.hidden_layers, kind.output, kind.dense, kind.regularizer)


def _alike(tasks: list[Task]) -> list[list[Task]]:
    """Groups the tasks by the form of their heads, in order of first appearance."""
    groups: dict[tuple[object, ...], list[Task]] = {}
    for task in tasks:
        groups.setdefault(_form(task), []).append(task)
    return list(groups.values())


def _is_fused(alike: list[Task], fuse: bool | str) -> bool:
    """Whether a group becomes one kernel; dropout on the features differs a head, so those stay separate."""
    first = alike[0]
    enough = len(alike) >= (2 if fuse is True else FUSE_FROM)
    own_features = bool(first.dropout) and not first.hidden
    own_head = _builds(type(first)) not in (_builds(Task), _builds(Regression))
    return bool(fuse) and enough and not own_features and not own_head


def _fused(features: list[Any], alike: list[Task]) -> dict[str, Any]:
    """Builds one fused layer for a group and, for regressions, the way back to each unit."""
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
    if not getattr(first, "standardize", False):
        return outputs
    return {name: Unstandardize(name=name)(output) for name, output in outputs.items()}
