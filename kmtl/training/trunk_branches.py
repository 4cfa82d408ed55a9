"""The trunks that are to be fused: one a task, or one an input."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from kmtl._checks import Refusals, refusal, words
from kmtl._keras_private import model_path
from kmtl.feeding import InputForm
from kmtl.feeding.label_statistics import DataStatistics
from kmtl.feeding.resume import transform_stream
from kmtl.model.compile_like import compile_like
from kmtl.model.model import MultiTaskModel
from kmtl.sharing import present_rows
from kmtl.training.combined import called, inputs_like
from kmtl.training.shared_trunk import shared_trunk, trunk_in
from kmtl.training.work import Work

_FIX = (
    "Give each input layers of its own, and put what they give together once, before the heads: "
    "kmtl.sharing.FeatureFusion()([image_features, text_features])."
)


class TrunkBranch(NamedTuple):
    """A trunk, and what it is trained in.

    Attributes:
        name: Of its task or input.
        model: A compiled model with a head of its own on the trunk, for its training alone.
        trunk: A functional `keras.Model` to its features, of the same layers.
        data: What it is trained on.
        validation: The same for validation, or None.
        passes: How much of a trunk it is.
    """

    name: str
    model: Any
    trunk: Any
    data: Any
    validation: Any
    passes: float

    def features(self, inputs: Any) -> Any:
        """Its features of other inputs, which are in the structure of the model's or the one input that it reads."""
        return called(self.trunk, inputs, f"{self.name}_trunk")


def branches_by_task(work: Work, joint: Any) -> list[TrunkBranch]:
    """A trunk a task, in a model of that task alone.

    Args:
        work: The work.
        joint: The model of all tasks.

    Raises:
        ValueError: If `build` makes no such trunk.
    """
    trunk = shared_trunk(work.owner, joint)
    made = []
    for task in work.tasks:
        alone = work.alone(task)
        own = keras.Model(alone.input, trunk_in(work.owner, alone, trunk).output)
        made.append(TrunkBranch(task.name, alone, own, work.data_of([task.name]), None, 1.0))
    return made


def branches_by_input(work: Work, joint: Any) -> list[TrunkBranch]:
    """A trunk an input, in a model of the tasks that have labels where this input is there.

    Args:
        work: The work.
        joint: The model of all tasks, of which the trunks are part.

    Raises:
        ValueError: If `build` mixes the inputs on the way, or no labelled row has one of them.
    """
    trunks = trunks_by_input(work.owner, joint)
    with Refusals(work.owner) as refusals:
        labelled = {name: _labelled_tasks(work, name, list(trunks)) for name in trunks}
        for name, tasks in labelled.items():
            if not tasks:
                refusals.add("train", f"must have labels in rows where the input {name!r} is there", words("none"))
    made = []
    for name, trunk in trunks.items():
        with joint.distribute_strategy.scope():
            inputs = inputs_like(joint)
            model = MultiTaskModel.from_features(inputs, trunk(by_name(inputs)[name]), labelled[name])
            compile_like(model, joint)
        names = [task.name for task in labelled[name]]
        data = labels_where_present(work.data_of(names), name, list(trunks), labelled[name])
        held_out = work.validation
        if held_out is not None:
            held_out = labels_where_present(work.data_of(names, held_out), name, list(trunks), labelled[name])
        made.append(TrunkBranch(name, model, trunk, data, held_out, 1 / len(trunks)))
    return made


def _labelled_tasks(work: Work, name: str, inputs: list[str]) -> list[Any]:
    """The tasks that have a label in rows where an input is there, each to be trained alone."""
    tasks = {task.name: task for task in work.tasks}
    data = labels_where_present(work.train, name, inputs, work.tasks)
    found = DataStatistics.of(tasks, ((x, y) for x, y, *_ in data.as_numpy_iterator()))
    return [task.alone() for task in work.tasks if found.tasks[task.name].labelled]


def by_name(x: Any, names: list[str] | None = None) -> dict[str, Any]:
    """Inputs by name, whatever structure they come in.

    Args:
        x: A model's inputs, or a batch of them.
        names: Their names in order; None takes those of Keras tensors.

    >>> list(by_name([1.0, 2.0], ["image", "text"]))
    ['image', 'text']
    """
    if isinstance(x, Mapping):
        return dict(x)
    values = keras.tree.flatten(x)
    return dict(zip(names or [value.name for value in values], values, strict=True))


