"""How a spectrogram is cut: samples of a frame, frequencies, mel bands."""

import math
from typing import Any, NamedTuple

import numpy as np

from kmtl._checks import Refusals, is_number, is_whole


class Spectrum(NamedTuple):
    """The settings of a log-mel spectrogram, and what follows from them; see `kmtl.trunks.LogMel`.

    >>> spectrum = Spectrum(8000)
    >>> spectrum.length, spectrum.stride, spectrum.size, spectrum.triangles(512).shape
    (256, 128, 512, (257, 64))
    """

    rate: int
    bands: int = 64
    frame: float = 0.032
    step: float = 0.016
    low: float = 60.0
    high: float | None = None

    @property
    def length(self) -> int:
        """Samples of a frame."""
        return round(self.rate * self.frame)

    @property
    def stride(self) -> int:
        """Samples from frame to frame."""
        return round(self.rate * self.step)

    @property
    def size(self) -> int:
        """Samples of the transform: a power of two, up to 16 frames, that sees each band at half its height; or 0."""
        first = 2 ** math.ceil(math.log2(self.length))
        sizes = (first * factor for factor in (1, 2, 4, 8))
        return next((size for size in sizes if self.triangles(size).max(axis=0).min() >= 0.5), 0)

    def triangles(self, size: int) -> Any:
        """What each frequency of a transform adds to each band, `(size // 2 + 1, bands)`; 1 at the middle of a band."""
        frequencies = _mel(np.arange(size // 2 + 1) * self.rate / size)[:, None]
        edges = np.linspace(_mel(self.low), _mel(self.rate / 2 if self.high is None else self.high), self.bands + 2)
        rising = (frequencies - edges[:-2]) / (edges[1:-1] - edges[:-2])
        falling = (edges[2:] - frequencies) / (edges[2:] - edges[1:-1])
        return np.maximum(0.0, np.minimum(rising, falling)).astype("float32")

    def check(self, refusals: Refusals) -> bool:
        """Records what makes no spectrogram; returns whether nothing was."""
        before = len(refusals.messages)
        for argument, value, least in (("rate", self.rate, 1000), ("bands", self.bands, 1)):
            if not is_whole(value) or value < least:
                refusals.add(argument, f"must be a whole number of at least {least}", value)
        for argument, seconds in (("frame", self.frame), ("step", self.step)):
            if not is_number(seconds) or not 0 < seconds <= 1:
                refusals.add(argument, "must be seconds, above 0 and up to 1", seconds)
        if not is_number(self.low) or self.low < 0:
            refusals.add("low", "must be a frequency in Hz, at least 0", self.low)
        if len(refusals.messages) == before:
            self._check_fit(refusals)
        return len(refusals.messages) == before

    def _check_fit(self, refusals: Refusals) -> None:
        """Records numbers that do not go together."""
        top = self.rate / 2
        high = top if self.high is None else self.high
        if not is_number(high) or not self.low < high <= top:
            argument = "low" if self.high is None else "high"
            rule = f"must leave frequencies between `low`, {self.low:g}, and half of the rate, {top:g}"
            refusals.add(argument, rule, getattr(self, argument))
        elif min(self.length, self.stride) < 2:
            argument = "frame" if self.length < 2 else "step"
            refusals.add(argument, "must be two samples long or more", getattr(self, argument))
        elif not self.size:
            rule = f"must be wide enough for frames of {self.frame:g} seconds to tell them apart"
            refusals.add("bands", rule, self.bands, "Use fewer, or longer frames.")


def _mel(frequency: Any) -> Any:
    """A frequency in Hz on the mel scale."""
    return 2595.0 * np.log10(1.0 + np.asarray(frequency) / 700.0)
