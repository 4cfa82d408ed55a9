"""A comparison on disk: its runs, found again by what made them, and what it was of."""

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import keras

from kmtl._checks import Refusals, refusal, require, words
from kmtl.evidence.comparisons.comparison import Comparison
from kmtl.evidence.comparisons.run_claims import claim
from kmtl.tasks import Task
from kmtl.training.same_build import first_difference
from kmtl.training.trainer import Run

COMPARISON, _RUN, _MODEL, _FORMAT = "comparison.json", "run.json", "model.keras", 1
BUILT = "built model"
_SHOWN = 160


class ComparisonFolder:
    """A folder with one folder a run, named by a digest of its configuration, and `comparison.json` that lists them.

    Args:
        folder: The folder; made if it is not there.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     files = ComparisonFolder(folder)
    ...     place = files.place({"recipe": "Joint", "seed": 0})
    ...     files.save(place, Run(("age",), 0, {"age": {"mae": 1.0}}, {}, 2.0, 10), {"recipe": "Joint"}, None)
    ...     files.load(place).scores
    {'age': {'mae': 1.0}}
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        require(bool(os.fspath(folder)), "compare", "folder", "must name a folder", folder)
        self.folder = Path(os.path.expanduser(folder))
        self.folder.mkdir(parents=True, exist_ok=True)

    def place(self, configuration: Mapping[str, Any]) -> Path:
        """The folder of a run: another configuration, another folder."""
        told = json.dumps(configuration, sort_keys=True, default=repr)
        return self.folder / hashlib.sha256(told.encode()).hexdigest()[:16]

    def load(self, place: Path) -> Run | None:
        """A finished run, or None."""
        file = place / _RUN
        if not file.is_file():
            return None
        held = json.loads(file.read_text())["run"]
        return Run(**{**held, "tasks": tuple(held["tasks"])})

    def stages(self, place: Path) -> Path:
        """Where a run that is not finished keeps its stages."""
        return place / "stages"

    def save(self, place: Path, run: Run, configuration: Mapping[str, Any], model: Any) -> None:
        """Writes a finished run, and its model if one is given; what its stages kept is not needed any more."""
        place.mkdir(parents=True, exist_ok=True)
        if isinstance(model, keras.Model):
            _save(model, place / _MODEL)
        write_json(place / _RUN, {"run": run._asdict(), "configuration": configuration})
        shutil.rmtree(self.stages(place), ignore_errors=True)

    def model(self, place: Path) -> Any:
        """The saved model of a run, or None."""
        file = place / _MODEL
        return keras.saving.load_model(file) if file.is_file() else None

    def plan(self) -> dict[str, Any] | None:
        """What `comparison.json` holds, or None."""
        file = self.folder / COMPARISON
        return json.loads(file.read_text()) if file.is_file() else None

    def begin(self, shared: Mapping[str, Any], rows: Mapping[str, Mapping[str, Any]], baseline: str) -> None:
        """Writes what a comparison is of; rows and seeds may join those that are there.

        Args:
            shared: What is the same for all runs, as JSON values.
            rows: `{name: {"configuration": what makes the row, "runs": {seed: folder}}}`.
            baseline: The row that the others are held against.

        Raises:
            ValueError: If the folder holds another comparison; what differs is told.
        """
        wanted = json.loads(json.dumps({"shared": shared, "rows": rows}, default=repr))
        # Another process of the same script may be as far.
        with claim(self.folder, wait=True):
            held = self.plan() or {"shared": wanted["shared"], "rows": {}}
            _refuse_others(held, wanted)
            joined = dict(held["rows"])
            for name, row in wanted["rows"].items():
                runs = {**joined.get(name, {}).get("runs", {}), **row["runs"]}
                joined[name] = {**row, "runs": runs}
            plan = {"format": _FORMAT, "baseline": baseline, "shared": wanted["shared"], "rows": joined}
            write_json(self.folder / COMPARISON, plan)


def _save(model: Any, file: Path) -> None:
    """Saves a model, unless one of its layers cannot tell its settings: the scores are kept all the same."""
    beside = file.with_name(f"{os.getpid()}-{file.name}")
    try:
        model.save(beside)
        beside.replace(file)
    except NotImplementedError:
        beside.unlink(missing_ok=True)


def write_json(file: Path, value: Any) -> None:
    """Writes JSON in one step: a reader, or a kill, sees all of it or what was there before.

    Args:
        file: Where it goes.
        value: What is written.
    """
    beside = file.with_name(f"{file.name}.{os.getpid()}")
    beside.write_text(json.dumps(value, default=repr))
    beside.replace(file)


def _refuse_others(held: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Refuses a folder of another comparison, or rows of one name that are trained otherwise."""
    told = list(_differences(held["shared"], wanted["shared"], ""))
    for name, row in wanted["rows"].items():
        if name in held["rows"]:
            there, here = held["rows"][name]["configuration"], row["configuration"]
            told += list(_differences(there, here, f"{name!r} "))
    with Refusals("compare") as refusals:
        if told:
            fix = "Give another folder, another name to the row, or delete the folder to start anew."
            refusals.add("folder", "must hold this comparison, with fewer rows or seeds", words("; ".join(told)), fix)


