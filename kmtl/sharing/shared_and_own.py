"""Linear heads of a shared part and a part of each task's own."""

from collections.abc import Sequence
from typing import Any

import keras

from kmtl._checks import Refusals, non_negative, words
from kmtl.tasks import Task, features_by_task

_OWNER = "shared_and_own_heads"


def shared_and_own_heads(
    features: Any, tasks: Sequence[Task], *, shared_l2: float = 0.0, own_l2: float = 0.0
) -> dict[str, Any]:
    """Builds heads whose weights are a part that all tasks share and a part of each task's own.

        o_t = activation((w_0 + u_t)'h_t + b_t);    penalty = shared_l2 |w_0|^2 + own_l2 sum_t |u_t|^2

    For `kmtl.BinaryClassification` this is joint logistic regression: of one trunk's features, or straight of the
    inputs. `own_l2` says how alike the tasks are: large, and all have one set of weights (the pooled model, each with a
    bias of its own); `shared_l2` large, and each learns alone. Biases are not penalised, and the penalties belong to no
    task: they are never balanced, and are logged under `regularization`. The same is had by three copies of the
    features, one shared and one a task (Daume).

    Any tasks with dense heads of one width and one activation will do, as several regressions; hidden layers of a task
    come first, and are its own.

    Source: Evgeniou and Pontil, "Regularized Multi-Task Learning", KDD 2004; Daume, "Frustratingly Easy Domain
    Adaptation", ACL 2007.

    Args:
        features: One tensor `(batch, width)` for all tasks, or `{task: tensor}` of one width.
        tasks: The tasks, in order.
        shared_l2: Factor of the squared shared weights.
        own_l2: Factor of the squared weights of each task's own.

    Returns:
        `{task: output}`, for `kmtl.MultiTaskModel(inputs, outputs, tasks=tasks)`.

    Raises:
        ValueError: If a task has another head, the heads or the features differ in form, or a factor is negative.

    >>> import kmtl
    >>> x = keras.Input((4,), name="x")
    >>> tasks = [kmtl.BinaryClassification("bundle"), kmtl.BinaryClassification("personal")]
    >>> model = kmtl.MultiTaskModel(x, shared_and_own_heads(x, tasks, shared_l2=0.01, own_l2=0.1), tasks=tasks)
    >>> [weight.path for weight in model.trainable_weights]
    ['shared_part/kernel', 'bundle_own/kernel', 'bundle_own/bias', 'personal_own/kernel', 'personal_own/bias']
    """
    tasks, factors = list(tasks), {"shared_l2": shared_l2, "own_l2": own_l2}
    factors = {argument: non_negative(_OWNER, argument, value) for argument, value in factors.items()}
    with Refusals(_OWNER) as refusals:
        _check_heads(refusals, tasks)
    given = features_by_task(features, tasks, _OWNER)
    read = {task.name: task.hidden_layers(given[task.name]) for task in tasks}
    widths = {name: one.shape[-1] for name, one in read.items()}
    with Refusals(_OWNER) as refusals:
        if len(set(widths.values())) > 1:
            refusals.add("features", "must have one width for all tasks", widths, "End each in a dense layer of it.")
    common = keras.layers.Dense(
        tasks[0].units,
        use_bias=False,
        kernel_regularizer=_penalty(factors["shared_l2"]),
        dtype="float32",
        name="shared_part",
    )
    return {task.name: _output(task, common, read[task.name], factors["own_l2"]) for task in tasks}


def _check_heads(refusals: Refusals, tasks: Sequence[Task]) -> None:
    """Records tasks without a plain dense head, and heads of several forms."""
    if not tasks:
        refusals.add("tasks", "must not be empty", tasks)
    for task in tasks:
        if task.head_form is None or task.product_of:
            rule = "must have dense heads on vectors, with dropout behind hidden layers alone"
            refusals.add("tasks", rule, words(task.owner), "Give it a head of its own: kmtl.tasks.build_heads.")
    if len({(task.units, task.activation) for task in tasks}) > 1:
        shown = ", ".join(f"{task.owner} {task.units} wide, {task.activation or 'linear'}" for task in tasks)
        refusals.add("tasks", "must have heads of one width and one activation", words(shown))


def _output(task: Task, common: Any, features: Any, factor: float) -> Any:
    """One task's output: activation of the two parts, and what the task has behind it."""
    own = keras.layers.Dense(
        task.units, kernel_regularizer=_penalty(task.l2 + factor, task.l1), dtype="float32", name=f"{task.name}_own"
    )
    total = keras.layers.Add(dtype="float32", name=f"{task.name}_sum")([common(features), own(features)])
    if task.activation is not None:
        total = keras.layers.Activation(task.activation, dtype="float32", name=task.name)(total)
    return task.fused_output(total)


def _penalty(squared: float, absolute: float = 0.0) -> Any:
    """The penalty of a kernel, or None."""
    return keras.regularizers.L1L2(absolute, squared) if squared or absolute else None
