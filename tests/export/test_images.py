"""Image files in, as they come, through the SavedModel alone."""

import io

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from states import with_scales

import kmtl
from kmtl.data.folders import decode_image
from kmtl.export import image_headers, images


def picture(height, width, channels, seed=0):
    """A picture with smooth and sharp parts."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    plain = (rows * 3 + columns * 5)[..., None] % 200 + generator.integers(0, 50, (1, 1, channels))
    plain[: height // 3, : width // 4] = generator.integers(0, 255, channels)
    return plain.astype("uint8")


def file(pixels, form):
    """The bytes of an image file, written by another library than the one that reads it."""
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(buffer, form)
    return buffer.getvalue()


def model(shape, dtype="float32"):
    """Outputs that show the input itself."""
    image = keras.Input(shape, name="photo", dtype=dtype)
    flat = keras.layers.Flatten()(keras.layers.Rescaling(1.0, dtype="float32")(image))
    return keras.Model(image, {"pixels": flat, "mean": keras.layers.GlobalAveragePooling2D()(image * 1)})


def seer(shape, settings, folder, dtype="float32"):
    """Tells what a model is given for image files, by way of the SavedModel."""
    loaded = tf.saved_model.load(str(kmtl.export.saved_model(model(shape, dtype), folder, images=settings)))

    def look(files):
        found = loaded.signatures["image_bytes"](photo=tf.constant(files))
        alone = loaded.signatures["pixels.image_bytes"](photo=tf.constant(files))
        np.testing.assert_array_equal(found["pixels"], alone["pixels"])
        return found["pixels"].numpy().reshape(-1, *shape)

    return look


def seen(shape, files, settings, folder, dtype="float32"):
    """The same, asked once."""
    return seer(shape, settings, folder, dtype)(files)


def test_a_file_becomes_what_training_sees(tmp_path):
    files = [file(picture(20, 31, 3, seed), form) for form in ("JPEG", "PNG", "BMP") for seed in range(2)]
    look = seer((16, 12, 3), kmtl.export.Images(), tmp_path)
    found = look(files)
    np.testing.assert_array_equal(found, [decode_image(one, (16, 12), 3) for one in files])
    assert found[0].std() > 0.1
    # No file at all, and one alone.
    assert look(np.zeros((0,), object)).shape == (0, 16, 12, 3)
    np.testing.assert_array_equal(look(files[1:2]), found[1:2])


def test_files_of_unlike_sizes_and_kinds_in_one_batch(tmp_path):
    files = [file(picture(*size), form) for size, form in (((9, 9, 1), "PNG"), ((40, 8, 3), "JPEG"))]
    look = seer((8, 8, 1), kmtl.export.Images(), tmp_path)
    np.testing.assert_array_equal(look(files), np.concatenate([look(files[:1]), look(files[1:])]))


def test_a_png_of_the_right_size_gives_its_pixels_scaled(tmp_path):
    pixels = picture(8, 6, 3)
    settings = kmtl.export.Images(scale=(2.0, 1.0, 255.0), offset=(-1.0, 0.0, 0.5))
    found = seen((8, 6, 3), [file(pixels, "PNG")], settings, tmp_path)[0]
    np.testing.assert_allclose(found, pixels / 255 * [2.0, 1.0, 255.0] + [-1.0, 0.0, 0.5], rtol=1e-6, atol=1e-6)


def test_whole_numbers_for_an_input_that_holds_them(tmp_path):
    pixels = picture(8, 6, 3)
    found = seen((8, 6, 3), [file(pixels, "PNG")], kmtl.export.Images(scale=255), tmp_path, "uint8")
    np.testing.assert_array_equal(found[0], pixels)


def test_keras_own_image_folders_are_met(tmp_path):
    pixels = picture(20, 31, 3)
    (tmp_path / "set" / "one").mkdir(parents=True)
    (tmp_path / "set" / "one" / "a.png").write_bytes(file(pixels, "PNG"))
    options = {"image_size": (16, 12), "batch_size": 1, "labels": None, "verbose": False}
    for extra in ({}, {"crop_to_aspect_ratio": True}, {"pad_to_aspect_ratio": True}):
        dataset = keras.utils.image_dataset_from_directory(tmp_path / "set", **options, **extra)
        settings = kmtl.export.Images(scale=255.0, antialias=False, **extra)
        found = seen((16, 12, 3), [file(pixels, "PNG")], settings, tmp_path / str(len(extra)) / str(extra)[:6])
        np.testing.assert_allclose(found, next(iter(dataset)), atol=1e-3)


def test_one_input_of_several_takes_files(tmp_path):
    photo, age = keras.Input((None, None, 3), name="photo"), keras.Input((1,), name="age")
    pooled = keras.layers.GlobalAveragePooling2D()(photo)
    both = keras.Model([age, photo], {"b": pooled + age, "a": age})
    settings = kmtl.export.Images(input="photo", size=(4, 4))
    loaded = tf.saved_model.load(str(kmtl.export.saved_model(both, tmp_path, images=[settings])))
    pixels = np.full((5, 5, 3), 51, "uint8")
    given = {"photo": tf.constant([file(pixels, "PNG")] * 2), "age": tf.constant([[1.0], [2.0]])}
    found = loaded.signatures["b.image_bytes"](**given)["b"]
    np.testing.assert_allclose(found, [[1.2] * 3, [2.2] * 3], rtol=1e-5)


def gif(*sizes):
    """A GIF with frames of these heights and widths, of which the first gives its header the screen's size."""
    files = [file(picture(*size, 1), "GIF") for size in sizes]
    heads = [13 + (3 * 2 ** (one[10] % 8 + 1) if one[10] >= 128 else 0) for one in files]
    return files[0][: heads[0]] + b"".join(one[head:-1] for one, head in zip(files, heads, strict=True)) + b";"


