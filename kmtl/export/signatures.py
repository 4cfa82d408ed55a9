"""What an artifact offers: one signature for all tasks, one a task, over one set of weights."""

from typing import Any

import keras
import tensorflow as tf

from kmtl import _checks

JOINT = "serving_default"


def task_outputs(refusals: _checks.Refusals, model: Any) -> dict[str, Any]:
    """Returns the model's outputs by task name, in the model's own order, and records what cannot be exported.

    `model.output_names` would be sorted layer names; the dict's keys are the tasks.
    """
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
    return dict(outputs)


def _refuse_names(refusals: _checks.Refusals, outputs: dict[str, Any]) -> None:
    """Records every task name that could not be the name of a signature beside the joint one."""
    for name in outputs:
        try:
            _checks.task_name(refusals.owner, name)
        except ValueError as error:
            refusals.messages.append(str(error))


def inference_part(model: Any, outputs: dict[str, Any]) -> Any:
    """Returns the part of `model` that computes `outputs`, sharing its layers: no other head, no training step."""
    return keras.Model(model.inputs, dict(outputs))


def endpoints(model: Any, outputs: dict[str, Any]) -> dict[str, Any]:
    """Traces one inference function for all `outputs` together and one for each alone.

    Args:
        model: A functional model.
        outputs: Some of its output tensors by task name.

    Returns:
        Concrete functions by signature name. Each takes the inputs by the names of the `Input` layers, with a batch
        dimension of any size, and returns outputs by task name.
    """
    wanted = {JOINT: outputs, **{task: {task: tensor} for task, tensor in outputs.items()}}
    return {name: _traced(inference_part(model, part)) for name, part in wanted.items()}


def _traced(part: Any) -> Any:
    """Traces `part` in inference mode; a model called in the signature would drag its training state along."""
    names = [tensor.name for tensor in part.inputs]
    spec = {tensor.name: tf.TensorSpec((None, *tensor.shape[1:]), tensor.dtype, tensor.name) for tensor in part.inputs}

    def infer(inputs: dict[str, Any]) -> dict[str, Any]:
        return dict(part([inputs[name] for name in names], training=False))

    return tf.function(infer, input_signature=[spec]).get_concrete_function()


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


def save(model: Any, outputs: dict[str, Any], path: str) -> list[str]:
    """Writes a SavedModel with the signatures of `outputs` to `path` and returns the signatures' names."""
    functions = endpoints(model, outputs)
    tf.saved_model.save(keeper(inference_part(model, outputs), functions), path, signatures=functions)
    return list(functions)
