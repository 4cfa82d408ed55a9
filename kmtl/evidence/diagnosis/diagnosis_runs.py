"""The short trainings of a diagnosis, all tasks jointly and each one alone, under several seeds; what they showed."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from kmtl import data as datasets
from kmtl import gradients
from kmtl.evidence.diagnosis.diagnosis_figures import Curves, PairFigures, TaskFigures
from kmtl.evidence.diagnosis.task_gradients import GradientLook, guessing_level
from kmtl.feeding.label_statistics import DataStatistics
from kmtl.tasks import Task
from kmtl.training.progress import Progress
from kmtl.training.reusable import LastModel
from kmtl.training.trainer import Trainer, scores

# Batches of which the level of guessing is taken.
_LABEL_BATCHES = 200
# Initialisations at whose start the gradients are looked at: without a training they cost next to nothing.
_STARTS = 8
# Outputs whose span is below this share of their size are one output.
_CONSTANT = 1e-6


class Trial(NamedTuple):
    """What is trained.

    Attributes:
        tasks: The tasks, in order.
        train: Training data, a dataset of batches.
        validation: The same for validation.
        epochs: Of each training.
        seeds: Random seeds.
        batches: How many batches of `train` the gradients are measured on.
    """

    tasks: list[Task]
    train: Any
    validation: Any
    epochs: int
    seeds: list[int]
    batches: int


class _Run(NamedTuple):
    """One training: logs by epoch, and by task losses and metrics of the training data at its end."""

    history: dict[str, list[float]]
    scores: dict[str, dict[str, float]]


class GradientProbe(keras.callbacks.Callback):
    """Looks at the tasks' gradients before the first step, after the first epoch, half way and at the end.

    Args:
        look: Of the model that is trained.
        epochs: Of the training.

    Attributes:
        epochs: After how many epochs it looks.
        norms: Median length of each task's gradient under its static weight, one row a look, `(K,)`.
        largest: The largest length of each.
        losses: Mean loss of each, under its static weight.
        cosines: Mean cosine of each pair.
        conditions: Condition number of the gradients that are not 0.
    """

    def __init__(self, look: GradientLook, epochs: int) -> None:
        super().__init__()
        self.look, self.epochs = look, sorted({0, 1, (epochs + 1) // 2, epochs})
        self.norms: list[Any] = []
        self.largest: list[Any] = []
        self.losses: list[Any] = []
        self.cosines: list[dict[tuple[int, int], float]] = []
        self.conditions: list[float] = []

    def on_train_begin(self, logs: Any = None) -> None:
        """Looks at the model as it begins."""
        del logs
        self._measure()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Looks if it is time."""
        del logs
        if epoch + 1 in self.epochs:
            self._measure()

    def _measure(self) -> None:
        """One look."""
        found, cosines = self.look.measure()
        columns = range(len(found.names))
        norms = found.norms
        losses = np.where(found.present, found.losses, np.nan)
        self.norms.append([gradients.over_batches(np.median, norms[:, at]) for at in columns])
        self.largest.append([gradients.over_batches(np.max, norms[:, at]) for at in columns])
        self.losses.append([gradients.over_batches(np.mean, losses[:, at]) for at in columns])
        self.cosines.append({pair: gradients.over_batches(np.mean, values) for pair, values in cosines.items()})
        self.conditions.append(found.condition([at for at in columns if self.largest[-1][at] > 0]))


