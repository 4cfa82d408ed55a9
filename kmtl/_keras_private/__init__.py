"""Every private name of Keras that kmtl reads, sets, calls or overrides; `tests/test_keras_private.py` watches them."""

from kmtl._keras_private.functional import (
    Path,
    call_again,
    first_reader,
    layer_behind,
    model_path,
    operations_behind,
    path,
    replay,
    shared_tensors,
    tensors_needed,
)
from kmtl._keras_private.layer_state import classes_of_layers, copy_state, same_lambda
from kmtl._keras_private.learning_rate import scale_rates
from kmtl._keras_private.losses_and_metrics import loss_arguments, metric_function
from kmtl._keras_private.optimizer import apply_summed, built_variables, check_strategy, extend_optimizer, write_copies
from kmtl._keras_private.slots import Origin, copy_slots
from kmtl._keras_private.tensors import has_mask, logits_behind, put_logits_behind
from kmtl._keras_private.training import (
    MODEL_OF_CALLBACK,
    OVERRIDDEN,
    accept_trainable,
    has_prepared_data,
    in_scope,
    loss_tracker,
)

__all__ = [
    "MODEL_OF_CALLBACK",
    "OVERRIDDEN",
    "Origin",
    "Path",
    "accept_trainable",
    "apply_summed",
    "built_variables",
    "call_again",
    "check_strategy",
    "classes_of_layers",
    "copy_slots",
    "copy_state",
    "extend_optimizer",
    "first_reader",
    "has_mask",
    "has_prepared_data",
    "in_scope",
    "layer_behind",
    "logits_behind",
    "loss_arguments",
    "loss_tracker",
    "metric_function",
    "model_path",
    "operations_behind",
    "path",
    "put_logits_behind",
    "replay",
    "same_lambda",
    "scale_rates",
    "shared_tensors",
    "tensors_needed",
    "write_copies",
]
