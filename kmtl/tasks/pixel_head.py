"""The head of a task on pixels: a decoder over a trunk's maps, from coarse to fine, and the way to the label's size."""

from collections.abc import Sequence
from typing import Any

import keras

from kmtl._checks import is_whole, near, require, sizes, whole
from kmtl.tasks.feature_forms import grows
from kmtl.tasks.outputs import Output
from kmtl.tasks.upsampling import BilinearUpSampling, ResizingLike

# Channels of a stage of the decoder, where nobody says: a fraction of the trunk's own cost.
_CHANNELS = 32
_MERGES = ("sum", "concatenation")


class PixelHead(Output):
    """The head of a kind that gives an output a pixel; the kind says what the output is and builds its last layer."""

    shape: tuple[int, ...] | None = None
    upsampling: int = 1
    decoder: int | str | None = "auto"
    merge: str = "sum"

    def take_head_options(self, shape: Any, upsampling: Any, decoder: Any, merge: Any) -> None:
        """Keeps the options of the head, or refuses them.

        Args:
            shape: Height and width of the label; None where they vary.
            upsampling: How many times the label is larger than the finest map that the head takes.
            decoder: Channels, `"auto"`, or None or 0 for none.
            merge: `"sum"` or `"concatenation"`.
        """
        owner = f"{type(self).__name__}({self.name!r})"
        self.shape = None if shape is None else sizes(owner, "shape", shape)
        require(self.shape is None or len(self.shape) == 2, owner, "shape", "must be (height, width)", shape)
        self.upsampling = whole(owner, "upsampling", upsampling, 1)
        known = decoder is None or decoder == "auto" or (is_whole(decoder) and decoder >= 0)
        require(known, owner, "decoder", "must be a number of channels, 'auto', or None for no decoder", decoder)
        self.decoder = decoder if decoder is None or decoder == "auto" else int(decoder) or None
        fix = near(str(merge), _MERGES)
        require(merge in _MERGES, owner, "merge", "must be 'sum' or 'concatenation'", merge, fix)
        self.merge = str(merge)

    def head_options(self) -> dict[str, Any]:
        """What `take_head_options` took, for a config."""
        shape = None if self.shape is None else list(self.shape)
        return {"shape": shape, "upsampling": self.upsampling, "decoder": self.decoder, "merge": self.merge}

    @property
    def label_shape(self) -> tuple[int | None, ...]:
        """Height and width."""
        return self.shape or (None, None)

    def chosen_map(self, maps: Sequence[Any]) -> Any:
        """All maps that are no finer than the label, for the decoder; without one the coarsest."""
        if self.decoder is None:
            return maps[-1]
        label = self.shape or (None, None)
        return [one for one in maps[:-1] if not grows(label, one.shape[1:3])] + [maps[-1]]

    def hidden_layers(self, features: Any) -> Any:
        """Builds the decoder, and 1x1 convolutions between the map and the output."""
        several = isinstance(features, list | tuple)
        if several or self.decoder not in (None, "auto"):
            features = self._decoded(list(features) if several else [features])
        for index, channels in enumerate(self.hidden, start=1):
            features = self.pointwise(channels, f"{self.name}_hidden_{index}", activation="relu")(features)
        if self.dropout:
            features = keras.layers.SpatialDropout2D(self.dropout, name=f"{self.name}_dropout")(features)
        return features

    def _decoded(self, maps: list[Any]) -> Any:
        """Goes from the coarsest map to the finest: enlarges, joins the next map, convolves."""
        channels = self.decoder if isinstance(self.decoder, int) else _CHANNELS
        tensor = None
        for place in range(len(maps), 0, -1):
            part = f"{self.name}_decoder_{place}"
            side = self.pointwise(channels, f"{part}_lateral")(maps[place - 1])
            if tensor is not None:
                layer = keras.layers.Add if self.merge == "sum" else keras.layers.Concatenate
                side = layer(name=f"{part}_{self.merge}")([enlarged(tensor, maps[place - 1], f"{part}_enlarged"), side])
            tensor = self._convolution(channels, part)(side)
        return tensor

    def _convolution(self, channels: int, name: str) -> Any:
        """Makes a 3x3 convolution; without normalisation, whose statistics would move where no label is there."""
        return keras.layers.Conv2D(
            channels,
            3,
            padding="same",
            activation="relu",
            kernel_initializer="he_normal",
            kernel_regularizer=self.regularizer(),
            name=name,
        )

    def pointwise(self, channels: int, name: str, **options: Any) -> Any:
        """Makes a 1x1 convolution."""
        return keras.layers.Conv2D(channels, 1, kernel_regularizer=self.regularizer(), name=name, **options)

    def in_label_size(self, tensor: Any) -> Any:
        """Enlarges what the last convolution gives to the label's size, bilinearly, in float32."""
        size, name = tuple(tensor.shape[1:3]), f"{self.name}_enlarged"
        if self.shape is not None:
            return resized(tensor, self.shape, name)
        if None in size and self.upsampling > 1:
            return BilinearUpSampling(self.upsampling, dtype="float32", name=name)(tensor)
        if self.upsampling == 1:
            return tensor
        factors = (self.upsampling, self.upsampling)
        return keras.layers.UpSampling2D(factors, interpolation="bilinear", dtype="float32", name=name)(tensor)


def enlarged(tensor: Any, like: Any, name: str) -> Any:
    """Brings a map to the size of a finer one."""
    size = tuple(like.shape[1:3])
    return ResizingLike(name=name)([tensor, like]) if None in size else resized(tensor, size, name)


def resized(tensor: Any, size: tuple[int, ...], name: str) -> Any:
    """Brings a map to a size, bilinearly: by whole factors where they fit, which every export computes alike.

    In float32: XLA gives the gradient of a resizing in float16 a wrong type (TensorFlow 2.21).
    """
    own = tuple(tensor.shape[1:3])
    if own == size:
        return tensor
    if None in own or any(one % other for one, other in zip(size, own, strict=True)):
        return keras.layers.Resizing(*size, dtype="float32", name=name)(tensor)
    factors = tuple(one // other for one, other in zip(size, own, strict=True))
    return keras.layers.UpSampling2D(factors, interpolation="bilinear", dtype="float32", name=name)(tensor)
