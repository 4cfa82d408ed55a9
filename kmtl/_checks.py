"""The one form of refusal, *owner: `argument` rule, got value. Fix*.

Every message that kmtl raises is made here, so that a user learns to read one
sentence, and so that all offenders are told at once.
"""

import difflib
import functools
import inspect
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Set
from numbers import Integral, Real
from types import TracebackType
from typing import Any, Self, TypeVar

_Function = TypeVar("_Function", bound=Callable[..., Any])
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.\-]*")
_SHOWN = 5
_FLOAT32_MAX = (2 - 2**-23) * 2.0**127
_RESERVED = frozenset(
    {"loss", "val", "serve", "serving_default", "regularization", "delta_m", "worst_task", "constrained"}
)


def refusal(owner: str, argument: str, rule: str, got: object, fix: str = "") -> str:
    """Spells one refusal; text of a file that stands in it does nothing to a screen.

    >>> refusal("Regression", "shape", "must hold positive sizes", (0,), "Use () for a scalar.")
    'Regression: `shape` must hold positive sizes, got (0,). Use () for a scalar.'
    """
    value = got if isinstance(got, _Words) else repr(got)
    return printable(f"{owner}: `{argument}` {rule}, got {value}. {fix}".rstrip())


class _Words(str):
    """A value that is already prose and needs no quotes."""

    __slots__ = ()


def words(text: str) -> str:
    """Marks `text` as prose, so that a refusal shows it without quotes."""
    return _Words(text)


class Refusals:
    """Collects every offender, then raises once.

    >>> with Refusals("Demo") as refusals:
    ...     refusals.add("size", "must be positive", -1)
    Traceback (most recent call last):
    ...
    ValueError: Demo: `size` must be positive, got -1.
    """

    def __init__(self, owner: str, error: type[Exception] = ValueError) -> None:
        self.owner = owner
        self.error = error
        self.messages: list[str] = []

    def add(self, argument: str, rule: str, got: object, fix: str = "") -> None:
        """Records one offender."""
        self.messages.append(refusal(self.owner, argument, rule, got, fix))

    def check(self) -> None:
        """Raises if anything was recorded."""
        if self.messages:
            raise self.error("\n".join(self.messages))

    def __enter__(self) -> Self:
        """Starts collecting."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Raises what was collected, unless another error is already under way."""
        if kind is None:
            self.check()


def require(condition: bool, owner: str, argument: str, rule: str, got: object, fix: str = "") -> None:
    """Raises a `ValueError` in the one form unless `condition` holds."""
    if not condition:
        raise ValueError(refusal(owner, argument, rule, got, fix))


def near_match(word: Any, known: Iterable[str]) -> str:
    """Asks for the known word that `word` was probably meant to be, whatever its case; empty if none is near.

    >>> near_match("loss_weigths", ["loss", "loss_weights"]), near_match("UPGrad", ["upgrad"])
    ("Did you mean 'loss_weights'?", "Did you mean 'upgrad'?")
    >>> near_match("depth", ["angle", "digit"])
    ''
    """
    by_lower = {name.lower(): name for name in known}
    match = difflib.get_close_matches(str(word).lower(), by_lower, n=1, cutoff=0.6)
    return f"Did you mean {by_lower[match[0]]!r}?" if match else ""


def near(word: str, known: Iterable[str]) -> str:
    """Suggests the known word that `word` was probably meant to be, or lists them all.

    >>> near("digt", ["angle", "digit"])
    "Did you mean 'digit'?"
    >>> near("depth", ["angle", "digit"])
    "Known: 'angle', 'digit'."
    """
    names = list(known)
    return near_match(word, names) or "Known: " + ", ".join(map(repr, names)) + "."


def some(values: Iterable[Any]) -> str:
    """The first few different values, for a message.

    >>> print(some([3, 3, 1, 2, 7, 8, 9]))
    1, 2, 3, 7, 8 and 1 more
    """
    listed = values.tolist() if hasattr(values, "tolist") else values
    different = sorted(set(listed), key=lambda value: (type(value).__name__, value))
    more = len(different) - _SHOWN
    return words(", ".join(map(repr, different[:_SHOWN])) + (f" and {more} more" if more > 0 else ""))


def printable(text: str) -> str:
    r"""Writes out what a text from outside would do to a screen: colours, cursor moves, bells. Line ends stay.

    >>> print(printable("unit \x1b[31mcm\x07"))
    unit \x1b[31mcm\x07
    """
    return "".join(one if one.isprintable() or one == "\n" else one.encode("unicode_escape").decode() for one in text)


def plain_text(owner: str, argument: str, text: Any) -> str:
    """Returns a text that a screen may show as it is, or refuses; it may have several lines."""
    require(isinstance(text, str), owner, argument, "must be text", text)
    controls = any(unicodedata.category(letter) == "Cc" and letter not in "\n\t" for letter in text)
    fix = "Leave them out: a terminal would obey them."
    require(not controls, owner, argument, "must have no control characters", text, fix)
    return str(text)