class Runs:
    """Trains jointly and alone, as many updates each, and keeps what the figures are made of.

    Args:
        trial: What is trained.
        build: `build(tasks)`.
        callbacks: Makes fresh callbacks for each training, or None.
        verbose: As in `fit`.
    """

    def __init__(
        self, trial: Trial, build: Callable[..., Any], callbacks: Callable[[], list[Any]] | None, verbose: Any
    ) -> None:
        self.trial = trial
        trainings = len(trial.seeds) * (1 + len(trial.tasks))
        self.progress = Progress(trainings * trial.epochs, verbose)
        self.trainer = Trainer(build, owner="diagnose", callbacks=callbacks, verbose=verbose, progress=self.progress)
        self.names = [task.name for task in trial.tasks]
        self._last = {name: LastModel() for name in ["", *self.names]}
        self._look: GradientLook | None = None
        self._sets: dict[tuple[str, ...], Any] = {}
        self.static: dict[str, float] = {}
        self.starts: list[dict[tuple[int, int], float]] = []
        self.joint: list[_Run] = []
        self.alone: dict[str, list[_Run]] = {name: [] for name in self.names}
        self.probes: list[GradientProbe] = []
        self.constant: list[dict[str, bool]] = []
        self.guesses: dict[str, tuple[float, float]] = {}

    def model(self, tasks: Sequence[Task], seed: int, place: str) -> Any:
        """A model at the start of a training; one that is traced already if it has the same form."""
        built = self.trainer.model(list(tasks), seed=seed, names=[task.name for task in tasks])
        return self._last[place].reuse(built)

    def look(self, model: Any) -> GradientLook:
        """What looks at the gradients of the joint model."""
        if self._look is None or self._look.model is not model:
            given = model.inspection.partial_feed(self.trial.train, None, None, "diagnose", values=False)
            parts = list(gradients.first_batches(given.x, given.y, given.sample_weight, 32, self.trial.batches))
            self._look = GradientLook(model, parts, "diagnose")
            self._statistics = DataStatistics.of(model.inspection.tasks, given.batches(self.trial.batches))
        return self._look

    def run(self) -> None:
        """All trainings."""
        trial = self.trial
        self.progress.say(f"{len(trial.seeds) * (1 + len(trial.tasks))} trainings of {trial.epochs} epochs each")
        self._begin()
        for seed in trial.seeds:
            self.progress.say(f"Training all tasks jointly, seed {seed}")
            self._joint(seed)
            for task in trial.tasks:
                self.progress.say(f"Training {task.name!r} alone, seed {seed}")
                model = self.model([task.alone()], seed, task.name)
                # Alone a weight is no more than a learning rate.
                model.set_loss_weights({task.name: 1.0})
                self.alone[task.name].append(self._fit(model, [task.name]))

    def _begin(self) -> None:
        """Looks at the gradients of models that no step was taken with."""
        for start in range(len(self.trial.seeds), _STARTS):
            seed = int(np.random.SeedSequence([self.trial.seeds[0], start]).generate_state(1)[0])
            model = self.model(self.trial.tasks, seed, "")
            look, inspection = self.look(model), model.inspection
            # The scales of a new model; each training learns them anew.
            inspection.learn_scales(self._statistics, inspection.unlearned())
            cosines = look.measure()[1]
            self.starts.append({pair: gradients.over_batches(np.mean, values) for pair, values in cosines.items()})

    def _joint(self, seed: int) -> None:
        """The joint training of one seed."""
        model = self.model(self.trial.tasks, seed, "")
        self.static = {name: model.loss_weights[name] for name in self.names}
        probe = GradientProbe(self.look(model), self.trial.epochs)
        self.joint.append(self._fit(model, self.names, probe))
        self.probes.append(probe)
        self.constant.append(_constant_outputs(model, next(x for x, *_ in self.trial.validation.take(1))))
        if not self.guesses:
            levels = [_guessing(model, self.names, data) for data in (self.trial.train, self.trial.validation)]
            self.guesses = {name: (levels[0][name], levels[1][name]) for name in self.names}

    def _fit(self, model: Any, names: list[str], *callbacks: Any) -> _Run:
        """One training."""
        key = tuple(names)
        if key not in self._sets:
            self._sets[key] = [datasets.only(data, names) for data in (self.trial.train, self.trial.validation)]
        train, validation = self._sets[key]
        history, _ = self.trainer.fit(
            model, train, epochs=self.trial.epochs, validation=validation, callbacks=list(callbacks)
        )
        return _Run(history, scores(model, train, losses=True))

    def figures(self) -> list[TaskFigures]:
        """What the trainings showed of each task."""
        return [self._figures(place, task) for place, task in enumerate(self.trial.tasks)]

    def _figures(self, place: int, task: Task) -> TaskFigures:
        """What they showed of one task."""
        name = task.name
        pulls, norms = self._pulls(), np.array([probe.norms for probe in self.probes])
        largest = np.array([probe.largest for probe in self.probes])
        static = self.static[name]
        start = float(np.mean([probe.losses[0][place] for probe in self.probes])) / static if static else float("nan")
        level = [start if np.isnan(guess) else guess for guess in self.guesses[name]]
        return TaskFigures(
            name,
            level[0],
            level[1],
            _curves(self.joint, name),
            _curves(self.alone[name], name),
            np.array([np.nanmean(run.history.get(f"{name}_weight", [static])) for run in self.joint]),
            static,
            norms[:, -1, place] / (static or np.nan),
            pulls[:, :, place] / np.nansum(pulls, axis=2),
            (np.nan_to_num(largest[:, :, place]) <= 1e-12 * np.nanmax(largest, axis=(1, 2))[:, None]).all(axis=1),
            np.array([constant[name] for constant in self.constant]),
        )

    def _pulls(self) -> Any:
        """Length of each task's gradient under the weights of its time, `(S, P, K)`."""
        pulls = np.array([probe.norms for probe in self.probes], "float64")
        for seed, (probe, run) in enumerate(zip(self.probes, self.joint, strict=True)):
            for place, name in enumerate(self.names):
                logs = run.history.get(f"{name}_weight")
                for at, epoch in enumerate(probe.epochs):
                    if logs and self.static[name]:
                        pulls[seed, at, place] *= logs[max(epoch - 1, 0)] / self.static[name]
        return pulls

    def pairs(self) -> list[PairFigures]:
        """What they showed of each pair of tasks."""
        keys = sorted({pair for probe in self.probes for looked in probe.cosines for pair in looked})
        starts = [*(probe.cosines[0] for probe in self.probes), *self.starts]
        return [
            PairFigures(
                self.names[one],
                self.names[other],
                np.array([look.get((one, other), np.nan) for look in starts]),
                np.array([[look.get((one, other), np.nan) for look in probe.cosines[1:]] for probe in self.probes]),
            )
            for one, other in keys
        ]


