"""Outputs that are logits where a task promises probabilities."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from kmtl._checks import require, words
from kmtl._keras_private import loss_arguments, operations_behind
from kmtl.tasks.base import Task
from kmtl.tasks.several_losses import SeveralLosses

# What ends in probabilities.
_ENDS = ("softmax", "sigmoid", "hard_sigmoid", "sparse_sigmoid", "sparsemax")
# What ends in a number of at least 0, as a rate is.
_POSITIVE = (*_ENDS, "exponential", "softplus", "relu", "relu6")
# Layers that move numbers and leave them what they are.
_MOVING = (
    *(keras.layers.Reshape, keras.layers.Flatten, keras.layers.Permute, keras.layers.Cropping2D),
    *(keras.layers.UpSampling2D, keras.layers.Resizing, keras.layers.Identity, keras.layers.Dropout),
)
# Layers that make other logits of logits, and no probabilities of anything.
_SCALING = (
    *(keras.layers.BatchNormalization, keras.layers.LayerNormalization, keras.layers.GroupNormalization),
    keras.layers.Rescaling,
)


def takes_logits(loss: Any) -> bool:
    """Whether a loss says that it is taken of logits.

    >>> takes_logits(keras.losses.BinaryCrossentropy(from_logits=True)), takes_logits(keras.losses.BinaryCrossentropy())
    (True, False)
    """
    found = loss.losses.values() if isinstance(loss, SeveralLosses) else [loss]
    return any(getattr(one, "from_logits", False) or loss_arguments(one).get("from_logits", False) for one in found)


def is_logits(task: Task, output: Any) -> bool:
    """Whether an output surely is no probability, or rate, where the task promises one: another activation made it.

    Args:
        task: Whose output it is.
        output: KerasTensor. Of what another operation made nobody can tell, and it counts as what it should be.

    >>> from kmtl.tasks import BinaryClassification
    >>> given = keras.Input((3,))
    >>> [is_logits(BinaryClassification("spam"), keras.layers.Dense(1, a)(given)) for a in ("linear", "sigmoid")]
    [True, False]
    """
    return bool(_ends_of(task)) and _ends_in(output, _ends_of(task)) is False


def _ends_of(task: Task) -> tuple[str, ...]:
    """The activations of which one makes what a task promises; none where any number may be an output."""
    if task.final_activation == "exponential":
        return _POSITIVE
    return _ENDS if task.final_activation in _ENDS else ()


def _ends_in(output: Any, ends: Sequence[str]) -> bool | None:
    """Whether an output ends in one of some activations; None where nobody can tell."""
    is_linear, is_scaled = False, False
    for made in operations_behind(output):
        if isinstance(made, (*_MOVING, *_SCALING)):
            is_scaled |= isinstance(made, _SCALING)
            continue
        name = _activation_of(made)
        if name in ends:
            return None if is_scaled else True
        if not isinstance(made, keras.layers.Activation) or name != "linear":
            return False if name or is_linear else None
        # By itself it may be a cast to float32 behind a softmax, as Keras advises for mixed precision.
        is_linear = True
    return False if is_linear else None


def _activation_of(layer: Any) -> str:
    """Name of a layer's activation, if it is one of Keras's: a function of the user's own may be anything."""
    if isinstance(layer, keras.layers.Softmax):
        return "softmax"
    activation = keras.activations.get(layer.activation) if hasattr(layer, "activation") else None
    name = getattr(activation, "__name__", "")
    return name if activation is not None and activation is getattr(keras.activations, name, None) else ""


def with_activations(outputs: Mapping[str, Any], tasks: Sequence[Task]) -> dict[str, Any]:
    """Ends outputs in the activation that their task wants, unless they end in one that makes probabilities.

    Args:
        outputs: `{task: KerasTensor}`.
        tasks: The tasks; one that promises no probability and no rate keeps its output.

    Raises:
        ValueError: If all of them do.
    """
    logits = [
        task
        for task in tasks
        if task.name in outputs and _ends_of(task) and not _ends_in(outputs[task.name], _ends_of(task))
    ]
    rule, got = "must be left out where no output is logits", words(f"True with {list(outputs)}")
    require(bool(logits), "from_model", "from_logits", rule, got)
    ends = {
        task.name: keras.layers.Activation(
            task.final_activation, dtype="float32", name=f"{task.name}_{task.final_activation}"
        )
        for task in logits
    }
    return {name: ends[name](output) if name in ends else output for name, output in outputs.items()}
