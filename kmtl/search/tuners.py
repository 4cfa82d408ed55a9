"""A search by KerasTuner: how the tuner is made, and what is mended in it."""

import contextlib
import inspect
import io
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kmtl import _extras
from kmtl._checks import is_whole, near, require, words
from kmtl.search import _keras_tuner_private
from kmtl.search.halving import make_halving
from kmtl.search.hypermodel import Trainee
from kmtl.search.trials import CHECKPOINT, RECORD, SCORE, write_json

_OWNER = "weights"
_TUNERS = {"random": "RandomSearch", "bayesian": "BayesianOptimization"}
# These go on from the weights of an earlier trial.
_PROMOTING = ("hyperband", "halving")
_PAUSE = 0.2


def load_keras_tuner(tuner: Any) -> Any:
    """Imports KerasTuner and what it needs but does not ask for.

    Raises:
        ImportError: With the line that installs what is not there.
    """
    keras_tuner = _extras.load("keras_tuner", _OWNER)
    # KerasTuner imports it in every trial, whether it is used or not, and so every trial would fail.
    _extras.load("tensorboard", _OWNER)
    if tuner == "bayesian":
        _extras.load("sklearn", _OWNER)
    return keras_tuner


def make_tuner(tuner: Any, trainee: Trainee, place: Path, max_trials: int | None, epochs: int, seed: int) -> Any:
    """Makes the tuner over a trainee, resumed if the folder holds its trials.

    Args:
        tuner: A name, a class of tuners, or a function that is called as the class would be.
        trainee: What a trial does.
        place: The search's folder.
        max_trials: How many trials; of halving, how many candidates begin; None for Hyperband, which counts by itself.
        epochs: Of a trial, at most.
        seed: Of what is drawn.
    """
    keras_tuner = load_keras_tuner(tuner)
    make, limit = _constructor(keras_tuner, tuner, max_trials, epochs)
    settings = {
        "objective": keras_tuner.Objective(SCORE, "min"),
        "directory": str(place.parent),
        "project_name": place.name,
        # KerasTuner takes a seed of 0 for none.
        "seed": seed + 1,
        "overwrite": False,
        # Failures are told at the end; KerasTuner would end the search, and its chief would hang.
        "max_consecutive_failed_trials": 10**9,
        **limit,
    }
    has_trials = (place / "oracle.json").exists()
    # It tells what it reloads whatever it is told.
    silent = contextlib.redirect_stdout(io.StringIO()) if trainee.trainer.verbose == 0 else contextlib.nullcontext()
    with silent:
        made = make(_hypermodel(keras_tuner, trainee), **_settings_for(make, settings))
    rule = "must make a keras_tuner.Tuner"
    require(isinstance(made, keras_tuner.Tuner), _OWNER, "tuner", rule, words(type(made).__name__))
    # A worker's oracle is a line to the chief.
    is_worker = not isinstance(made.oracle, keras_tuner.Oracle)
    if has_trials and not is_worker and not made.oracle.trials:
        # Under another role than before the tuner does not find its own file; the trials are there all the same.
        made.oracle.reload()
    _mend(made, trainee, is_worker)
    return made


def _constructor(keras_tuner: Any, tuner: Any, max_trials: int | None, epochs: int) -> tuple[Any, dict[str, Any]]:
    """What makes the tuner, and the settings by which it knows when to end."""
    if tuner == "halving":
        return make_halving(keras_tuner), {"candidates": max_trials, "max_epochs": epochs}
    if tuner == "hyperband":
        return keras_tuner.Hyperband, {"max_epochs": epochs}
    make = getattr(keras_tuner, _TUNERS[tuner]) if isinstance(tuner, str) else tuner
    return make, {"max_trials": max_trials}


def check_tuner(tuner: Any, max_trials: Any, validation: Any) -> None:
    """Refuses an unknown name, and what Hyperband cannot do."""
    names = (*_TUNERS, *_PROMOTING)
    fix = near(tuner, names) if isinstance(tuner, str) else "Give a name, a class of tuners or a function."
    good = tuner in names if isinstance(tuner, str) else callable(tuner)
    require(good, _OWNER, "tuner", "must be a known name, a keras_tuner.Tuner class or a function", tuner, fix)
    fix = "Hyperband counts its trials by the epochs: leave it out."
    require(tuner != "hyperband" or max_trials is None, _OWNER, "max_trials", "must be None here", max_trials, fix)
    fix = "It goes on from one model's weights: take another tuner."
    rule = f"must be a dataset for {tuner!r}"
    require(tuner not in _PROMOTING or not is_whole(validation), _OWNER, "validation", rule, validation, fix)


def _settings_for(make: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a tuner's constructor takes; those of its bases go through its keyword arguments."""
    parameters = inspect.signature(make).parameters
    if any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values()):
        return dict(settings)
    return {key: value for key, value in settings.items() if key in parameters}


def _hypermodel(keras_tuner: Any, trainee: Trainee) -> Any:
    """A trainee as KerasTuner knows it."""

    class Weighted(keras_tuner.HyperModel):
        def build(self, hp: Any) -> Any:
            return trainee.build(hp)

        def fit(self, hp: Any, model: Any, *, epochs: int, initial_epoch: int = 0, **given: Any) -> Any:
            # KerasTuner's checkpoints are of every epoch; the trainee writes the last one to the same place.
            others = [one for one in given.get("callbacks", []) if not _keras_tuner_private.is_best_epoch_callback(one)]
            return trainee.fit(hp, model, epochs, initial_epoch, others)

    return Weighted()


def _mend(tuner: Any, trainee: Trainee, is_worker: bool) -> None:
    """Has each trial leave a record, and the files be written whole or not at all."""
    run, end = tuner.run_trial, tuner.on_trial_end
    causes: dict[str, dict[str, Any]] = {}

    def run_trial(trial: Any, *args: Any, **kwargs: Any) -> Any:
        trainee.checkpoint = Path(tuner.get_trial_dir(trial.trial_id)) / CHECKPOINT
        causes[trial.trial_id] = known = {"worker": tuner.tuner_id, "cause": "", "seconds": None}
        started = time.perf_counter()
        try:
            return run(trial, *args, **kwargs)
        except Exception as error:
            known["cause"] = f"{type(error).__name__}: {error}"
            raise
        finally:
            known["seconds"] = time.perf_counter() - started

    def on_trial_end(trial: Any) -> None:
        # A worker's message does not reach the chief; the record does.
        write_json(Path(tuner.get_trial_dir(trial.trial_id)) / RECORD, causes.get(trial.trial_id, {}))
        end(trial)

    tuner.run_trial, tuner.on_trial_end = run_trial, on_trial_end
    # A worker that is told to wait asks again at once, and keeps the chief busy.
    tuner.pre_create_trial = lambda: time.sleep(_PAUSE if is_worker else 0.0)
    if not is_worker:
        _keras_tuner_private.write_whole(tuner.oracle, write_json)
        _keras_tuner_private.settle(tuner.oracle)
