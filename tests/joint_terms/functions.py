"""Functions over the outputs of the toy tasks, as a user would register them."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("toys")
def width_by_age(labels, outputs):
    """A law between two regressions, one of whose labels it needs."""
    return ops.square(0.1 * outputs["age"][:, 0] - outputs["box"][:, 0] / 30 + labels["box"][:, 1] / 30)


@keras.saving.register_keras_serializable("toys")
def alive_is_first(labels, outputs):
    """A consistency of two outputs alone."""
    del labels
    return ops.square(outputs["alive"][:, 0] - outputs["species"][:, 0])


@keras.saving.register_keras_serializable("toys")
def both_right(labels, outputs):
    """1 where two decisions are right."""
    species = ops.equal(ops.argmax(outputs["species"], axis=-1), ops.cast(labels["species"], "int64"))
    alive = ops.equal(outputs["alive"][:, 0] > 0.5, labels["alive"][:, 0] > 0)
    return ops.cast(species & alive, "float32")
