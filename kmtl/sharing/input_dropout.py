"""Inputs left out by chance in training."""

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from kmtl._checks import is_number, require
from kmtl.sharing.branches import branch_names, in_order


@keras.saving.register_keras_serializable(package="kmtl")
class InputDropout(keras.layers.Layer):
    """Takes some inputs away in some rows of a training, so that a model learns to do without each.

    It changes what `kmtl.sharing.present_rows` told, between that and a fusion: each input that is there stays with
    probability `1 - rate`, drawn on its own; a row that would be left with nothing stays as it is. In inference
    nothing is taken away.

    Source: Neverova et al., "ModDrop: Adaptive Multi-Modal Gesture Recognition", TPAMI 2016.

    Shapes: a list of bools `(batch,)`, or a dict of them; the same out.

    Args:
        rate: Probability that an input is left out, in `[0, 1)`.
        seed: Of what is drawn; None takes Keras's seed.
        **kwargs: Keras layer options.

    Raises:
        ValueError: If `rate` is out of range.

    >>> there = [ops.array([True, False]), ops.array([True, True])]
    >>> [one.numpy().tolist() for one in InputDropout(0.5)(there)]
    [[True, False], [True, True]]
    """

    def __init__(self, rate: float, *, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        good = is_number(rate) and 0 <= rate < 1
        require(good, "InputDropout", "rate", "must be a probability from 0 to below 1", rate)
        self.rate, self.seed = float(rate), seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Leaves some out.

        Args:
            inputs: Which rows of each input are there.
            training: Whether to.
        """
        if not training:
            return inputs
        there = ops.stack([ops.cast(one, "bool") for one in in_order(inputs)], axis=0)
        drawn = keras.random.uniform(ops.shape(there), seed=self.seed_generator)
        left = ops.logical_and(there, drawn >= self.rate)
        kept = ops.unstack(ops.where(ops.any(left, axis=0), left, there), len(inputs), axis=0)
        return dict(zip(branch_names(inputs), kept, strict=True)) if isinstance(inputs, Mapping) else kept

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The same."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}
