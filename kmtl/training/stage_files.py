"""What a killed recipe finds again: finished stages whole, an interrupted one at its last backup."""

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kmtl._checks import refusal, require, words
from kmtl._replicas import is_first_machine
from kmtl.callbacks.backup import BackupAndRestore
from kmtl.callbacks.backup_files import Backups, read_arrays, write_arrays

_PLAN, _STATE, _NAMES = "recipe.json", "state.npz", "names"


class StageFiles:
    """A folder with one folder a stage.

    Args:
        folder: The folder; made if it is not there.
        owner: Whose arguments a refusal names.
        plan: What must be the same for a training to go on, as plain values.

    Raises:
        ValueError: If the folder holds another training.
        OSError: If it cannot be written.
    """

    def __init__(self, folder: str | os.PathLike[str], owner: str, plan: Mapping[str, Any]) -> None:
        require(bool(os.fspath(folder)), owner, "folder", "must name a folder", folder)
        self.folder, self.owner = Path(os.path.expanduser(folder)), owner
        self._names: set[str] = set()
        told, file = json.dumps(plan, sort_keys=True), self.folder / _PLAN
        self.folder.mkdir(parents=True, exist_ok=True)
        if file.is_file():
            held = json.loads(file.read_text())
            other = [key for key, value in json.loads(told).items() if held.get(key) != value]
            if other:
                got = words("; ".join(f"{key} {held.get(key)!r} there and {plan[key]!r} here" for key in other))
                fix = "Give another folder, or delete this one to start anew."
                raise ValueError(refusal(owner, "folder", "must hold this training", got, fix))
        else:
            beside = file.with_suffix(f".{os.getpid()}")
            beside.write_text(told)
            beside.replace(file)

    def _of(self, stage: str) -> Path:
        """The folder of a stage."""
        name = re.sub(r"[^A-Za-z0-9_-]+", "-", stage)
        require(name not in self._names, self.owner, "stage", "must have a name of its own", stage)
        self._names.add(name)
        return self.folder / name

    def stage(self, name: str, model: Any, fit: Callable[[Any], tuple[dict[str, list[float]], float]]) -> Any:
        """Trains a model, or gives it the state that it had at the end of the stage.

        Args:
            name: Of the stage.
            model: The model.
            fit: Trains it with a further callback; returns logs and seconds.

        Returns:
            Logs by epoch, and seconds: 0 if nothing was left to do.
        """
        folder = self._of(name)
        done = Backups(folder / "finished", keep=1)
        found = next(done.good(), None)
        if found is not None:
            self._load(found[0], model)
            return found[1]["history"], 0.0
        history, seconds = fit(BackupAndRestore(folder / "running", keep=1, delete_checkpoint=False))
        values = [variable.numpy() for variable in model.training_state]
        logs = {key: [float(value) for value in values] for key, values in history.items()}

        def write(path: Path) -> dict[str, Any]:
            write_arrays(path / _STATE, values)
            return {"history": logs}

        if is_first_machine(model.distribute_strategy):
            done.save(1, write)
            shutil.rmtree(folder / "running", ignore_errors=True)
        return history, seconds

    def _load(self, path: Path, model: Any) -> None:
        """Gives a model the state of a file."""
        values, variables = read_arrays(path / _STATE), model.training_state
        shapes = [tuple(value.shape) for value in values], [tuple(variable.shape) for variable in variables]
        fix = "Give another folder, or delete this one to start anew."
        got = words(f"a model of {len(values)} variables there and {len(variables)} here")
        require(shapes[0] == shapes[1], self.owner, "folder", "must hold this training", got, fix)
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)

    def arrays(self, stage: str, compute: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
        """Arrays by name, computed once."""
        backups = Backups(self._of(stage), keep=1)
        found = next(backups.good(), None)
        if found is not None:
            return dict(zip(found[1][_NAMES], read_arrays(found[0] / _STATE), strict=True))
        made = {name: np.asarray(value) for name, value in compute().items()}

        def write(path: Path) -> dict[str, Any]:
            write_arrays(path / _STATE, list(made.values()))
            return {_NAMES: list(made)}

        backups.save(1, write)
        return made