def test_pixels_are_told_by_the_header_alone():
    """Against another library's files; TensorFlow's canvas of a GIF is as large as its largest frame."""
    count = tf.function(image_headers.pixels, input_signature=[tf.TensorSpec((), tf.string)])
    for form in ("PNG", "JPEG", "BMP", "GIF"):
        assert count(file(picture(7, 300, 1), form)) == 2100
    assert count(gif((8, 8), (40, 30))) == 40 * 30 + 8 * 8
    assert tf.io.decode_image(gif((8, 8), (40, 30)), 3, expand_animations=False).shape == (40, 30, 3)
    assert count(gif((8, 8), (40, 10), (10, 40))) == 40 * 40
    forged = bytearray(file(picture(4, 4, 1), "PNG"))
    forged[16:24] = b"\xff" * 8
    assert count(bytes(forged)) == (2**31 - 1) ** 2
    top_down = bytearray(file(picture(7, 9, 3), "BMP"))
    top_down[22:26] = (-7).to_bytes(4, "little", signed=True)
    assert count(bytes(top_down)) == 63
    # What TensorFlow reads besides, a PNG with something before its header, more blocks than anyone makes.
    others = (file(picture(4, 4, 3), "WEBP"), bytes(forged[:8] + forged[4:]), gif((2, 2))[:-1] + b"!\xfe\0" * 5000)
    assert [int(count(one)) for one in (*others, b"", b"text")] == [image_headers.UNKNOWN] * 5


