"""Sound as an input: the log-mel picture, and an image trunk behind it."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import kmtl
from kmtl import trunks
from kmtl.trunks.spectrum import Spectrum

RATE = 8000
SECONDS = np.arange(RATE) / RATE


def tone(frequency, amplitude=1.0):
    return (amplitude * np.sin(2 * np.pi * frequency * SECONDS)).astype("float32")


def reference(waveform, spectrum, triangles):
    """A frame at a time, by NumPy's real transform in float64."""
    length, window = spectrum.length, np.hanning(spectrum.length + 1)[:-1]
    starts = range(0, len(waveform) - length + 1, spectrum.stride)
    frames = [np.fft.rfft(waveform[start : start + length] * window, spectrum.size) for start in starts]
    power = np.abs(np.array(frames) / (window.sum() / 2)) ** 2 @ triangles
    return 1 + np.maximum(10 * np.log10(np.maximum(power, 1e-30)), -80).T / 80


def test_the_picture_is_that_of_another_transform_and_of_keras_triangles():
    spectrum = Spectrum(RATE, bands=40, frame=0.025, step=0.01, low=100.0, high=3500.0)
    noise = np.random.default_rng(0).uniform(-1, 1, (2, 2100)).astype("float32") * np.array([[1.0], [1e-3]], "float32")
    other = keras.layers.MelSpectrogram(sampling_rate=RATE)
    triangles = other.linear_to_mel_weight_matrix(40, spectrum.size // 2 + 1, RATE, 100.0, 3500.0).numpy()
    layer = trunks.LogMel(**spectrum._asdict())
    found = layer(noise)
    assert found.shape == layer.compute_output_shape((2, 2100)) == (2, 40, 24, 1)
    for one, waveform in zip(found, noise, strict=True):
        np.testing.assert_allclose(one[..., 0], reference(waveform, spectrum, triangles), atol=2e-5)


def test_a_tone_lights_its_band_as_loud_as_it_is():
    layer, frequencies = trunks.LogMel(RATE), np.array([150.0, 440.0, 1000.0, 2500.0, 3800.0])
    mel = np.linspace(*(2595 * np.log10(1 + np.array([60.0, 4000.0]) / 700)), 66)[1:-1]
    middles = 700 * (10 ** (mel / 2595) - 1)
    found = layer(np.stack([tone(frequency, 0.5) for frequency in frequencies])).numpy()[..., 0]
    nearest = np.abs(middles[None] - frequencies[:, None]).argmin(axis=1)
    assert np.abs(found.mean(axis=2).argmax(axis=1) - nearest).max() <= 1
    quieter = layer(tone(1000.0, 0.05)[None]).numpy()[0, ..., 0]
    brightest = found[2].mean(axis=1).argmax()
    # A tenth of the amplitude is 20 dB less, a quarter of the range.
    np.testing.assert_allclose(found[2, brightest] - quieter[brightest], 0.25, atol=1e-4)
    assert not layer(np.zeros((1, RATE), "float32")).numpy().any()


def test_gradients_compilation_and_mixed_precision():
    layer, waveform = trunks.LogMel(RATE, bands=16), tf.constant(np.stack([tone(300.0), np.zeros(RATE, "float32")]))
    with tf.GradientTape() as tape:
        tape.watch(waveform)
        picture = layer(waveform)
    assert np.isfinite(tape.gradient(picture, waveform)).all()
    np.testing.assert_allclose(tf.function(layer, jit_compile=True)(waveform), picture, atol=1e-5)
    keras.config.set_dtype_policy("mixed_float16")
    try:
        mixed = trunks.LogMel(RATE, bands=16)
        features = trunks.sound(keras.Input((RATE,)), RATE, bands=16, widths=(4,), units=3)
    finally:
        keras.config.set_dtype_policy("float32")
    assert features.dtype == "float16"
    np.testing.assert_array_equal(mixed(waveform), picture)


def test_files_take_waveforms_and_tell_their_rate(tmp_path):
    waveform = keras.Input((2000,), name="waveform")
    features = trunks.sound(waveform, RATE, bands=16, widths=(4,), units=6)
    tasks = [kmtl.Classification("digit", 3), kmtl.Regression("pitch", unit="Hz")]
    model = kmtl.MultiTaskModel.from_features(waveform, features, tasks)
    model.compile("adam", run_eagerly=True)
    sounds = np.random.default_rng(0).uniform(-1, 1, (6, 2000)).astype("float32")
    labels = {"digit": np.array([0, 1, 2, -1, 0, 1]), "pitch": np.array([100.0, np.nan, 120.0, 90.0, np.nan, 80.0])}
    model.fit(sounds, labels, batch_size=6, verbose=0)
    expected = model.predict(sounds, verbose=0)
    model.save(tmp_path / "sound.keras")
    again = keras.saving.load_model(tmp_path / "sound.keras")
    folder = kmtl.export.saved_model(again, tmp_path / "served")
    served = tf.saved_model.load(folder).signatures["serving_default"](waveform=tf.constant(sounds))
    for name, values in expected.items():
        np.testing.assert_array_equal(again.predict(sounds, verbose=0)[name], values)
        np.testing.assert_allclose(np.reshape(served[name], values.shape), values, rtol=1e-4, atol=1e-5)
    told = json.loads((folder / "assets.extra" / "kmtl.json").read_text())["inputs"]["waveform"]
    assert told["rate"] == RATE
    with pytest.raises(ValueError, match=r"`x` must be finite, got NaN or infinity in 1 of 6 examples"):
        model.fit(np.where(np.arange(6)[:, None] == 2, np.nan, sounds), labels, verbose=0)
    with pytest.raises(ValueError, match=r"`x` must have shape \(batch, 2000\)"):
        model.predict(sounds[:, :1999], verbose=0)


def test_bad_settings_are_refused_all_at_once():
    with pytest.raises(ValueError, match="rate") as refused:
        trunks.sound(keras.Input((8, 2), dtype="int16"), 8000.5, bands=0, frame=2.0, low=-1.0, trunk="vgg")
    for words in (
        "sound: `rate` must be a whole number of at least 1000, got 8000.5.",
        "sound: `bands` must be a whole number of at least 1, got 0.",
        "sound: `frame` must be seconds, above 0 and up to 1, got 2.0.",
        "sound: `low` must be a frequency in Hz, at least 0, got -1.0.",
        "sound: `waveform` must have shape (batch, samples), got (None, 8, 2). Of several channels",
        "sound: `waveform` must hold floats, got 'int16'. Scale 16-bit samples",
        "sound: `trunk` must be a function from an image to features, got str.",
    ):
        assert words in str(refused.value)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"high": 4001.0}, "`high` must leave frequencies between `low`, 60, and half of the rate, 4000, got 4001.0."),
        ({"low": 4000.0}, "`low` must leave frequencies between"),
        ({"bands": 3000}, "`bands` must be wide enough for frames of 0.032 seconds to tell them apart, got 3000."),
        ({"step": 1e-4}, "`step` must be two samples long or more, got 0.0001."),
    ],
)
def test_settings_that_do_not_go_together_are_refused(options, says):
    with pytest.raises(ValueError, match="LogMel: ") as refused:
        trunks.LogMel(RATE, **options)
    assert f"LogMel: {says}" in str(refused.value)


def test_a_sound_shorter_than_a_frame_and_one_of_any_length():
    with pytest.raises(ValueError, match="`waveform` must hold a frame of 256 samples or more, got"):
        trunks.sound(keras.Input((255,)), RATE)
    with pytest.raises(TypeError, match=r"`waveform` must be a KerasTensor, got ndarray. Pass keras.Input"):
        trunks.sound(np.zeros((2, 8000)), RATE)
    waveform = keras.Input((None,))
    model = keras.Model(waveform, trunks.sound(waveform, RATE, bands=8, widths=(4,), units=3))
    for samples in (256, 1000):
        assert model(np.zeros((2, samples), "float32")).shape == (2, 3)
