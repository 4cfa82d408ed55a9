"""Gradients whose directions are documented, and the directions."""

import numpy as np
from keras import ops

#: The matrix of TorchJD's documentation, whose directions its version 0.18 prints.
TWO = np.array([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]])
#: Three tasks, solved in float64 by enumeration of supports.
THREE = np.array([[1.0, 2.0, 0.0, -1.0], [-1.0, 1.0, 2.0, 0.0], [0.5, -2.0, 1.0, 3.0]])


def gram_of(rows):
    """Inner products in float32."""
    return ops.array(rows @ rows.T, dtype="float32")


def direction_of(balancer, rows):
    """Combined gradients, as NumPy."""
    return np.asarray(balancer.combine(ops.array(rows, dtype="float32")))


def weights_of(balancer, rows, **known):
    """Weights, as NumPy."""
    return np.asarray(balancer.weigh(gram=gram_of(np.asarray(rows, "float64")), **known))
