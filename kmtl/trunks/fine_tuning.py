"""Rates for the training of a trunk that was trained before: slower towards the input, warmed up, then falling."""

import re
from collections.abc import Iterator
from typing import Any

import keras
from keras import ops

from kmtl._checks import Refusals, is_number, refusal, require, whole, words

_NUMBER = re.compile(r"\d+")


def layer_wise(trunk: Any, decay: float = 0.9) -> dict[str, float]:
    """Learning-rate multipliers that fall from block to block towards the input.

        multiplier = decay^(blocks above)

    What is nearer to the input tells of what all texts or images have, and changes least. Layers are taken in the order
    of the data. A layer whose name has another first number than the one before begins a block: `transformer_layer_0`,
    `transformer_layer_1` of KerasHub, `conv1`, `conv1_norm`, `conv2` of this package, `dense`, `dense_1` of Keras. A
    layer without a number belongs to the block before it; those before the first number are a block of their own. Heads
    are not named and move at the full rate.

    Source: Howard and Ruder, Universal Language Model Fine-tuning for Text Classification, ACL 2018.

    Args:
        trunk: The features of a trunk, as its function returns them; or a Keras model.
        decay: Factor a block, above 0 and at most 1.

    Returns:
        `{name of a layer: multiplier}`, for `model.compile(learning_rate_multipliers=...)`.

    Raises:
        TypeError: If `trunk` is no features and no model.
        ValueError: If `decay` is out of range, or no layer has weights.

    >>> features = keras.Sequential([keras.Input((4,)), *(keras.layers.Dense(3, name=f"dense{i}") for i in (1, 2, 3))])
    >>> layer_wise(features, decay=0.5)
    {'dense1': 0.25, 'dense2': 0.5, 'dense3': 1.0}
    """
    good = is_number(decay) and 0 < decay <= 1
    require(good, "layer_wise", "decay", "must be a number above 0 and at most 1", decay)
    blocks: dict[str, int] = {}
    number, block = None, 0
    for layer in _weighted(_model(trunk)):
        found = _NUMBER.search(layer.name)
        if found and found.group() != number:
            number, block = found.group(), block + bool(blocks)
        blocks.setdefault(layer.name, block)
    require(bool(blocks), "layer_wise", "trunk", "must have layers with weights", words("none"))
    return {name: float(decay ** (block - place)) for name, place in blocks.items()}


def _model(trunk: Any) -> Any:
    """The model that makes some features, or the model itself."""
    if isinstance(trunk, keras.Model):
        return trunk
    if not isinstance(trunk, keras.KerasTensor):
        rule, fix = "must be features or a keras.Model", "Pass what a function of kmtl.trunks returned."
        raise TypeError(refusal("layer_wise", "trunk", rule, words(type(trunk).__name__), fix))
    return keras.Model(keras.utils.get_source_inputs(trunk), trunk)


def _weighted(model: Any) -> Iterator[Any]:
    """Layers that have weights, in the order of the data; of a model within it its layers."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _weighted(layer)
        elif layer.weights:
            yield layer


@keras.saving.register_keras_serializable(package="kmtl")
class WarmUpLinearDecay(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that rises from 0 and then falls to 0, in two straight lines.

        rate(s) = peak * min(s / warm_up, (steps - s) / (steps - warm_up), both at most 1), never below 0

    Adam's moments are of few gradients in its first steps, and a trained trunk would pay for what they get wrong.
    Keras's own `CosineDecay(0.0, steps, warmup_target=peak, warmup_steps=warm_up)` falls along a cosine instead.

    Source: Devlin et al., BERT: Pre-training of Deep Bidirectional Transformers, NAACL 2019.

    Args:
        peak: The highest rate.
        steps: Of the whole training: epochs times batches of an epoch. After them the rate is 0.
        warm_up: Share of the steps in which the rate rises, at least 0 and below 1.
        name: Of the schedule.

    >>> rate = WarmUpLinearDecay(peak=2.0, steps=100, warm_up=0.1)
    >>> [round(float(rate(step)), 3) for step in (0, 5, 10, 55, 100, 120)]
    [0.0, 1.0, 2.0, 1.0, 0.0, 0.0]
    """

    def __init__(self, peak: float, steps: int, warm_up: float = 0.1, name: str = "warm_up_linear_decay") -> None:
        super().__init__()
        with Refusals("WarmUpLinearDecay") as refusals:
            if not is_number(peak) or peak <= 0:
                refusals.add("peak", "must be a finite number above 0", peak)
            if not is_number(warm_up) or not 0 <= warm_up < 1:
                refusals.add("warm_up", "must be at least 0 and below 1", warm_up)
        self.peak = float(peak)
        self.steps = whole("WarmUpLinearDecay", "steps", steps, 1)
        self.warm_up = float(warm_up)
        self.name = name

    def __call__(self, step: Any) -> Any:
        """The rate of a step, counted from 0."""
        step = ops.cast(step, "float32")
        first = self.warm_up * self.steps
        falling = (self.steps - step) / (self.steps - first)
        rising = step / first if first else 1.0
        return self.peak * ops.clip(ops.minimum(rising, falling), 0.0, 1.0)

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        return {"peak": self.peak, "steps": self.steps, "warm_up": self.warm_up, "name": self.name}
