"""WAV files read into waveforms."""

import io

import numpy as np
import pytest
from scipy.io import wavfile

from kmtl.data import read_wav


def content(samples, rate=8000):
    file = io.BytesIO()
    wavfile.write(file, rate, np.asarray(samples))
    return file.getvalue()


def test_every_width_of_samples_is_scaled_alike_and_channels_are_averaged(tmp_path):
    wave = np.array([0.0, 0.5, -0.5, -1.0])
    forms = [
        content((wave * 128 + 128).astype(np.uint8)),
        content((wave * 2**15).astype(np.int16)),
        content((wave * 2**31).astype(np.int32)),
        content(wave.astype(np.float32)),
        content(np.stack([wave, np.zeros(4)], axis=1).astype(np.float32)),
    ]
    (tmp_path / "a.wav").write_bytes(forms[1])
    found = read_wav([*forms, tmp_path / "a.wav"], 8000, seconds=5 / 8000)
    assert found.dtype == np.float32
    expected = np.append(wave, 0.0)
    np.testing.assert_array_equal(found, [expected, expected, expected, expected, expected / 2, expected])
    np.testing.assert_array_equal(read_wav(forms[:1], 8000, seconds=2 / 8000), [wave[:2]])


def test_what_is_wrong_with_files_is_told_at_once(tmp_path):
    files = [
        content(np.zeros(4, np.int16), rate=16000),
        b"RIFFnothing",
        content(np.zeros(0, np.int16)),
        content(np.array([np.nan], np.float32)),
        tmp_path / "absent.wav",
    ]
    with pytest.raises(ValueError, match="read_wav") as refused:
        read_wav(files, 8000, seconds=1.0)
    told = str(refused.value).splitlines()
    starts = [
        "`files` must have 8000 samples a second, got 16000 in files[0]. Resample it: scipy.signal.resample_poly",
        "`files` must be readable WAV files, got files[1]: ",
        "`files` must hold sound, got no sample in files[2].",
        "`files` must be finite, got NaN or infinite samples in files[3].",
        f"`files` must be readable WAV files, got {tmp_path / 'absent.wav'}: ",
    ]
    assert [line.startswith(f"read_wav: {start}") for line, start in zip(told, starts, strict=True)] == [True] * 5


@pytest.mark.parametrize(
    ("files", "seconds", "says"), [([], 1.0, "`files` must hold at least one"), ([b""], 0, "time")]
)
def test_nothing_to_read_is_refused(files, seconds, says):
    with pytest.raises(ValueError, match=says):
        read_wav(files, 8000, seconds=seconds)
