"""From the bytes of an image file to what a model's input takes."""

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow as tf

from kmtl import _checks

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

    Args:
        input: Name of the `Input` layer; None if the model has a single one that takes images.
        size: Height and width in pixels; None takes those of the input's shape.
        scale: Factor behind 0..1, one or one a channel.
        offset: What is added then, one or one a channel.
        interpolation: `"bilinear"`, `"nearest"`, `"bicubic"`, `"lanczos3"` or `"lanczos5"`.
        antialias: Whether shrinking smooths.
        crop_to_aspect_ratio: Whether the middle of the image is cut out rather than the whole stretched.
        pad_to_aspect_ratio: Whether black bars are added rather than the whole stretched.

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


def read(files: Any, settings: Images, tensor: Any) -> Any:
    """Turns the bytes of image files into a model's input.

    Args:
        files: Strings of shape `(batch,)`.
        settings: With `size` known.
        tensor: The model's input, which says channels and dtype.

    Returns:
        A tensor of shape `(batch, height, width, channels)` in the input's dtype.
    """
    shape = (*_tuple(settings.size), tensor.shape[-1])
    form = tf.TensorSpec(shape, tf.float32)
    pixels = tf.map_fn(lambda file: _one(file, settings, shape), files, fn_output_signature=form)
    values = pixels * tf.constant(settings.scale, tf.float32) + tf.constant(settings.offset, tf.float32)
    dtype = tf.as_dtype(tensor.dtype)
    return tf.cast(tf.round(values) if dtype.is_integer else values, dtype)


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