def test_a_file_that_cannot_be_read_spoils_its_own_row_alone(tmp_path):
    """Broken, too large, no image: the other rows are those of a batch without them."""
    tasks = [kmtl.Classification("kind", 3, label_names=["a", "b", "c"]), kmtl.Regression("size")]
    tasks += [kmtl.Classification("number", 4)]
    image = keras.Input((8, 8, 1), name="photo")
    model = with_scales(kmtl.MultiTaskModel.from_features(image, keras.layers.Flatten()(image), tasks))
    settings = kmtl.export.Images(max_pixels=100)
    served = tf.saved_model.load(str(kmtl.export.saved_model(model, tmp_path, images=settings, decode=True))).signatures
    good = [file(picture(10, 10, 1, seed), form) for seed, form in enumerate(("PNG", "JPEG", "GIF"))]
    broken = bytearray(good[1])
    broken[60:] = b"\0" * (len(broken) - 60)
    large = [file(picture(11, 10, 1), "PNG"), gif((4, 4), (30, 9))]
    bad = [b"", b"text", good[0][:60], good[0][:20], bytes(broken), *large]
    mixed = [bad[0], good[0], *bad[1:4], good[1], *bad[4:], good[2]]
    rows = [place for place, one in enumerate(mixed) if one in good]
    alone, found = (served["image_bytes"](photo=tf.constant(files)) for files in (good, mixed))
    for name, values in found.items():
        np.testing.assert_array_equal(values.numpy()[rows], alone[name])
    others = np.delete(np.arange(len(mixed)), rows)
    assert np.isnan(found["size"].numpy()[others]).all()
    assert np.isnan(found["kind_probability"].numpy()[others]).all()
    assert (found["number_label"].numpy()[others] == -1).all()
    assert set(found["kind_label"].numpy()[others].ravel()) == {b""}
    assert np.isnan(served["size.image_bytes"](photo=tf.constant(bad))["size"]).all()


def test_samples_become_files_and_files_the_samples():
    values = picture(8, 6, 3)[None] / np.float32(255) * 4 - 2
    settings = kmtl.export.Images(scale=4.0, offset=-2.0, size=(8, 6))
    files = images.encode(values, settings)
    tensor = keras.KerasTensor((None, 8, 6, 3), "float32")
    np.testing.assert_allclose(images.read(tf.constant(files), settings, tensor)[0], values, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": (0, 3)}, "`size` must be"),
        ({"size": 8}, "`size` must be"),
        ({"scale": 0.0}, "`scale` must not be 0"),
        ({"max_pixels": 0}, "`max_pixels` must be"),
        ({"scale": ()}, "`scale` must be"),
        ({"offset": float("nan")}, "`offset` must be"),
        ({"interpolation": "bilinar"}, "Did you mean 'bilinear'"),
        ({"crop_to_aspect_ratio": True, "pad_to_aspect_ratio": True}, "must not stand with"),
    ],
)
def test_settings_out_of_range_are_told(options, words):
    with pytest.raises(ValueError, match=f"^Images: .*{words}"):
        kmtl.export.Images(**options)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("yes", "must be a kmtl.export.Images"),
        (kmtl.export.Images(input="foto"), "Did you mean 'photo'"),
        (kmtl.export.Images(input="row"), "needs an input of shape"),
        (kmtl.export.Images(), "Say which"),
        (kmtl.export.Images(input="photo", size=(3, 3)), r"must have the size \(8, 8\)"),
        (kmtl.export.Images(input="wide"), "needs a size"),
        (kmtl.export.Images(input="photo", scale=(1.0, 2.0)), "one scale, or one for each of 3"),
        ([kmtl.export.Images(input="photo"), kmtl.export.Images(input="photo")], "name each input once"),
    ],
)
def test_settings_that_do_not_fit_the_model_are_told(given, words, tmp_path):
    shapes = {"photo": (8, 8, 3), "row": (4,), "wide": (None, 8, 3)}
    inputs = {name: keras.Input(shape, name=name) for name, shape in shapes.items()}
    several = keras.Model(inputs, {"a": keras.layers.Flatten()(inputs["photo"])})
    with pytest.raises(ValueError, match=f"^saved_model: `images` .*{words}"):
        kmtl.export.saved_model(several, tmp_path, images=given)
    assert list(tmp_path.iterdir()) == []
