"""One search by several processes: who one is, and where the others are.

KerasTuner reads three environment variables: `KERASTUNER_TUNER_ID`, `KERASTUNER_ORACLE_IP` and
`KERASTUNER_ORACLE_PORT`. Here they are set and checked.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

from kmtl._checks import Refusals, is_number, require, words
from kmtl.distribution.clusters import address_fault

_NAME, _HOST, _PORT = "KERASTUNER_TUNER_ID", "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT"
_VARIABLES = (_NAME, _HOST, _PORT)


class Limits(NamedTuple):
    """How long one waits for the others, in seconds.

    Attributes:
        patience: A worker that says nothing for so long is given up, and its trial goes to another.
        wait: A chief without any worker, or a worker without a chief, gives up after so long.
    """

    patience: float = 30.0
    wait: float = 300.0


_LIMITS: ContextVar[Limits | None] = ContextVar("limits", default=None)


class Role(NamedTuple):
    """What a process is in a search.

    Attributes:
        name: `"chief"`, a worker's name, or `""` for a search by one process.
        address: The chief's, `"host:port"`.
        limits: How long it waits.
    """

    name: str
    address: str
    limits: Limits

    @property
    def is_chief(self) -> bool:
        """Whether it hands out the trials."""
        return "chief" in self.name

    @property
    def is_worker(self) -> bool:
        """Whether it asks a chief for trials."""
        return bool(self.name) and not self.is_chief


@contextmanager
def as_chief(address: str, *, patience: float = 30.0, wait: float = 300.0) -> Iterator[None]:
    """Makes the searches inside hand out their trials to workers instead of running them.

    The chief trains no trial itself. It ends when all trials have. A trial whose worker dies is given to another, once;
    what happened stands in the result's `events`.

    Args:
        address: `"host:port"` that workers reach this process at. Anyone who reaches it may take part: it is for a
            network of one's own.
        patience: Seconds after which a worker that says nothing is given up; they say something each second.
        wait: Seconds without any worker after which the search gives up; it may be started again.

    Raises:
        ValueError: If the address or a number is not fit.

    >>> with as_chief("127.0.0.1:9123"):
    ...     role().is_chief
    True
    """
    _check("as_chief", address, "chief", patience, wait)
    with _environment("chief", address, Limits(patience, wait)):
        yield


@contextmanager
def as_worker(address: str, name: str, *, wait: float = 60.0) -> Iterator[None]:
    """Makes the searches inside run trials of a chief.

    The script is the chief's, the search's folder one that both see, and `weights` is called with the same arguments.

    Args:
        address: The chief's, `"host:port"`.
        name: The worker's own, different from all others'. One that is started again after a crash may keep it.
        wait: Seconds after which a chief that does not answer is an error.

    Raises:
        ValueError: If the address, the name or a number is not fit.

    >>> with as_worker("127.0.0.1:9123", "second"):
    ...     role().name, role().is_worker
    ('second', True)
    """
    _check("as_worker", address, name, 1.0, wait)
    rule = "must be a word without 'chief' in it, which KerasTuner takes for the chief"
    require("chief" not in name, "as_worker", "name", rule, name)
    with _environment(name, address, Limits(wait=wait)):
        yield


def role() -> Role:
    """Tells from the environment what this process is.

    Raises:
        ValueError: If some of the variables are there and others are not, or one is not fit.

    >>> role().name
    ''
    """
    found = {name: os.environ[name] for name in _VARIABLES if name in os.environ}
    # A name alone is harmless: KerasTuner goes by the address.
    if not set(found) - {_NAME}:
        return Role("", "", _LIMITS.get() or Limits())
    missing = [name for name in _VARIABLES if name not in found]
    fix = "Use kmtl.search.as_chief(address) or as_worker(address, name)."
    require(not missing, "weights", missing[0] if missing else _NAME, "must be set with the others", words("none"), fix)
    address = f"{found[_HOST]}:{found[_PORT]}"
    _check("weights", address, found[_NAME], 1.0, 1.0)
    return Role(found[_NAME], address, _LIMITS.get() or Limits())


def _check(owner: str, address: str, name: str, patience: float, wait: float) -> None:
    """Refuses what is no address, no name or no time."""
    with Refusals(owner) as refusals:
        fault = address_fault(address)
        if fault:
            refusals.add("address", fault[0], address, fault[1] or "As in '127.0.0.1:9000'.")
        # It is part of file names.
        if not isinstance(name, str) or not name.replace("-", "_").isidentifier():
            refusals.add("name", "must be a plain word", name)
        for argument, value in (("patience", patience), ("wait", wait)):
            if not is_number(value) or value <= 0:
                refusals.add(argument, "must be a positive number of seconds", value)


@contextmanager
def _environment(name: str, address: str, limits: Limits) -> Iterator[None]:
    """Sets the variables, and puts back what was there."""
    host, _, port = address.rpartition(":")
    before = {key: os.environ.get(key) for key in _VARIABLES}
    token = _LIMITS.set(limits)
    os.environ.update(dict(zip(_VARIABLES, (name, host, port), strict=True)))
    try:
        yield
    finally:
        _LIMITS.reset(token)
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value
