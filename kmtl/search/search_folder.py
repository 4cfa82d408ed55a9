"""The folder of a search: what it was started with, what it measured first, what happened."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kmtl._checks import Refusals, refusal, words
from kmtl.search.trials import write_json

_OWNER = "weights"
_SEARCH, _EVENTS = "search.json", "events.json"


class SearchFolder:
    """The files of a search beside KerasTuner's own.

    Args:
        place: The folder.
        settings: What the search is started with, as JSON values; a folder of another search is refused.

    Attributes:
        place: The same.
    """

    def __init__(self, place: Path, settings: Mapping[str, Any]) -> None:
        self.place = place
        self.settings = json.loads(json.dumps(settings))

    @staticmethod
    def refuse(refusals: Refusals, place: Path) -> None:
        """Records a place that cannot be a folder, since it is a file, or is below one."""
        files = [one for one in (place, *place.parents) if one.exists() and not one.is_dir()]
        if files:
            rule = "must be a folder, new or of this search"
            refusals.add("directory", rule, words(f"the file {str(files[0])!r}"), "Choose another.")

    def clear(self) -> None:
        """Throws an older search away, and nothing else.

        Raises:
            ValueError: If the folder holds files of something else.
        """
        if (self.place / _SEARCH).exists():
            shutil.rmtree(self.place)
        self._check_foreign()

    def _check_foreign(self) -> None:
        """Refuses a folder with files but without a search."""
        if self.place.exists() and any(self.place.iterdir()):
            fix = "Choose another."
            got = words(f"{str(self.place)!r} with files of something else")
            raise ValueError(refusal(_OWNER, "directory", "must be a new folder or one of this search", got, fix))

    def open(self, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Returns what was measured before the first trial; measures it if the folder is new.

        Raises:
            ValueError: If the folder is of another search, or holds files of something else.
        """
        path = self.place / _SEARCH
        if path.exists():
            return self._read(path)
        self._check_foreign()
        measured = measure()
        self.place.mkdir(parents=True, exist_ok=True)
        write_json(path, {"format": 1, "settings": self.settings, "measured": measured})
        return measured

    def has_begun(self) -> bool:
        """Whether a search stands there already."""
        return (self.place / _SEARCH).exists()

    def read_of_chief(self) -> dict[str, Any]:
        """Returns what the chief measured.

        Raises:
            ValueError: If the chief's folder is not seen from here, or the chief's search is another.
        """
        path = self.place / _SEARCH
        if not path.exists():
            fix = "Give the chief and all workers one folder that they all see."
            got = words(f"{str(self.place)!r} without it")
            raise ValueError(refusal(_OWNER, "directory", "must hold the chief's search", got, fix))
        return self._read(path)

    def _read(self, path: Path) -> dict[str, Any]:
        """Reads what was measured; refuses another search."""
        found = json.loads(path.read_text(encoding="utf-8"))
        before = found["settings"]
        changed = [key for key in {**before, **self.settings} if before.get(key) != self.settings.get(key)]
        if changed:
            listed = ", ".join(f"{key} was {before.get(key)!r} and is {self.settings.get(key)!r}" for key in changed)
            fix = "Choose another, or pass overwrite=True to throw the old search away."
            got = words(f"{str(self.place)!r} of another: {listed}")
            raise ValueError(refusal(_OWNER, "directory", "must be a folder of this search", got, fix))
        measured: dict[str, Any] = found["measured"]
        return measured

    def events(self) -> list[str]:
        """What happened since the search was begun, in words."""
        path = self.place / _EVENTS
        return list(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else []

    def say(self, event: str) -> None:
        """Adds to what happened."""
        write_json(self.place / _EVENTS, [*self.events(), event])
