"""From the bytes of an image file to what a model's input takes."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from kmtl import _checks
from kmtl.export import image_headers

_CHANNELS = (1, 3, 4)
_INTERPOLATIONS = ("bilinear", "nearest", "bicubic", "lanczos3", "lanczos5")


@dataclasses.dataclass(frozen=True)
class Images:
    """Tells `saved_model` how an image file becomes an input, so that a server takes the file itself.

    JPEG, PNG, BMP and the first frame of GIF files are decoded to the input's channels, brought to its height and
    width, and scaled:

        input = pixel / 255 * scale + offset

    rounded where the input holds integers. The default is what `kmtl.data.from_folder` trains on, number for number.
    Models trained by Keras's `image_dataset_from_directory` take `scale=255, antialias=False`. A turned camera's EXIF
    mark is not read, as it is not in training.

    A file that is no image, is broken, or has more than `max_pixels`, told by its header before it is unpacked, spoils
    its own row alone: of that row float outputs are NaN, integer ones -1 (unsigned 0), texts empty.

    Args:
        input: Name of the `Input` layer; None if the model has a single one that takes images.
        size: Height and width in pixels; None takes those of the input's shape.
        scale: Factor behind 0..1, one or one a channel.
        offset: What is added then, one or one a channel.
        interpolation: `"bilinear"`, `"nearest"`, `"bicubic"`, `"lanczos3"` or `"lanczos5"`.
        antialias: Whether shrinking smooths.
        crop_to_aspect_ratio: Whether the middle of the image is cut out rather than the whole stretched.
        pad_to_aspect_ratio: Whether black bars are added rather than the whole stretched.
        max_pixels: Height times width of the largest file that is read, all frames of a GIF together. Decoding takes up
            to 17 bytes a pixel, for as many files at once as the server has cores.

    Raises:
        ValueError: If an option is out of range.

    >>> Images(scale=2.0, offset=-1.0).interpolation
    'bilinear'
    """

    input: str | None = None
    size: tuple[int, int] | None = None
    scale: float | tuple[float, ...] = 1.0
    offset: float | tuple[float, ...] = 0.0
    interpolation: str = "bilinear"
    antialias: bool = True
    crop_to_aspect_ratio: bool = False
    pad_to_aspect_ratio: bool = False
    max_pixels: int = 50_000_000

    def __post_init__(self) -> None:
        """Refuses options out of range."""
        with _checks.Refusals("Images") as refusals:
            if self.size is not None and not (len(_tuple(self.size)) == 2 and _are_sizes(self.size)):
                refusals.add("size", "must be (height, width) in pixels", self.size)
            for argument in ("scale", "offset"):
                values = _tuple(getattr(self, argument))
                if not values or not all(_checks.is_number(value) for value in values):
                    refusals.add(argument, "must be a finite number, or one a channel", getattr(self, argument))
            if 0 in _tuple(self.scale):
                refusals.add("scale", "must not be 0", self.scale)
            if self.interpolation not in _INTERPOLATIONS:
                fix = _checks.near(str(self.interpolation), _INTERPOLATIONS)
                refusals.add("interpolation", "must be known", self.interpolation, fix)
            if self.crop_to_aspect_ratio and self.pad_to_aspect_ratio:
                refusals.add("pad_to_aspect_ratio", "must not stand with crop_to_aspect_ratio", True)
            if not _are_sizes([self.max_pixels]) or self.max_pixels >= image_headers.UNKNOWN:
                refusals.add("max_pixels", "must be a whole number of at least 1", self.max_pixels)

    def settings(self) -> dict[str, Any]:
        """The settings in terms that JSON knows."""
        return dataclasses.asdict(self)


def _tuple(value: Any) -> tuple[Any, ...]:
    """One value or several as a tuple."""
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _are_sizes(values: Iterable[Any]) -> bool:
    """Whether all are whole numbers of at least 1."""
    return all(_checks.is_whole(value) and value >= 1 for value in values)


def by_input(refusals: _checks.Refusals, model: Any, given: Any) -> dict[str, Images]:
    """Returns the images' settings by input name with their sizes filled in, and records what does not fit.

    Args:
        refusals: Where to record.
        model: A functional model.
        given: None, one `Images` or several.

    Returns:
        Settings whose `input` and `size` are known.
    """
    listed = [] if given is None else list(given) if isinstance(given, list | tuple) else [given]
    found: dict[str, Images] = {}
    for one in listed:
        if not isinstance(one, Images):
            refusals.add("images", "must be a kmtl.export.Images or several", one, "Pass kmtl.export.Images().")
            continue
        tensor = _input(refusals, model, one)
        if tensor is not None and _takes(refusals, one, tensor):
            size = one.size or tuple(tensor.shape[1:3])
            found[tensor.name] = dataclasses.replace(one, input=tensor.name, size=size)
    if len(found) < len(listed) and not refusals.messages:
        refusals.add("images", "must name each input once", [one.input for one in listed])
    return found


def _input(refusals: _checks.Refusals, model: Any, one: Images) -> Any:
    """Returns the input that is meant, or records that there is none."""
    tensors = {tensor.name: tensor for tensor in model.inputs}
    fitting = [name for name, tensor in tensors.items() if len(tensor.shape) == 4]
    if one.input is None and len(fitting) == 1:
        return tensors[fitting[0]]
    if one.input in tensors:
        return tensors[one.input]
    fix = _checks.near(str(one.input), tensors) if one.input else f"Say which: Images(input=...) of {list(tensors)}."
    refusals.add("images", "must name an input that takes images", one.input, fix)
    return None


def _takes(refusals: _checks.Refusals, one: Images, tensor: Any) -> bool:
    """Whether an input takes images of a known size; records why not."""
    shape = tuple(tensor.shape)
    before = len(refusals.messages)
    if len(shape) != 4 or shape[-1] not in _CHANNELS:
        rule = f"needs an input of shape (batch, height, width, channels) with 1, 3 or 4 channels; {tensor.name!r} has"
        refusals.add("images", rule, _checks.words(str(shape)))
        return False
    if one.size is None and None in shape[1:3]:
        refusals.add("images", f"of {tensor.name!r} needs a size", None, "Say Images(size=(height, width)).")
    fixed = all(have in (None, want) for want, have in zip(one.size or shape[1:3], shape[1:3], strict=True))
    if not fixed:
        refusals.add("images", f"of {tensor.name!r} must have the size {shape[1:3]}", one.size)
    for argument in ("scale", "offset"):
        if len(_tuple(getattr(one, argument))) not in (1, shape[-1]):
            rule = f"of {tensor.name!r} must have one {argument}, or one for each of {shape[-1]} channels"
            refusals.add("images", rule, getattr(one, argument))
    return len(refusals.messages) == before


def read(files: Any, settings: Images, tensor: Any) -> tuple[Any, Any]:
    """Turns the bytes of image files into a model's input.

    Args:
        files: Strings of shape `(batch,)`.
        settings: With `size` known.
        tensor: The model's input, which says channels and dtype.

    Returns:
        A tensor of shape `(batch, height, width, channels)` in the input's dtype, black where a file could not be read,
        and which could, `(batch,)`.
    """
    shape = (*_tuple(settings.size), tensor.shape[-1])
    pixels, are_read = _decoded(files, settings, shape)
    values = pixels * tf.constant(settings.scale, tf.float32) + tf.constant(settings.offset, tf.float32)
    dtype = tf.as_dtype(tensor.dtype)
    return tf.cast(tf.round(values) if dtype.is_integer else values, dtype), are_read


def _decoded(files: Any, settings: Images, shape: tuple[int, ...]) -> tuple[Any, Any]:
    """Images in 0..1 by row, and which there are.

    tf.data is the one part of a graph that can pass over a row that fails.
    """
    rows = tf.size(files, tf.int64)
    read = (
        tf.data.Dataset.from_tensor_slices((tf.range(rows), files))
        .filter(lambda _, file: image_headers.pixels(file) <= settings.max_pixels)
        .map(lambda row, file: (row, _one(file, settings, shape)), num_parallel_calls=tf.data.AUTOTUNE)
        .ignore_errors()
    )
    # A batch has one row at least; this one is cut off again.
    beyond = tf.data.Dataset.from_tensors((rows, tf.zeros(shape)))
    places, images = read.concatenate(beyond).batch(rows + 1).get_single_element()
    pixels = tf.scatter_nd(places[:, None], images, tf.concat([[rows + 1], tf.constant(shape, tf.int64)], 0))
    are_read = tf.scatter_nd(places[:, None], tf.ones_like(places, tf.bool), rows[None] + 1)
    return tf.ensure_shape(pixels[:-1], (None, *shape)), are_read[:-1]


def marked(outputs: Mapping[str, Any], are_read: Any) -> dict[str, Any]:
    """Returns outputs by name in which the rows of files that could not be read say so."""
    return {name: tf.where(_column(are_read, values), values, _mark(values.dtype)) for name, values in outputs.items()}


def _column(flags: Any, values: Any) -> Any:
    """One flag a row, in as many axes as the values have."""
    return tf.reshape(flags, [-1] + [1] * (len(values.shape) - 1))


def _mark(dtype: tf.DType) -> Any:
    """What stands for a missing value."""
    if dtype == tf.string:
        return tf.constant("")
    mark = np.nan if dtype.is_floating else 0 if dtype.is_unsigned or dtype.is_bool else -1
    return tf.cast(mark, dtype)


def _one(file: Any, settings: Images, shape: tuple[int, ...]) -> Any:
    """One file as an image in 0..1 of the wanted size."""
    pixels = tf.io.decode_image(file, shape[-1], tf.float32, expand_animations=False)
    pixels = tf.ensure_shape(pixels, (None, None, shape[-1]))
    wanted, sizes = tf.constant(shape[:2]), tf.shape(pixels)
    size = wanted
    if settings.crop_to_aspect_ratio:
        height, width = tf.unstack(_inside(wanted, sizes))
        above, left = (sizes[0] - height) // 2, (sizes[1] - width) // 2
        pixels = pixels[above : above + height, left : left + width]
    if settings.pad_to_aspect_ratio:
        size = _inside(sizes, wanted)
    resized = tf.image.resize(pixels, size, settings.interpolation, antialias=settings.antialias)
    if settings.pad_to_aspect_ratio:
        above, left = tf.unstack((wanted - size) // 2)
        resized = tf.image.pad_to_bounding_box(resized, above, left, *shape[:2])
    # The kernels' weights sum to 1 only up to rounding, and some kernels overshoot.
    return tf.ensure_shape(tf.clip_by_value(resized, 0.0, 1.0), shape)


def _inside(form: Any, limit: Any) -> Any:
    """Height and width of the largest image of a form that lies inside of a limit.

    Keras and `tf.image` take them from quotients, which the graph optimizer rounds in another way than eager
    TensorFlow does, so that whole rows go missing; whole numbers give one answer.
    """
    lower = tf.maximum(1, form[0] * limit[1] // form[1])
    narrower = tf.maximum(1, form[1] * limit[0] // form[0])
    is_wide = form[1] * limit[0] >= form[0] * limit[1]
    return tf.where(is_wide, tf.stack([lower, limit[1]]), tf.stack([limit[0], narrower]))


def encode(values: Any, settings: Images) -> Any:
    """Turns a model's input back into PNG files: samples for warm-up requests.

    Args:
        values: Array of shape `(batch, height, width, channels)`.
        settings: How files become inputs.

    Returns:
        An object array of bytes, `(batch,)`.
    """
    scaled = (np.asarray(values, "float32") - np.asarray(settings.offset)) / np.asarray(settings.scale)
    pixels = np.clip(np.round(scaled * 255.0), 0, 255).astype("uint8")
    return np.array([tf.io.encode_png(image).numpy() for image in pixels], object)