def _differences(there: Any, here: Any, path: str) -> Iterator[str]:
    """What differs between two nested configurations, in words."""
    if there == here:
        return
    if isinstance(there, Mapping) and isinstance(here, Mapping):
        for key in dict.fromkeys([*there, *here]):
            yield from _differences(there.get(key), here.get(key), f"{path}{key} ")
    elif path.endswith(f"{BUILT} "):
        # A model that cannot tell its settings may be the same.
        if there is not None and here is not None:
            changed = first_difference(json.loads(there), json.loads(here)).replace(", then ", " there and ", 1)
            yield f"{path}{changed} here"
    else:
        yield f"{path}{_short(there)} there and {_short(here)} here"


def _short(value: Any) -> str:
    """A value as a message shows it."""
    text = "some" if isinstance(value, Mapping) else repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]} ..."


def load_comparison(place: Path) -> Comparison:
    """Reads a comparison back; nothing is built or trained.

    Args:
        place: Its folder.

    Returns:
        A `Comparison` of all rows under all seeds, of a comparison that was stopped under those that every row has
        finished. Models are read when they are asked for.

    Raises:
        ValueError: If there is no seed under which every row is finished.
    """
    files = ComparisonFolder(place)
    plan = files.plan() or {}
    found = {
        name: {int(seed): files.load(place / run) for seed, run in row["runs"].items()}
        for name, row in plan["rows"].items()
    }
    seeds = _finished_seeds(found)
    runs = {name: [run for seed in seeds if (run := row[seed])] for name, row in found.items()}
    first = {name: place / row["runs"][str(seeds[0])] for name, row in plan["rows"].items()}
    models = {name: lambda one=one: files.model(one) for name, one in first.items()}
    return Comparison(tasks_again(plan["shared"]["tasks"].values()), runs, plan["baseline"], models)


def _finished_seeds(found: Mapping[str, Mapping[int, Run | None]]) -> list[int]:
    """The seeds under which every row is finished; warns of runs that are not."""
    seeds = list(dict.fromkeys(seed for row in found.values() for seed in row))
    finished = [seed for seed in seeds if all(row.get(seed) for row in found.values())]
    left = [f"{name!r} under seed {seed}" for name, row in found.items() for seed in seeds if not row.get(seed)]
    fix = "Run the script again: finished runs are not repeated."
    got = words(f"none; {len(left)} runs are missing")
    require(bool(finished), "load", "folder", "must hold a seed under which every row is finished", got, fix)
    if left:
        told = ", ".join(left[:3]) + (f" and {len(left) - 3} more" if len(left) > 3 else "")
        text = f"load: not finished: {told}; only seeds under which every row is finished are read. {fix}"
        warnings.warn(text, UserWarning, stacklevel=3)
    return finished


def tasks_again(configurations: Iterable[Any]) -> list[Task]:
    """The tasks that a file tells; it runs no code.

    Args:
        configurations: As Keras serializes them.
    """
    try:
        return [keras.saving.deserialize_keras_object(one, safe_mode=True) for one in configurations]
    except (TypeError, ValueError, ModuleNotFoundError, ImportError, AttributeError) as error:
        fix = "Import what registers your own kinds, losses and metrics first."
        rule = "must hold tasks that can be made again"
        raise ValueError(refusal("load", "folder", rule, words(str(error)[:_SHOWN]), fix)) from error
