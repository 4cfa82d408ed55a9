"""The trials of a search as they stand on disk."""

import contextlib
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from kmtl import _extras
from kmtl._checks import refusal, words

_OWNER = "weights"
# What the objective is called among a trial's metrics.
SCORE = "score"
# KerasTuner's name for a trial's weights, and ours for what it does not keep.
CHECKPOINT, RECORD = "checkpoint.weights.h5", "record.json"


class Trial(NamedTuple):
    """One trial as it stands on disk.

    Attributes:
        name: KerasTuner's number of it.
        status: `"COMPLETED"`, `"FAILED"`, `"RUNNING"` and the like.
        values: What was drawn.
        origin: The trial that it goes on from, of Hyperband; else an empty string.
        epochs: How many it was trained up to, of Hyperband; else None.
        metrics: `{<task>_<metric>: value}`.
        score: The objective, smaller is better; None if it has none.
        cause: Why it failed, or an empty string.
        worker: Which process ran it last.
        seconds: How long that took; None while it runs.
        place: Its folder.
    """

    name: str
    status: str
    values: dict[str, Any]
    origin: str
    epochs: int | None
    metrics: dict[str, float]
    score: float | None
    cause: str
    worker: str
    seconds: float | None
    place: Path

    @property
    def checkpoint(self) -> Path:
        """The file of its weights."""
        return self.place / CHECKPOINT


def write_json(path: Path, content: Any) -> None:
    """Writes a file whole or not at all: a kill in the middle must not leave half of it.

    Raises:
        OSError: If it cannot be written; names the file, and nothing is left beside it.
    """
    part = path.with_suffix(f".{os.getpid()}.part")
    try:
        part.write_text(json.dumps(content), encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        got = words(f"{path} ({error.strerror or error})")
        fix = "Free some space; the same call goes on from what is there."
        raise OSError(error.errno, refusal(_OWNER, "directory", "must take what is written", got, fix)) from error


def read_trials(place: Path) -> list[Trial]:
    """Reads the trials of a search from its folder, in order of their numbers."""
    keras_tuner = _extras.load("keras_tuner", _OWNER)
    found = []
    for path in sorted(place.glob("trial_*/trial.json")):
        given = keras_tuner.engine.trial.Trial.load(str(path))
        record = path.parent / RECORD
        known = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
        # Their order is lost on the way to a chief.
        metrics = {name: given.metrics.get_best_value(name) for name in sorted(given.metrics.metrics)}
        cause = known.get("cause") or (given.message or "").strip().rpartition("\n")[2]
        drawn = given.hyperparameters.values
        found.append(
            Trial(
                given.trial_id,
                given.status,
                {key: value for key, value in drawn.items() if not key.startswith("tuner/")},
                str(drawn.get("tuner/trial_id", "")),
                drawn.get("tuner/epochs"),
                {name: float(value) for name, value in metrics.items() if value is not None and name != SCORE},
                None if given.status != "COMPLETED" else float(given.score),
                cause if given.status in ("FAILED", "INVALID") else "",
                str(known.get("worker", "")),
                known.get("seconds"),
                path.parent,
            )
        )
    return found


def epochs_of(trials: Sequence[Trial], epochs: int) -> int:
    """How many epochs the trials that ended were trained for; one that was promoted went on where it stood.

    Args:
        trials: The trials.
        epochs: Of each, unless it tells its own.
    """
    until = {trial.name: epochs if trial.epochs is None else trial.epochs for trial in trials}
    ended = [trial for trial in trials if trial.status in ("COMPLETED", "FAILED", "INVALID")]
    return sum(until[trial.name] - until.get(trial.origin, 0) for trial in ended)


def no_success(trials: list[Trial], place: Path) -> RuntimeError:
    """The error of a search without one trial that succeeded; it names the causes."""
    causes = dict.fromkeys(re.sub(r"\s+", " ", trial.cause)[:300] or trial.status.lower() for trial in trials)
    listed = "".join(f"\n  {cause}" for cause in causes) or "\n  there was no trial"
    return RuntimeError(
        refusal(
            _OWNER,
            "build",
            "must make at least one trial succeed",
            words(f"none of {len(trials)} in {str(place)!r}:{listed}"),
        )
    )
