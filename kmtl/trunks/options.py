"""What every trunk can be told, and the checks of it."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, TypedDict, TypeVar

import keras

from kmtl._checks import Refusals, is_number, is_whole, near, non_negative, refusal, sizes, task_name, words
from kmtl.trunks.normalization import NORMALIZATIONS
from kmtl.trunks.pooling import POOLINGS, known_size

_Function = TypeVar("_Function", bound=Callable[..., Any])
# Of the dense layer behind a pooled map.
_UNITS = 128


class TrunkOptions(TypedDict, total=False):
    """The same as `Options`, for what checks types and completes names."""

    pooling: str | None
    units: int | str | None
    normalization: str | None
    activation: str | Callable[[Any], Any]
    dropout: float
    l1: float
    l2: float
    synchronized: bool
    name: str


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of every trunk: pass them by name, as in `convnet(image, pooling="average", units=64)`.

    Attributes:
        pooling: What becomes of the last map. `"grid"` flattens at most 4 x 4 averaged cells, which tells
            heads where things are; `"average"` and `"max"` go over all positions and do not; `"auto"` is the
            grid where the map's size is known, else the average. A sequence of tokens takes the average
            or the maximum. None leaves the map `(batch, height, width, channels)` or the sequence
            `(batch, tokens, width)` as it is, for dense tasks; `pool` makes its vector.
        units: Width of the dense layer behind the pooled map; None for no such layer. `"auto"` is 128, and none
            with `pooling=None`, where there is no vector.
        normalization: `"batch"`, `"group"`, `"layer"` or None, of every layer with a kernel. Batch
            normalisation runs with momentum 0.9: with Keras's 0.99 the moving statistics of a short training
            are still close to their initial values, and a network that fits its training data fails in
            test mode. Choose `"group"` where batches are small: with batch statistics a training batch of
            one example has features that do not depend on it, so the trunk learns nothing from it.
        activation: A name that Keras knows, or a function of a tensor.
        dropout: Share of the features dropped in training, at least 0 and below 1. Of a map or sequence
            whole channels are dropped, since neighbours tell of each other (Tompson et al., Efficient Object
            Localization Using Convolutional Networks, CVPR 2015).
        l1: Factor of the sum of absolute kernel weights, added to the loss.
        l2: Factor of the sum of squared kernel weights, added to the loss.
        synchronized: Whether batch statistics are taken over all replicas of a `tf.distribute` strategy,
            so that N replicas train as one does; on one device it changes nothing.
        name: Prefix of every layer's name; give each trunk of a model its own.

    >>> Options(units=64).pooling
    'auto'
    """

    pooling: str | None = "auto"
    units: int | str | None = "auto"
    normalization: str | None = "batch"
    activation: str | Callable[[Any], Any] = "relu"
    dropout: float = 0.0
    l1: float = 0.0
    l2: float = 0.0
    synchronized: bool = True
    name: str = "trunk"

    @property
    def width(self) -> int | None:
        """Units of the dense layer at the end, or None where there is none."""
        if self.units == "auto":
            return None if self.pooling is None else _UNITS
        return None if self.units is None else int(self.units)

    def part(self, name: str) -> str:
        """Returns the full name of a layer, so that two trunks can live in one model."""
        return f"{self.name}_{name}"

    def regularizer(self) -> Any:
        """Returns the penalty of one kernel, or None."""
        return keras.regularizers.L1L2(l1=float(self.l1), l2=float(self.l2)) if self.l1 or self.l2 else None

    def check(self, refusals: Refusals) -> None:
        """Records every choice that no trunk can follow."""
        attempt(refusals, lambda owner, _, value: task_name(owner, value), "name", self.name)
        self._check_units(refusals)
        for argument in ("l1", "l2"):
            attempt(refusals, non_negative, argument, getattr(self, argument))
        attempt(refusals, _share, "dropout", self.dropout)
        if self.pooling is not None:
            one_of(refusals, "pooling", self.pooling, POOLINGS)
        if self.normalization is not None:
            one_of(refusals, "normalization", self.normalization, NORMALIZATIONS)
        _check_activation(refusals, self.activation)

    def _check_units(self, refusals: Refusals) -> None:
        """Records a bad width, and one that leaves nothing after the example's own mean is taken off."""
        units = None if self.units is None or self.units == "auto" else attempt(refusals, size, "units", self.units)
        if units and self.pooling is None:
            fix = "Leave it out, and make the vector by kmtl.trunks.pool(features, units=...)."
            refusals.add("units", "must be left out with pooling=None, which makes no vector", self.units, fix)
        if units == 1 and self.normalization in ("group", "layer"):
            rule = "must be 2 or more where each example is normalized by itself"
            refusals.add("units", rule, self.units, "Widen them, or use normalization='batch'.")


