"""What an artifact offers: one signature for all tasks, one a task, over one set of weights."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from kmtl import _checks, _keras_private
from kmtl.export import stems

JOINT = "serving_default"
# From values by name to values by name.
Run = Callable[[dict[str, Any]], dict[str, Any]]


def task_outputs(refusals: _checks.Refusals, model: Any, tasks: Sequence[str] | None = None) -> dict[str, Any]:
    """Returns the model's outputs by task name, in the model's own order, and records what cannot be exported.

    `model.output_names` would be sorted layer names; the dict's keys are the tasks.

    Args:
        refusals: Where to record.
        model: What is to be exported.
        tasks: Names of the tasks wanted; None wants all.
    """
    # A model of which a part is no graph says so itself.
    reason = getattr(model, "export_refusal", None)
    if reason is not None:
        refusals.add("model", *reason)
        return {}
    outputs = getattr(model, "output", None) if isinstance(model, keras.Model) else None
    if not isinstance(outputs, dict) or not all(isinstance(value, keras.KerasTensor) for value in outputs.values()):
        got = _checks.words(f"{type(model).__name__} with output of type {type(outputs).__name__}")
        fix = "Build it as keras.Model(inputs, {task: tensor, ...}) or kmtl.MultiTaskModel."
        refusals.add("model", "must be a built functional keras.Model with a dict of outputs", got, fix)
        return {}
    _refuse_names(refusals, outputs)
    for tensor in model.inputs:
        if tensor.sparse or tensor.ragged:
            refusals.add("model", "must have dense inputs", tensor.name, "Make the input dense inside the data.")
    return _wanted(refusals, outputs, tasks)


def refuse_unlearned(refusals: _checks.Refusals, model: Any, wanted: Iterable[str]) -> None:
    """Records tasks whose outputs would be in no unit: nobody learned the labels' mean and scale.

    Args:
        refusals: Where to record.
        model: What is to be exported; a plain Keras model has no such tasks.
        wanted: Names of the tasks.
    """
    scalers = getattr(model, "scalers", {})
    unlearned = [name for name in wanted if name in scalers and not scalers[name].is_learned]
    if unlearned:
        fix = "Train it, call model.adapt(data) with labelled data, or give the task `standardize=False`."
        got = _checks.words(f"none for {unlearned}")
        refusals.add("model", "must have learned the labels' mean and scale", got, fix)


def refuse_text(refusals: _checks.Refusals, model: Any, fix: str) -> None:
    """Records inputs that are text, for a runtime that splits none and looks no word up."""
    texts = [tensor.name for tensor in model.inputs if tensor.dtype == "string"]
    if texts:
        refusals.add("model", "must read numbers", _checks.words(f"text in {texts}"), fix)


def _refuse_names(refusals: _checks.Refusals, outputs: dict[str, Any]) -> None:
    """Records every task name that could not be the name of a signature beside the joint one."""
    for name in outputs:
        try:
            _checks.task_name(refusals.owner, name)
        except ValueError as error:
            refusals.messages.append(str(error))


def _wanted(refusals: _checks.Refusals, outputs: dict[str, Any], tasks: Any) -> dict[str, Any]:
    """Returns the outputs of the tasks asked for and records names that are not there."""
    if tasks is None:
        return dict(outputs)
    listed = isinstance(tasks, Sequence) and not isinstance(tasks, str | bytes)
    if not listed or not tasks:
        refusals.add("tasks", "must be a list of task names", tasks, f"The model has {list(outputs)}.")
        return {}
    for name in tasks:
        if name not in outputs:
            refusals.add("tasks", "must name tasks of the model", name, _checks.near(str(name), outputs))
    return {name: tensor for name, tensor in outputs.items() if name in tasks}


def inference_part(model: Any, outputs: Mapping[str, Any]) -> Any:
    """Returns the part of `model` that computes `outputs`, sharing its layers: no other head, no training step."""
    return keras.Model(model.inputs, dict(outputs))


@contextlib.contextmanager
def parts(model: Any, outputs: Mapping[str, Any]) -> Iterator[dict[str, Run]]:
    """Gives what computes the outputs of each base signature: all `outputs` together, and each alone.

    What is traced meanwhile shares one set of weights, that of these outputs alone, and one graph of the layers that
    all of them need. The weights must be given to `keeper` before the end: functions do not keep their variables.
    """
    wanted = {JOINT: outputs, **{task: {task: tensor} for task, tensor in outputs.items()}}
    whole = inference_part(model, outputs)
    with stems.cut_heads(_keras_private.model_path(whole), copied=True):
        stem = stems.stem(whole, specs(whole))
        yield {name: stems.behind(stem, whole, some) for name, some in wanted.items()}


def specs(model: Any) -> dict[str, Any]:
    """Returns the form of each input by name, for a batch of any size."""
    return {tensor.name: tf.TensorSpec((None, *tensor.shape[1:]), tensor.dtype, tensor.name) for tensor in model.inputs}


def trace(run: Run, given: dict[str, Any]) -> Any:
    """Traces a signature.

    Args:
        run: Computes what the signature returns, by name, from what it takes, by name.
        given: Specs of what the signature takes, by name.

    Returns:
        A concrete function, with a batch dimension of any size.
    """

    def infer(given: dict[str, Any]) -> dict[str, Any]:
        return dict(run(given))

    return tf.function(infer, input_signature=[given]).get_concrete_function()


def keeper(model: Any, functions: dict[str, Any]) -> tf.Module:
    """Returns an object that owns what `functions` read, each variable once, and nothing else.

    Tracking the Keras model itself stores every weight twice (keras issue 23553) and brings along what only training
    needs: seeds, metrics, the optimizer, a balancer's state.
    """
    read = {id(variable): variable for function in functions.values() for variable in function.variables}
    tables = tf.saved_model.experimental.TrackableResource
    module = tf.Module()
    module.inference_variables = sorted(read.values(), key=lambda variable: variable.name)
    module.lookup_tables = [part for part in tf.train.TrackableView(model).descendants() if isinstance(part, tables)]
    return module


def save(model: Any, outputs: Mapping[str, Any], path: str) -> list[str]:
    """Writes a SavedModel with the signatures of `outputs` to `path` and returns the signatures' names."""
    with parts(model, outputs) as found:
        functions = {name: trace(run, specs(model)) for name, run in found.items()}
        kept = keeper(model, functions)
    tf.saved_model.save(kept, path, signatures=functions)
    return list(functions)
