"""WAV files as waveforms of one rate and one length."""

import io
import warnings
from collections.abc import Iterable
from os import PathLike
from typing import Any

import numpy as np

from kmtl._checks import Refusals, is_number, known_keywords, whole, words

_OWNER = "read_wav"


@known_keywords
def read_wav(files: Iterable[str | PathLike[str] | bytes], rate: int, *, seconds: float) -> Any:
    """Reads WAV files, all of one rate, into waveforms of one length.

    A longer sound is cut at its end, a shorter one is padded there by zeros, which are silence. Of several channels
    the mean is taken. Whole numbers of 8 to 32 bits are scaled to -1..1, floats stay as they are.

    Args:
        files: Paths, or contents as bytes; one an example.
        rate: Samples a second, as the model was built for: `kmtl.trunks.sound(waveform, rate)`.
        seconds: Length of every waveform.

    Returns:
        Float32 `(files, samples)`.

    Raises:
        ValueError: If a file is absent, no WAV file, of another rate, empty or not finite; all offenders at once.

    >>> from scipy.io import wavfile
    >>> content = io.BytesIO()
    >>> wavfile.write(content, 8000, np.full(4, 16384, np.int16))
    >>> read_wav([content.getvalue()], 8000, seconds=0.001).tolist()
    [[0.5, 0.5, 0.5, 0.5, 0.0, 0.0, 0.0, 0.0]]
    """
    with Refusals(_OWNER) as refusals:
        rate = whole(_OWNER, "rate", rate, 1)
        if not is_number(seconds) or round(rate * seconds) < 1:
            refusals.add("seconds", "must be a time of one sample or more", seconds)
            refusals.check()
        listed = [files] if isinstance(files, str | bytes | PathLike) else list(files)
        if not listed:
            refusals.add("files", "must hold at least one", listed)
        found = np.zeros((len(listed), round(rate * seconds)), np.float32)
        for place, file in enumerate(listed):
            name = f"files[{place}]" if isinstance(file, bytes) else str(file)
            waveform = _waveform(refusals, name, file, rate)[: found.shape[1]]
            found[place, : len(waveform)] = waveform
    return found


def _waveform(refusals: Refusals, name: str, file: Any, rate: int) -> Any:
    """One file's samples; records what is wrong with it."""
    from scipy.io import wavfile

    nothing = np.zeros(0, np.float32)
    try:
        with warnings.catch_warnings():
            # Chunks that are no samples, as of what a recorder notes.
            warnings.simplefilter("ignore", wavfile.WavFileWarning)
            own, samples = wavfile.read(io.BytesIO(file) if isinstance(file, bytes) else file)
    except (OSError, ValueError, EOFError) as error:
        refusals.add("files", "must be readable WAV files", words(f"{name}: {error}"))
        return nothing
    if own != rate:
        fix = f"Resample it: scipy.signal.resample_poly(samples, {rate}, {own})."
        refusals.add("files", f"must have {rate} samples a second", words(f"{own} in {name}"), fix)
    scaled = _scaled(samples)
    if not scaled.size:
        refusals.add("files", "must hold sound", words(f"no sample in {name}"))
    elif not np.isfinite(scaled).all():
        refusals.add("files", "must be finite", words(f"NaN or infinite samples in {name}"))
    return scaled.mean(axis=1) if scaled.ndim == 2 else scaled


def _scaled(samples: Any) -> Any:
    """Samples in -1..1; of 8 bits 128 is 0."""
    if samples.dtype == np.uint8:
        return (samples.astype(np.float32) - 128) / 128
    if samples.dtype.kind == "i":
        return samples.astype(np.float32) / -float(np.iinfo(samples.dtype).min)
    return samples.astype(np.float32)