def shows_options(**defaults: Any) -> Callable[[_Function], _Function]:
    """Lets the signature of a function with `**options: Unpack[TrunkOptions]` show each of them, as `help` does.

    Args:
        **defaults: Those that differ from the defaults of `Options`.
    """

    def decorate(function: _Function) -> _Function:
        signature = inspect.signature(function)
        own = list(signature.parameters.values())[:-1]
        shown = [
            inspect.Parameter(
                item.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=defaults.get(item.name, item.default),
                annotation=item.type,
            )
            for item in fields(Options)
        ]
        vars(function)["__signature__"] = signature.replace(parameters=[*own, *shown])
        return function

    return decorate


def options_of(function: Callable[..., Any], given: TrunkOptions) -> Options:
    """Returns the options of a trunk under its own defaults, or refuses names that it does not have.

    Raises:
        TypeError: If a name is unknown, as for any function; tells its near match.
    """
    parameters = inspect.signature(function).parameters
    with Refusals(function.__name__, TypeError) as refusals:
        for name, value in given.items():
            if name not in parameters:
                refusals.add(name, "must be an argument or one of the options", value, near(name, parameters))
    defaults: Any = {item.name: parameters[item.name].default for item in fields(Options)}
    return Options(**{**defaults, **given})


def attempt(refusals: Refusals, check: Callable[[str, str, Any], Any], argument: str, value: Any) -> Any:
    """Returns what `check` makes of `value`, or records its refusal and returns None."""
    try:
        return check(refusals.owner, argument, value)
    except ValueError as error:
        refusals.messages.append(str(error))
        return None


def size(owner: str, argument: str, value: Any) -> int:
    """Returns one positive whole number, or refuses."""
    if not is_whole(value) or value < 1:
        raise ValueError(refusal(owner, argument, "must be a positive whole number", value))
    return int(value)


def stages(owner: str, argument: str, value: Any) -> tuple[int, ...]:
    """Returns at least one positive whole number a stage, or refuses."""
    result = sizes(owner, argument, value)
    if not result:
        raise ValueError(refusal(owner, argument, "must hold at least one size", value, "Give one a stage."))
    return result


def one_of(refusals: Refusals, argument: str, value: Any, known: tuple[str, ...]) -> None:
    """Records a word that is not among the known ones, with its near match."""
    if value not in known:
        refusals.add(argument, "must be a known name", value, near(str(value), known))


def check_narrowest(refusals: Refusals, argument: str, widths: Any, narrowest: int, options: Options) -> None:
    """Records widths that leave a layer normalisation one channel: less its own mean, that is 0."""
    if options.normalization == "layer" and narrowest < 2:
        fix = "Widen them, or use normalization='batch'."
        refusals.add(argument, "must leave every layer normalization two channels or more", widths, fix)


def check_stages(refusals: Refusals, widths: Any, depths: Any) -> tuple[tuple[int, int], ...]:
    """Returns width and depth of each stage, or records what is wrong with them and returns none."""
    wide = attempt(refusals, stages, "widths", widths) or ()
    deep = attempt(refusals, stages, "depths", depths) or ()
    if is_whole(depths):
        deep = deep * len(wide)
    if wide and deep and len(wide) != len(deep):
        refusals.add("depths", f"must hold one number for each of {len(wide)} widths", depths)
        return ()
    return tuple(zip(wide, deep, strict=False))


def check_image(refusals: Refusals, image: Any, options: Options) -> None:
    """Refuses what is no symbolic tensor at once, and records what no convolution can read.

    Raises:
        TypeError: If `image` is an array or anything else that is not a `keras.KerasTensor`.
    """
    check_symbolic(refusals.owner, image)
    shape = tuple(image.shape)
    if len(shape) != 4:
        refusals.add("image", "must have shape (batch, height, width, channels)", shape)
    elif shape[-1] is None or 0 in shape[1:]:
        refusals.add("image", "must have known channels and no side of 0", shape)
    elif options.pooling == "grid" and not known_size(image):
        fix = "Fix height and width, or pool by 'average' or 'max'."
        refusals.add("pooling", f"must not be 'grid' for an image of unknown size {shape}", "grid", fix)
    if not keras.backend.is_float_dtype(image.dtype):
        fix = "Scale it to 0..1 first: keras.layers.Rescaling(1 / 255)(image)."
        refusals.add("image", "must hold floats", image.dtype, fix)


def check_symbolic(
    owner: str, tensor: Any, *, argument: str = "image", example: str = "keras.Input((height, width, channels))"
) -> None:
    """Refuses anything but a tensor of the functional API."""
    if not isinstance(tensor, keras.KerasTensor):
        fix = f"Pass {example}, or a layer's output."
        got = words(type(tensor).__name__)
        raise TypeError(refusal(owner, argument, "must be a KerasTensor", got, fix))


def _share(owner: str, argument: str, value: Any) -> float:
    """Returns a share of at least 0 and below 1, or refuses."""
    if not is_number(value) or not 0 <= value < 1:
        raise ValueError(refusal(owner, argument, "must be at least 0 and below 1", value))
    return float(value)


def _check_activation(refusals: Refusals, activation: Any) -> None:
    """Records an activation that Keras does not know."""
    if callable(activation):
        return
    known = {name for name in vars(keras.activations) if not name.startswith("_")}
    one_of(refusals, "activation", activation, tuple(sorted(known - {"get", "serialize", "deserialize"})))
