"""Any Keras model as a trunk."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Unpack

import keras

from kmtl._checks import Refusals, refusal, require, words
from kmtl.trunks.features import can_pool, end_of_trunk
from kmtl.trunks.model_outputs import chosen_output
from kmtl.trunks.options import Options, TrunkOptions, attempt, check_symbolic, options_of, shows_options
from kmtl.trunks.sequence_layers import WithMask

_OWNER = "backbone"


@shows_options(units=None, normalization=None)
def backbone(
    model: keras.Model,
    image: Any = None,
    *,
    output: str | None = None,
    weights: str | Path | None = None,
    trainable: bool = True,
    preprocess: Callable[[Any], Any] | None = None,
    **options: Unpack[TrunkOptions],
) -> Any:
    """Makes features of a ready model: `keras.applications`, KerasHub, or one's own.

    The model is used, not copied: two trunks of one model share its weights, and freezing or loading
    weights shows in the model that was passed. Its own layers keep their own normalisation and
    regularisation; `l1` and `l2` reach the dense layer added here, and the optimizer's `weight_decay`
    reaches the rest.

    Frozen batch normalisation runs on its stored statistics in training too, which is what features from
    loaded weights need. A model from `keras.applications` trained from the start keeps Keras's
    momentum of 0.99, which a training of a few hundred steps is too short for.

    Args:
        model: A model of one image, of text, or of several inputs. Its output may be a vector, a feature map, a
            sequence of tokens, or a dict of them.
        image: What the model reads, `(batch, height, width, channels)`; of several inputs a dict by name, as BERT's
            `{"token_ids": ..., "padding_mask": ..., "segment_ids": ...}`, as KerasHub's preprocessors return them;
            `padding_mask` is then the mask of the sequence. None continues from the model's own
            inputs; then pass `model.input` on as the input of the whole.
        output: Which output of several to take, by its key; or the name of any layer of a functional
            model, to take features from the middle (what the layer returned when first called).
        weights: A file for `model.load_weights`, such as the weights of an earlier training.
        trainable: False freezes the model; True leaves every layer's own flag as it is.
        preprocess: A layer, or function of a tensor, from images in 0..1 to what the model was trained
            on, for example `keras.layers.Rescaling(2.0, offset=-1.0)` for a range of -1..1 and
            `keras.layers.Rescaling(255.0)` for 0..255.
        **options: Of every trunk; see `kmtl.trunks.Options`. Here `units` and `normalization` are None where
            left out: no dense layer, and a plain one where `units` is given.

    Returns:
        Features `(batch, width)`; with `pooling=None` the map or the sequence that the model returns.

    Raises:
        TypeError: If `model` is not a `keras.Model`, `image` not a `keras.KerasTensor`, or an option is unknown.
        ValueError: If the image does not fit the model, an output must be chosen, the output is no
            vector, map or sequence, or another argument breaks its rule.

    >>> image = keras.Input((64, 64, 3))
    >>> model = keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=(64, 64, 3), alpha=0.35)
    >>> backbone(model, image, preprocess=keras.layers.Rescaling(2.0, offset=-1.0), pooling="average").shape
    (None, 1280)
    """
    chosen = options_of(backbone, options)
    _check(model, image, weights, preprocess, chosen)
    tensor = chosen_output(_OWNER, model, image if preprocess is None else preprocess(image), output)
    _check_output(tensor, chosen)
    features = end_of_trunk(_masked(tensor, getattr(model, "input", None) if image is None else image, chosen), chosen)
    if weights is not None:
        model.load_weights(weights)
    if not trainable:
        model.trainable = False
    return features


def _check(model: Any, image: Any, weights: Any, preprocess: Any, options: Options) -> None:
    """Refuses what can be told before the model is called."""
    if not isinstance(model, keras.Model):
        got = words(type(model).__name__)
        raise TypeError(refusal(_OWNER, "model", "must be a keras.Model", got, "Pass the model itself, built."))
    if isinstance(image, list | tuple):
        rule, fix = "must be one tensor, or a dict of them by the names of the model's inputs", "Name each."
        raise TypeError(refusal(_OWNER, "image", rule, words(f"a {type(image).__name__} of {len(image)}"), fix))
    for tensor in image.values() if isinstance(image, dict) else [] if image is None else [image]:
        check_symbolic(_OWNER, tensor)
    with Refusals(_OWNER) as refusals:
        attempt(refusals, _check_file, "weights", weights)
        if preprocess is not None and not callable(preprocess):
            refusals.add("preprocess", "must be a layer or a function", preprocess)
        elif preprocess is not None and isinstance(image, dict):
            fix = "Prepare each input before: {'image': preprocess(image), ...}."
            refusals.add("preprocess", "must be None where `image` is a dict", preprocess, fix)
        elif preprocess is not None and image is None:
            refusals.add("preprocess", "must be None without an `image` to prepare", preprocess, "Pass the image.")
        options.check(refusals)


def _check_file(owner: str, argument: str, value: Any) -> None:
    """Refuses a path where no file is."""
    require(value is None or Path(value).is_file(), owner, argument, "must be a file", value)


def _masked(tensor: Any, given: Any, options: Options) -> Any:
    """Lets what is pooled from a sequence leave out the padding that the model was told of."""
    mask = given.get("padding_mask") if isinstance(given, dict) else None
    if mask is None or len(tensor.shape) != 3 or tensor.shape[1] != mask.shape[1]:
        return tensor
    return WithMask(name=options.part("mask"))([tensor, mask])


def _check_output(tensor: Any, options: Options) -> None:
    """Refuses an output that is no features, or not those that the options ask for."""
    shape = tuple(tensor.shape)
    rule = "must end in a vector, a sequence of tokens or a feature map of known width"
    fix = "Choose another output or layer by `output`."
    require(2 <= len(shape) <= 4 and shape[-1] is not None, _OWNER, "model", rule, shape, fix)
    rule = f"must not be {options.pooling!r} for an output of shape {shape}"
    if options.pooling is None:
        fix = "Choose a layer before the vector by `output`, or leave `pooling` out."
        require(len(shape) > 2, _OWNER, "pooling", rule, None, fix)
    else:
        fix = "Use 'auto', 'average' or 'max'."
        require(can_pool(tensor, options.pooling), _OWNER, "pooling", rule, options.pooling, fix)
