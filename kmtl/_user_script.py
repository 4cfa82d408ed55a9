"""A user's script as a source of names: what to build, the tasks, the data."""

import contextlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from kmtl._checks import Refusals, near_match, refusal, words

_BUILD = "build"


class UserScript:
    """A Python file that is run once, as by `import`, and asked for names.

    Its folder is where it finds modules beside it; what stands under `if __name__ == "__main__":` does not run, and
    it sees no arguments of the command line.

    Args:
        place: The file, and behind a colon the functions in question, as `script.py:build` or `script.py:narrow,wide`;
            without a colon `build`.
        owner: For the messages.

    Raises:
        ValueError: If there is no such file, if it has no such function, or if it raises an error or ends the program
            while it runs; the message has the line.
    """

    def __init__(self, place: str, owner: str) -> None:
        head, colon, names = place.partition(".py:")
        self.path = Path(f"{head}.py" if colon else head)
        self.owner = owner
        with Refusals(owner) as refusals:
            if self.path.suffix != ".py" or not self.path.is_file():
                refusals.add("script", "must be a Python file", str(self.path), "As script.py:build.")
        with self.told():
            self._names = _run(self.path)
        with Refusals(owner) as refusals:
            self.functions = {name: self._function(refusals, name) for name in (names or _BUILD).split(",")}

    @property
    def name(self) -> str:
        """The file's name without its suffix."""
        return self.path.stem

    def _function(self, refusals: Refusals, name: str) -> Any:
        """A function of the script, or records that there is none."""
        found = self._names.get(name)
        if not callable(found):
            functions = [key for key, value in self._names.items() if inspect.isfunction(value)]
            fix = near_match(name, functions) or f"Define def {name or _BUILD}(tasks): ..., a compiled MultiTaskModel."
            got = words("nothing by this name" if name not in self._names else type(found).__name__)
            refusals.add(f"{self.path}:{name}", "must be a function", got, fix)
        return found

    def values(self, needed: Sequence[str], further: Sequence[str] = ()) -> dict[str, Any]:
        """What names stand for: values, or what functions without arguments return.

        Args:
            needed: Names that have to be there.
            further: Names that may be there.

        Raises:
            ValueError: If one is missing, if a function wants arguments, or if one raises; with all offenders.
        """
        with Refusals(self.owner) as refusals:
            for name in needed:
                if self._names.get(name) is None:
                    known = [key for key in self._names if not key.startswith("_")]
                    fix = (
                        near_match(name, known) or "Assign it, or define a function without arguments that returns it."
                    )
                    refusals.add(f"{self.path}", f"must define `{name}`", words("nothing by this name"), fix)
            found = {name: self._names[name] for name in (*needed, *further) if self._names.get(name) is not None}
            for name, value in found.items():
                if callable(value) and not _takes_nothing(value):
                    got = words(f"{name}{inspect.signature(value)}")
                    refusals.add(f"{self.path}:{name}", "must be a value or a function without arguments", got)
        with self.told():
            return {name: value() if callable(value) else value for name, value in found.items()}

    @contextlib.contextmanager
    def told(self) -> Iterator[None]:
        """Turns an error that comes from a line of the script into a refusal that names it; others pass.

        Raises:
            ValueError: With the script's line that was reached last.
        """
        try:
            yield
        except (Exception, SystemExit) as error:
            line = self._line(error)
            if line is None:
                raise
            got = words(f"{line}: {type(error).__name__}: {error}")
            raise ValueError(refusal(self.owner, str(self.path), "must run without an error", got)) from error

    def _line(self, error: BaseException) -> str | None:
        """The script's last line on the way to an error, and in which function; None where it was not on the way."""
        own = str(self.path.absolute())
        frames = [one for one in traceback.extract_tb(error.__traceback__) if one.filename == own]
        if isinstance(error, SyntaxError) and error.filename == own:
            return f"line {error.lineno}"
        if not frames:
            return None
        inside = "" if frames[-1].name == "<module>" else f" in {frames[-1].name}"
        return f"line {frames[-1].lineno}{inside}"


def _takes_nothing(function: Any) -> bool:
    """Whether a function can be called without arguments."""
    try:
        inspect.signature(function).bind()
    except TypeError:
        return False
    return True


def _run(path: Path) -> dict[str, Any]:
    """Runs a file as a module of its name, with its folder first in the path and no arguments; what it defines."""
    spec = importlib.util.spec_from_file_location(path.stem, path.absolute())
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} is no module")
    module = importlib.util.module_from_spec(spec)
    # Models that are saved name functions by their module.
    sys.modules[path.stem] = module
    sys.path.insert(0, str(path.parent.resolve()))
    given, sys.argv = sys.argv, [str(path)]
    try:
        spec.loader.exec_module(module)
    finally:
        sys.argv = given
    return vars(module)
