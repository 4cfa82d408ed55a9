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
# Layers that move numbers and leave them what they are.
_MOVING = (
    *(keras.layers.Reshape, keras.layers.Flatten, keras.layers.Permute, keras.layers.Cropping2D),
    *(keras.layers.UpSampling2D, keras.layers.Resizing, keras.layers.Identity),
)


def takes_logits(loss: Any) -> bool:
    """Whether a loss says that it is taken of logits.

    >>> takes_logits(keras.losses.BinaryCrossentropy(from_logits=True)), takes_logits(keras.losses.BinaryCrossentropy())
    (True, False)
    """
    found = loss.losses.values() if isinstance(loss, SeveralLosses) else [loss]
    return any(getattr(one, "from_logits", False) or loss_arguments(one).get("from_logits", False) for one in found)


def is_logits(task: Task, output: Any) -> bool:
    """Whether an output surely is no probability where the task promises one: a layer with another activation made it.

    Args:
        task: Whose output it is.
        output: KerasTensor. Of what another operation made nobody can tell, and it counts as what it should be.

    >>> from kmtl.tasks import BinaryClassification
    >>> given = keras.Input((3,))
    >>> [is_logits(BinaryClassification("spam"), keras.layers.Dense(1, a)(given)) for a in ("linear", "sigmoid")]
    [True, False]
    """
    if task.final_activation not in _ENDS:
        return False
    made = next((item for item in operations_behind(output) if not isinstance(item, _MOVING)), None)
    if made is None or not hasattr(made, "activation"):
        return False
    activation = keras.activations.get(made.activation)
    name = getattr(activation, "__name__", "")
    # A function of the user's own may be anything.
    return name not in _ENDS and activation is getattr(keras.activations, name, None)


def with_activations(outputs: Mapping[str, Any], tasks: Sequence[Task]) -> dict[str, Any]:
    """Ends outputs that are logits in the activation that their task wants.

    Args:
        outputs: `{task: KerasTensor}`.
        tasks: The tasks; one that promises no probability keeps its output.

    Raises:
        ValueError: If none of the outputs is logits.
    """
    logits = [task for task in tasks if task.name in outputs and is_logits(task, outputs[task.name])]
    rule, got = "must be left out where no output is logits", words(f"True with {list(outputs)}")
    require(bool(logits), "from_model", "from_logits", rule, got)
    ends = {
        task.name: keras.layers.Activation(
            task.final_activation, dtype="float32", name=f"{task.name}_{task.final_activation}"
        )
        for task in logits
    }
    return {name: ends[name](output) if name in ends else output for name, output in outputs.items()}