def with_inputs(x: Any, changed: Mapping[str, Any], names: list[str]) -> Any:
    """The same inputs, some of them changed.

    >>> with_inputs([1.0, 2.0], {"text": 0.0}, ["image", "text"])
    [1.0, 0.0]
    """
    if isinstance(x, Mapping):
        return {**x, **changed}
    values = {**by_name(x, names), **changed}
    return keras.tree.pack_sequence_as(x, [values[name] for name in names])


def input_names(owner: str, model: Any) -> list[str]:
    """Names of a model's inputs; refuses what has fewer than two, or a nested structure of them."""
    form = InputForm.of(model.input)
    if form is None or len(form.shapes) < 2:
        got = words("inputs of another structure" if form is None else f"{list(form.shapes)}")
        fix = "Give it a dict of keras.Input, as {'image': ..., 'text': ...}."
        raise ValueError(refusal(owner, "build", "must make a model of two inputs or more", got, fix))
    return list(form.shapes)


def trunks_by_input(owner: str, model: Any) -> dict[str, Any]:
    """Finds what each input of a model goes through before it meets another.

    Args:
        owner: Who asks, for the message.
        model: A `MultiTaskModel` of several inputs.

    Returns:
        By name of the input, a functional `keras.Model` from it to its features, of the same layers.

    Raises:
        ValueError: If an input has no such trunk of its own.
    """
    inputs = by_name(dict(zip(input_names(owner, model), keras.tree.flatten(model.input), strict=True)))
    ends = _ends(model, {id(tensor): name for name, tensor in inputs.items()})
    trunks: dict[str, Any] = {}
    with Refusals(owner) as refusals:
        for name, tensor in inputs.items():
            rule = f"must make a trunk of the input {name!r} alone, which ends in one tensor before the heads"
            if len(ends[name]) == 1:
                trunks[name] = keras.Model(tensor, ends[name][0])
            else:
                refusals.add("build", rule, words(f"{len(ends[name])} such tensors"), _FIX)
        seen: dict[int, str] = {}
        for name, trunk in trunks.items():
            common = {seen[id(item)] for item in trunk.weights if id(item) in seen}
            if common:
                got = words(f"{name!r} and {sorted(common)[0]!r} that share some")
                refusals.add("build", "must give each input weights of its own", got, _FIX)
            seen.update((id(item), name) for item in trunk.weights)
    return trunks


def _ends(model: Any, inputs: Mapping[int, str]) -> dict[str, list[Any]]:
    """By input, the tensors that come of it alone and that are read together with others; any output that does, too."""
    behind: dict[int, set[str]] = {key: {name} for key, name in inputs.items()}
    found: dict[str, dict[int, Any]] = {name: {} for name in inputs.values()}

    def note(tensor: Any) -> None:
        if len(behind[id(tensor)]) == 1:
            found[next(iter(behind[id(tensor)]))][id(tensor)] = tensor

    for node in model_path(model).nodes:
        read = set().union(*(behind[id(tensor)] for tensor in node.input_tensors))
        behind.update((id(tensor), read) for tensor in node.outputs)
        if len(read) > 1:
            for tensor in node.input_tensors:
                note(tensor)
    # A head on one input alone ends beside the trunk.
    for tensor in model.output.values():
        note(tensor)
    return {name: list(tensors.values()) for name, tensors in found.items()}


def labels_where_present(data: Any, name: str, inputs: list[str], tasks: Any) -> Any:
    """The same rows, a label missing wherever an input is.

    Args:
        data: A dataset of batches `(x, {task: label})`, with or without weights.
        name: Of the input.
        inputs: Names of all inputs, in order.
        tasks: The tasks.
    """
    missing = {task.name: task.missing for task in tasks}

    def masked(x: Any, y: Any, *weights: Any) -> Any:
        there = present_rows(by_name(x, inputs)[name])
        return (x, {key: _where(there, label, missing[key]) for key, label in y.items()}, *weights)

    return transform_stream(data, lambda given: given.map(masked))


def _where(there: Any, label: Any, missing: Any) -> Any:
    """A label where a row is there."""
    label = tf.convert_to_tensor(label)
    rows = tf.reshape(there, tf.concat([[-1], tf.ones([tf.rank(label) - 1], tf.int32)], axis=0))
    return tf.where(rows, label, tf.cast(missing, label.dtype))
