"""The result of a diagnosis: what is wrong with each task, what to do, and the figures behind it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kmtl import _figures
from kmtl._checks import require
from kmtl._table import Result, Table
from kmtl.evidence.diagnosis.causes import UNDECIDED, Finding
from kmtl.evidence.diagnosis.diagnosis_figures import Curves, Measures, PairFigures, TaskFigures

_JOINT, _ALONE = "#1f5fa8", "#d9822b"
_COLUMNS = (
    *("task", "guessing", "training", "training_alone", "validation", "validation_alone", "fall"),
    *("gradient_norm", "share", "weight", "cause"),
)


class Diagnosis(Result):
    """What short trainings, jointly and alone, say of every task.

    Args:
        tasks: The figures of every task.
        pairs: Of every pair whose cosine could be measured.
        told: What `kmtl.evidence.diagnosis.causes.findings` made of them.
        condition: Median condition number of the gradients at the end of the joint trainings; 1 is best.
        cost: How many trainings stand behind it: `{"seeds": S, "trainings": S (K + 1), "epochs": E}`, and `"seconds"`.

    Attributes:
        findings: One a task whose cause shows in every initialisation, by a margin.
        undecided: What lies in between, the same with the cause `"undecided"`.
        tasks: The figures by task.
        pairs: The figures of the pairs.
        condition: The same as given.
        cost: The same as given.

    >>> losses = Curves(np.full((3, 4), 1.0), np.full((3, 4), 1.0), np.full(3, 1.0))
    >>> zoo = TaskFigures("zoo", 1.0, 1.0, losses, losses, np.ones(3), 1.0, np.ones(3), np.ones((3, 4)),
    ...                   np.zeros(3, bool), np.zeros(3, bool))
    >>> found = Finding("zoo", "no signal", "check labels", "'zoo' has no signal.", {})
    >>> Diagnosis([zoo], [], [found], 1.0, {"seeds": 3, "trainings": 6, "epochs": 4, "seconds": 1.0}).findings[0].cause
    'no signal'
    """

    def __init__(
        self,
        tasks: Sequence[TaskFigures],
        pairs: Sequence[PairFigures],
        told: Sequence[Finding],
        condition: float,
        cost: Mapping[str, float],
    ) -> None:
        self.tasks = {task.name: task for task in tasks}
        self.pairs = list(pairs)
        self.findings = [finding for finding in told if finding.cause != UNDECIDED]
        self.undecided = [finding for finding in told if finding.cause == UNDECIDED]
        self.condition, self.cost = condition, dict(cost)

    def of(self, task: str) -> Finding | None:
        """The finding of one task; None if it has none."""
        require(task in self.tasks, "Diagnosis", "task", "must be a task", task)
        return next((finding for finding in self.findings if finding.task == task), None)

    def _row(self, task: TaskFigures) -> dict[str, Any]:
        """The figures of one task, means over the initialisations."""
        seen, found = Measures.of(task, len(self.tasks)), self.of(task.name)
        doubtful = any(finding.task == task.name for finding in self.undecided)
        values = (
            *(task.name, task.guessing, task.joint.fitted.mean(), task.alone.fitted.mean()),
            *(task.joint.validation.min(axis=1).mean(), task.alone.validation.min(axis=1).mean()),
            *(seen.fall.mean * seen.unit, np.mean(task.norm), seen.share.mean / len(self.tasks), np.mean(task.weight)),
            found.cause if found else UNDECIDED if doubtful else "",
        )
        return {
            key: float(value) if isinstance(value, np.floating) else value
            for key, value in zip(_COLUMNS, values, strict=True)
        }

    def parts(self) -> list[str | Table]:
        """What to do, what is undecided, and a row a task."""
        cost = self.cost
        seeds = f"{cost['seeds']} initialisation{'s' * (cost['seeds'] > 1)}"
        head = (
            f"{cost['trainings']} trainings of {cost['epochs']} epochs, {cost['seconds']:.0f} seconds: every task "
            f"alone and all jointly, {seeds}."
        )
        if cost["seeds"] < 2:
            told = ["One initialisation decides nothing: no finding is made. Take seeds=3."]
        else:
            told = [f"{finding.cause} -> {finding.remedy}: {finding.text}" for finding in self.findings]
            told = told or ["Nothing found: no task shows a cause in every initialisation by a margin."]
            told += [f"undecided: {finding.text}" for finding in self.undecided]
        rows = [self._row(task) for task in self.tasks.values()]
        lines = [
            f"condition number of the gradients {self.condition:.4g} (1 is best)",
            *(f"cosine of {pair.task!r} and {pair.other!r} {_cosines(pair)}" for pair in self.pairs),
            "losses at weight 1; `fall`: what the training loss falls by when the joint training's length doubles;",
            "`share`: of the sum of the gradients' lengths under their weights",
        ]
        return [head, *told, "", Table(rows), *lines]

    def conclusions(self) -> list[str]:
        """What was found, and what follows."""
        return [f"{finding.text} What follows: {finding.remedy}." for finding in self.findings]

    def facts(self) -> dict[str, str]:
        """What was trained."""
        return {"diagnosis": f"{self.cost['trainings']} trainings of {self.cost['epochs']} epochs"}

    def pictures(self) -> list[_figures.Picture]:
        """Training and validation curves of every task, jointly beside alone, a line an initialisation."""
        figure, axes = _figures.panels(2 * len(self.tasks), columns=2, width=4.6, height=3.0)
        described = []
        for place, task in enumerate(self.tasks.values()):
            for side, kind in enumerate(("training", "validation")):
                axis = axes[2 * place + side]
                _draw(axis, task, kind)
                axis.set_title(f"{task.name}, {kind} loss", fontsize=10)
            described.append(
                f"{task.name}: training loss {task.joint.fitted.mean():.3g} jointly and {task.alone.fitted.mean():.3g} "
                f"alone, lowest validation loss {task.joint.validation.min(axis=1).mean():.3g} and "
                f"{task.alone.validation.min(axis=1).mean():.3g}"
            )
        axes[0].legend()
        return [_figures.Picture("Losses jointly and alone", figure, ". ".join(described) + ".")]

    def plot(self, path: Any = None) -> Any:
        """Draws the curves; writes them to `path`, or returns the figure."""
        return _figures.save(self.pictures()[0].figure, path)


def _cosines(pair: PairFigures) -> str:
    """Means of the cosines, in words."""
    return f"{np.mean(pair.starts):+.2f} before the first step, {np.mean(pair.cosines):+.2f} in training"


def _draw(axis: Any, task: TaskFigures, kind: str) -> None:
    """Curves of one kind, and the level of guessing."""
    for label, colour, style, curves in (("joint", _JOINT, "-", task.joint), ("alone", _ALONE, "--", task.alone)):
        for at, values in enumerate(_of_kind(curves, kind)):
            axis.plot(range(1, len(values) + 1), values, style, color=colour, label=label if at == 0 else None)
    level = task.guessing if kind == "training" else task.guessing_validation
    axis.axhline(level, color="#777777", linestyle=":", label="guessing")
    axis.set_xlabel("epoch")
    axis.grid(alpha=0.3)


def _of_kind(curves: Curves, kind: str) -> Any:
    """The curves of training or of validation."""
    return curves.training if kind == "training" else curves.validation
