"""A waveform as an input: its log-mel picture, and an image trunk behind it."""

from collections.abc import Callable
from typing import Any

import keras

from kmtl._checks import Refusals, words
from kmtl.trunks.convnet import convnet
from kmtl.trunks.log_mel import LogMel
from kmtl.trunks.options import check_symbolic
from kmtl.trunks.spectrum import Spectrum

_OWNER = "sound"


def sound(
    waveform: Any,
    rate: int,
    *,
    bands: int = 64,
    frame: float = 0.032,
    step: float = 0.016,
    low: float = 60.0,
    high: float | None = None,
    trunk: Callable[..., Any] = convnet,
    **options: Any,
) -> Any:
    """Encodes sound: a log-mel spectrogram inside of the model, and an image trunk that reads it as a picture.

    The model takes waveforms, so that nothing before it can differ between training and service. What the picture
    shows, with its formula and source, tells `kmtl.trunks.LogMel`.

    All sounds of a batch are of one length: pad them by zeros, which are silence, or cut them, as
    `kmtl.data.read_wav(files, rate, seconds)` does. With `keras.Input((None,))` batches may differ in length, and a
    trunk pools over time by the average.

    Args:
        waveform: `(batch, samples)`, floats in -1..1.
        rate: Samples a second. The model takes no other: a sound of another rate is to be resampled first.
        bands: Height of the picture.
        frame: Length of a frame in seconds.
        step: Seconds from frame to frame; the picture of `s` seconds is about `s / step` wide.
        low: Lowest frequency in Hz.
        high: Highest frequency in Hz; None is half of the rate.
        trunk: A function from an image `(batch, bands, frames, 1)` to features: one of `kmtl.trunks`, or an own.
        **options: Of the trunk, as `widths` and `pooling`.

    Returns:
        What the trunk returns.

    Raises:
        TypeError: If `waveform` is not a `keras.KerasTensor`, or the trunk does not know an option.
        ValueError: If an argument breaks its rule; all offenders at once.

    >>> waveform = keras.Input((8000,), name="waveform")
    >>> sound(waveform, 8000, bands=32, widths=(8, 16), units=10).shape
    (None, 10)
    >>> sound(waveform, 8000, bands=32, pooling=None, widths=(8, 16), name="map").shape
    (None, 8, 16, 16)
    """
    spectrum = Spectrum(rate, bands, frame, step, low, high)
    with Refusals(_OWNER) as refusals:
        shortest = spectrum.length if spectrum.check(refusals) else 0
        check_symbolic(_OWNER, waveform, argument="waveform", example="keras.Input((samples,))")
        _check_waveform(refusals, waveform, shortest)
        if not callable(trunk):
            refusals.add("trunk", "must be a function from an image to features", words(type(trunk).__name__))
    name = f"{options.get('name', 'trunk')}_log_mel"
    return trunk(LogMel(**spectrum._asdict(), name=name)(waveform), **options)


def _check_waveform(refusals: Refusals, waveform: Any, shortest: int) -> None:
    """Records a tensor that is no waveform, or is shorter than a frame."""
    shape = tuple(waveform.shape)
    if len(shape) != 2:
        fix = "Of several channels take the mean: keras.ops.mean(waveform, axis=-1)."
        refusals.add("waveform", "must have shape (batch, samples)", shape, fix if len(shape) == 3 else "")
    elif shape[1] is not None and shape[1] < shortest:
        rule = f"must hold a frame of {shortest} samples or more"
        refusals.add("waveform", rule, shape, "Pad it by zeros, or use shorter frames.")
    if not keras.backend.is_float_dtype(waveform.dtype):
        fix = "Scale 16-bit samples to -1..1 first: keras.layers.Rescaling(1 / 32768)(waveform)."
        refusals.add("waveform", "must hold floats", waveform.dtype, fix)