def non_negative(owner: str, argument: str, value: Any) -> float:
    """Returns `value` as a float, or refuses a negative, NaN, infinite or non-numeric one."""
    if not is_number(value) or value < 0:
        raise ValueError(refusal(owner, argument, "must be a finite number of at least 0", value))
    return float(value)


def is_number(value: Any) -> bool:
    """Whether `value` is a finite number, NumPy's scalars included, and not a bool."""
    return isinstance(value, Real) and not isinstance(value, bool) and abs(float(value)) < float("inf")


def is_weight(value: Any) -> bool:
    """Whether `value` is a number of at least 0 that is finite in float32, in which models compute.

    >>> is_weight(0.5), is_weight(-1), is_weight(1e39)
    (True, False, False)
    """
    return is_number(value) and 0 <= value <= _FLOAT32_MAX


def is_whole(value: Any) -> bool:
    """Whether `value` is a whole number, NumPy's scalars included, and not a bool."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def whole(owner: str, argument: str, value: Any, least: int) -> int:
    """Returns `value` as an int of at least `least`, or refuses."""
    if not is_whole(value) or value < least:
        raise ValueError(refusal(owner, argument, f"must be a whole number of at least {least}", value))
    return int(value)


def sizes(owner: str, argument: str, value: Any) -> tuple[int, ...]:
    """Returns a tuple of positive ints from an int or a sequence of them, or refuses."""
    # A string's letters are no sizes, and a set has no order.
    listed = isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping | Set)
    items = tuple(value) if listed else (value,)
    if not all(is_whole(item) and item >= 1 for item in items):
        raise ValueError(refusal(owner, argument, "must hold positive whole numbers", value))
    return tuple(int(item) for item in items)


def task_name(owner: str, name: Any) -> str:
    """Returns a name that Keras, SavedModel, LiteRT and log keys all accept, or refuses."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        fix = "Start with a letter; use letters, digits, '_', '-' and '.' only."
        raise ValueError(refusal(owner, "name", "must be a plain name", name, fix))
    if name in _RESERVED:
        fix = f"Reserved: {', '.join(sorted(_RESERVED))}."
        raise ValueError(refusal(owner, "name", "must not be a reserved word", name, fix))
    if name.startswith("val_"):
        fix = "Keras begins the validation's log keys with it."
        raise ValueError(refusal(owner, "name", "must not start with 'val_'", name, fix))
    return name


def known_keys(
    refusals: Refusals,
    argument: str,
    keys: Iterable[Any],
    known: Iterable[str],
    fix: Callable[[str], str] | None = None,
) -> None:
    """Records every key that is not among the known task names, with its near match; those without one together."""
    names, rule = list(known), "must use task names as keys"
    unknown = [key for key in keys if key not in names]
    far = [key for key in unknown if not fix and not near_match(key, names)]
    if len(far) > 1:
        refusals.add(argument, rule, some(far), near("", names))
        unknown = [key for key in unknown if key not in far]
    for key in unknown:
        advice = fix(str(key)) if fix else near(str(key), names)
        refusals.add(argument, rule, key, advice)


def known_keywords(function: _Function) -> _Function:
    """Lets a function refuse misspelt keywords in the one form, with their near match.

    One that begins with an underscore is passed on: it is between Keras's own methods.

    >>> known_keywords(lambda epochs=1: epochs)(epoch=3)
    Traceback (most recent call last):
    ...
    TypeError: <lambda>: `epoch` must be an argument that it takes, got 3. Did you mean 'epochs'?
    """
    parameters = inspect.signature(function).parameters
    taken = [name for name, found in parameters.items() if found.kind is not inspect.Parameter.VAR_KEYWORD]

    @functools.wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        refuse_keywords(function.__name__, kwargs, taken)
        return function(*args, **kwargs)

    return checked  # type: ignore[return-value]


def refuse_keywords(owner: str, given: Mapping[str, Any], taken: Iterable[str]) -> None:
    """Refuses keywords that are not among those taken, and do not begin with an underscore, with their near match.

    Raises:
        TypeError: With all offenders.
    """
    names = list(taken)
    with Refusals(owner, TypeError) as refusals:
        for name, value in given.items():
            if name not in names and not name.startswith("_"):
                got = value if isinstance(value, str | int | float | dict | None) else type(value)
                refusals.add(name, "must be an argument that it takes", got, near_match(name, names))


def constructor_keywords(kind: type) -> list[str]:
    """Names of the arguments that the constructors of a class and of those that it is built on take by keyword.

    >>> class Line:
    ...     def __init__(self, color="black"): ...
    >>> class Dashed(Line):
    ...     def __init__(self, gap=1, **options): ...
    >>> constructor_keywords(Dashed)
    ['gap', 'color']
    """
    own = [vars(base)["__init__"] for base in kind.__mro__[:-1] if "__init__" in vars(base)]
    parts = [part for function in own for part in list(inspect.signature(function).parameters.values())[1:]]
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return list(dict.fromkeys(part.name for part in parts if part.kind in by_name))
