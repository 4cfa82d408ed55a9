"""The end of a trunk: what its last map becomes."""

from typing import Any, Unpack

import keras

from kmtl._checks import Refusals
from kmtl.trunks.convolution import apply_activation
from kmtl.trunks.normalization import normalize
from kmtl.trunks.options import Options, TrunkOptions, check_symbolic, options_of, shows_options
from kmtl.trunks.pooling import known_size, to_vector

# Dropout of whole channels, by the rank of what it drops them from.
_DROPOUTS = {2: keras.layers.Dropout, 3: keras.layers.SpatialDropout1D, 4: keras.layers.SpatialDropout2D}


@shows_options()
def pool(features: Any, **options: Unpack[TrunkOptions]) -> Any:
    """Makes of a map or a sequence the vector that a trunk gives by itself.

    So one trunk serves tasks that want the vector and tasks that want the map:
    `from_features(image, {"vector": pool(map), "map": map}, tasks)`. With the options of the trunk, the layers
    are those that it would have ended with.

    Args:
        features: A map `(batch, height, width, channels)` or a sequence `(batch, tokens, width)`, as a trunk
            returns it with `pooling=None`.
        **options: As of every trunk; see `kmtl.trunks.Options`.

    Returns:
        Features `(batch, units)`, or of the pooled map's own width without `units`.

    Raises:
        TypeError: If `features` is not a `keras.KerasTensor`, or an option is unknown.
        ValueError: If it is neither map nor sequence, or an option breaks its rule; all offenders at once.

    >>> pool(keras.Input((8, 8, 16)), units=10).shape
    (None, 10)
    """
    chosen = options_of(pool, options)
    with Refusals("pool") as refusals:
        check_symbolic("pool", features, argument="features")
        shape = tuple(features.shape)
        if len(shape) not in (3, 4) or shape[-1] is None:
            refusals.add("features", "must be a map or a sequence of known width", shape)
        elif not can_pool(features, chosen.pooling):
            fix = "Use 'auto', 'average' or 'max'."
            refusals.add("pooling", f"must not be {chosen.pooling!r} for shape {shape}", chosen.pooling, fix)
        chosen.check(refusals)
    return end_of_trunk(features, chosen)


def can_pool(tensor: Any, pooling: str | None) -> bool:
    """Whether a map or a sequence can become a vector in this way: a grid takes a map of known size."""
    return pooling is not None and (pooling != "grid" or (len(tensor.shape) == 4 and known_size(tensor)))


def end_of_trunk(tensor: Any, options: Options) -> Any:
    """Ends a trunk: the map becomes a vector unless it is wanted itself, then a dense layer, normalised, and dropout.

    The dense layer is normalised as the convolutions are. Its inputs are activations, whose mean over
    the examples is far from 0; unnormalised, the first steps of Adam move every unit along that mean,
    and a relu pushed below 0 for all examples has no gradient to return by. On `digit_poses` (three
    tasks, Adam at 3e-3) 120 to 126 of 128 units were so lost after ten steps, none with batch
    normalisation; after eight epochs 0.31 and 0.97 of the digits were right.

    Dropout comes last, so that all heads of an example see the same features missing.
    """
    if options.pooling is not None:
        tensor = to_vector(tensor, options.pooling, name=options.name)
    if options.width is not None:
        tensor = dense(tensor, options.width, options, "features")
    return dropped(tensor, options.dropout, options.part("dropout")) if options.dropout else tensor


def dense(tensor: Any, width: int, options: Options, part: str) -> Any:
    """Puts a dense layer behind features, normalised and activated; a normalisation brings the bias.

    Args:
        tensor: `(batch, width)`.
        width: Of what comes out.
        options: What the trunk's layers share.
        part: Name of the layer within the trunk.
    """
    layer = keras.layers.Dense(
        width,
        use_bias=options.normalization is None,
        kernel_initializer="he_normal",
        kernel_regularizer=options.regularizer(),
        name=options.part(part),
    )
    name = options.part(f"{part}_norm")
    tensor = normalize(layer(tensor), options.normalization, name=name, synchronized=options.synchronized)
    return apply_activation(tensor, options, part)


def dropped(features: Any, rate: float, name: str) -> Any:
    """Puts dropout behind features; of a map or a sequence whole channels are dropped, as `Options` says.

    Args:
        features: `(batch, width)`, `(batch, tokens, width)` or `(batch, height, width, channels)`.
        rate: Share that is dropped, above 0 and below 1.
        name: Of the layer.
    """
    return _DROPOUTS.get(len(features.shape), keras.layers.Dropout)(float(rate), name=name)(features)