def _curves(runs: Sequence[_Run], name: str) -> Curves:
    """Of one task, over the seeds."""
    training, validation = (np.array([run.history[f"{kind}{name}_loss"] for run in runs]) for kind in ("", "val_"))
    found = [run.scores[name] for run in runs]
    metrics = {key: float(np.mean([scored[key] for scored in found])) for key in found[0] if key != "loss"}
    return Curves(training, validation, np.array([scored["loss"] for scored in found]), metrics)


def _guessing(model: Any, names: Sequence[str], data: Any) -> dict[str, float]:
    """The loss of the best constant output of each task on data."""
    parts = list(data.take(_LABEL_BATCHES).as_numpy_iterator())
    labels = [part[1] for part in parts]
    given = [part[2] if len(part) > 2 else {} for part in parts]
    weights = [part if isinstance(part, dict) else dict.fromkeys(names, part) for part in given]
    return {name: guessing_level(model, name, labels, weights) for name in names}


def _constant_outputs(model: Any, inputs: Any) -> dict[str, bool]:
    """Whether a task's output is the same for every example of a batch."""
    outputs = model(inputs, training=False)
    return {name: _is_constant(output) for name, output in outputs.items()}


def _is_constant(output: Any) -> bool:
    """Whether all rows of every tensor are alike."""
    arrays = [np.asarray(part, "float64") for part in keras.tree.flatten(output)]
    return all(len(part) > 1 and np.ptp(part, axis=0).max() <= _CONSTANT * np.abs(part).max() for part in arrays)
