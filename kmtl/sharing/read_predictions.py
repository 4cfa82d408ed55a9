"""Features of a task beside the predictions of others."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="kmtl")
class ReadPredictions(keras.layers.Layer):
    """Puts predictions beside features, in the form of the features.

    Beside a vector a map or a sequence is its mean over the places that count; beside a map or a sequence a vector
    stands at every place; a map beside one of another size is averaged over whole cells, or else resized bilinearly.

    Shapes: `[(batch, ..., width), one prediction, ...]` in; `(batch, ..., width + those of the predictions)` out.

    Args:
        stop_gradient: Whether no gradient goes back into the predictions.
        **kwargs: Keras layer options.

    >>> ReadPredictions()([ops.ones((2, 8)), ops.ones((2, 4, 4, 3))]).shape
    TensorShape([2, 11])
    """

    def __init__(self, stop_gradient: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.stop_gradient = stop_gradient

    def call(self, inputs: Sequence[Any], mask: Any = None) -> Any:
        """Puts them side by side."""
        features, *predictions = inputs
        masks = [None] * len(predictions) if mask is None else mask[1:]
        if self.stop_gradient:
            predictions = [ops.stop_gradient(one) for one in predictions]
        read = [_beside(features, one, where) for one, where in zip(predictions, masks, strict=True)]
        return ops.concatenate([features, *read], axis=-1)

    def compute_mask(self, inputs: Any, previous_mask: Any) -> Any:
        """The mask of the features' padding."""
        del inputs
        return None if previous_mask is None else previous_mask[0]

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The features' shape, wider."""
        return (*input_shape[0][:-1], sum(shape[-1] for shape in input_shape))

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        return {**super().get_config(), "stop_gradient": self.stop_gradient}


def can_read(features: Sequence[int | None], prediction: Sequence[int | None]) -> bool:
    """Whether a prediction of some shape can be put beside features of another.

    >>> can_read((None, 8, 8, 16), (None, 32, 32, 3)), can_read((None, 8, 8, 16), (None, 12, 5))
    (True, False)
    """
    if 2 in (len(features), len(prediction)):
        return True
    sides = list(zip(features[1:-1], prediction[1:-1], strict=False))
    if len(features) != len(prediction):
        return False
    if len(features) == 4:
        return None not in (*features[1:-1], *prediction[1:-1])
    return all(one == other or None in (one, other) for one, other in sides)


def _beside(features: Any, prediction: Any, mask: Any) -> Any:
    """A prediction in the form of the features, its own width."""
    rank, read = len(features.shape), len(prediction.shape)
    if rank == 2:
        return _mean(prediction, mask) if read > 2 else prediction
    if read == 2:
        places = ops.zeros_like(features[..., :1])
        return ops.reshape(prediction, (-1, *[1] * (rank - 2), prediction.shape[-1])) + places
    if rank == 3 or tuple(features.shape[1:-1]) == tuple(prediction.shape[1:-1]):
        return prediction
    (height, width), (tall, wide) = features.shape[1:-1], prediction.shape[1:-1]
    if tall % height or wide % width:
        return ops.image.resize(prediction, (height, width), interpolation="bilinear", data_format="channels_last")
    return ops.average_pool(prediction, (tall // height, wide // width), data_format="channels_last")


def _mean(prediction: Any, mask: Any) -> Any:
    """The mean over all places, or those that a mask counts."""
    places = tuple(range(1, len(prediction.shape) - 1))
    if mask is None:
        return ops.mean(prediction, axis=places)
    counts = ops.expand_dims(ops.cast(mask, prediction.dtype), -1)
    return ops.sum(prediction * counts, axis=places) / ops.maximum(ops.sum(counts, axis=places), 1)
