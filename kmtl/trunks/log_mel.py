"""Sound as a picture: log-mel spectrograms."""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from kmtl._checks import Refusals
from kmtl.trunks.spectrum import Spectrum

# A full-scale sine is 0 dB; what is quieter than this is silence.
_FLOOR = -80.0


@keras.saving.register_keras_serializable(package="kmtl")
class LogMel(keras.layers.Layer):
    r"""Makes of a waveform a picture of which frequencies sound when, and how loud, as an image trunk reads it.

    A frame of `n` samples `x` under Hann's window `w` has the power `p_k = |sum_t w_t x_t exp(-2 pi i k t / N)|^2 /
    (sum_t w_t / 2)^2` at `k rate / N` Hz, so that a sine of amplitude 1 has the power 1. `bands` triangles, spaced
    alike on the mel scale `2595 log10(1 + f / 700)`, sum powers to `P_b`, and the picture is
    `1 + max(10 log10 P_b, -80) / 80`: 0 is silence, 1 about a full-scale sine, and 0.25 are 20 dB. Nothing is learned,
    and a row of zeros, an input that is missing, is a black picture. Computed in float32.

    Neither `keras.layers.MelSpectrogram` nor `STFTSpectrogram`: the first cuts off what is 80 dB below the loudest
    sound of the batch, so that an example depends on those beside it, and its complex Fourier transform has no form in
    ONNX; the second keeps its kernels as weights. The transform is a convolution,
    which SavedModel, LiteRT and ONNX all have; it costs `2 n N / 2` products a frame, less than a small trunk up to
    16,000 samples a second.

    Source: Davis & Mermelstein, "Comparison of Parametric Representations for Monosyllabic Word Recognition in
    Continuously Spoken Sentences", IEEE TASSP 28(4), 1980.

    Shapes: `(batch, samples)`, floats in -1..1; `(batch, bands, frames, 1)` out, the lowest band first. A frame
    begins at every `step` for which there are all samples.

    Args:
        rate: Samples a second of the waveforms. A sound of another rate has all its frequencies wrong, and nothing in
            the numbers tells: `kmtl.data.read_wav` refuses a file of another one, and exported files tell theirs.
        bands: Height of the picture.
        frame: Length of a frame in seconds.
        step: Seconds from frame to frame.
        low: Lowest frequency in Hz.
        high: Highest frequency in Hz; None is half of the rate.
        **kwargs: Keras layer options.

    Raises:
        ValueError: If an argument breaks its rule; all offenders at once.

    >>> seconds = np.arange(8000) / 8000
    >>> picture = LogMel(8000, bands=32)(np.sin(2 * np.pi * 1000 * seconds)[None])
    >>> picture.shape, int(ops.argmax(picture[0, :, 30, 0]))
    (TensorShape([1, 32, 61, 1]), 14)
    """

    def __init__(
        self,
        rate: int,
        bands: int = 64,
        *,
        frame: float = 0.032,
        step: float = 0.016,
        low: float = 60.0,
        high: float | None = None,
        **kwargs: Any,
    ) -> None:
        spectrum = Spectrum(rate, bands, frame, step, low, high)
        with Refusals("LogMel") as refusals:
            spectrum.check(refusals)
        super().__init__(**{"dtype": "float32", **kwargs})
        self.spectrum = spectrum

    @property
    def about_input(self) -> dict[str, Any]:
        """What who feeds the layer must know; exported files tell it of their input."""
        return {"rate": self.spectrum.rate, "unit": "samples a second, in -1..1"}

    def build(self, input_shape: Any) -> None:
        """Computes kernels and triangles."""
        del input_shape
        length, size = self.spectrum.length, self.spectrum.size
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
        angles = 2 * np.pi * np.outer(np.arange(length), np.arange(size // 2 + 1)) / size
        waves = np.concatenate([np.cos(angles), np.sin(angles)], axis=1) * window[:, None] / (window.sum() / 2)
        self.kernel = waves[:, None, :].astype("float32")
        self.triangles = self.spectrum.triangles(size)

    def call(self, inputs: Any) -> Any:
        """Makes the picture."""
        line, stride = ops.expand_dims(inputs, -1), self.spectrum.stride
        sides = ops.conv(line, self.kernel, stride, padding="valid", data_format="channels_last")
        real, imaginary = ops.split(sides, 2, axis=-1)
        power = ops.matmul(ops.square(real) + ops.square(imaginary), self.triangles)
        decibels = (10 / math.log(10)) * ops.log(ops.maximum(power, 10 ** (_FLOOR / 10)))
        return ops.expand_dims(ops.transpose(1.0 - decibels / _FLOOR, (0, 2, 1)), -1)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """A row a band, a column a frame."""
        samples, spectrum = input_shape[1], self.spectrum
        frames = None if samples is None else 1 + (samples - spectrum.length) // spectrum.stride
        return (input_shape[0], spectrum.bands, frames, 1)

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        return {**super().get_config(), **self.spectrum._asdict()}
