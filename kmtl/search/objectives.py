"""What a search makes small: numbers that loss weights cannot fool."""

from collections.abc import Callable, Mapping
from typing import Any

from kmtl._checks import Refusals, is_number, near, refusal, require, words
from kmtl.metrics import check_baselines, delta_m
from kmtl.tasks import Task

Scores = Mapping[str, Mapping[str, float]]
_OWNER = "weights"


class DeltaM:
    """Mean relative change of all metrics against single-task models, in percent; `kmtl.metrics.delta_m`.

    Args:
        baselines: `{task: {metric: value}}` of single-task models on the validation set, for every task, as
            `kmtl.evidence.compare(...).baselines` gives them; None lets the search train them under its own budget.
    """

    def __init__(self, baselines: Scores | None = None) -> None:
        self.baselines = baselines

    def score(self, scores: Scores, tasks: Mapping[str, Task]) -> float:
        """Returns percent; negative is better than single-task."""
        return delta_m(scores, self.baselines or {}, list(tasks.values()))

    def check(self, tasks: Mapping[str, Task], known: Mapping[str, list[str]]) -> None:
        """Refuses baselines that do not fit the tasks and their metrics; those to be trained are not there yet."""
        if self.baselines is None:
            return
        check_baselines(self.baselines, tasks, _OWNER)
        with Refusals(_OWNER) as refusals:
            for name in tasks:
                if name not in self.baselines:
                    fix = "Without it the search would drive the task's weight towards 0."
                    refusals.add("baselines", "must cover every task", words(f"none for {name!r}"), fix)
            for name, metrics in self.baselines.items():
                _check_metrics(refusals, "baselines", tasks[name], metrics, known)

    def needs(self) -> bool:
        """Whether single-task models must be trained first."""
        return self.baselines is None

    def __repr__(self) -> str:
        """What it was made with."""
        return f"DeltaM({'trained' if self.baselines is None else _plain(self.baselines)})"


class Constrained:
    """One metric as good as possible while others stay near their baselines.

        score = m / (1 + |m|) < 1,     if every kept metric is within its share of its baseline
        score = 1 + sum of the excesses,   if not; an excess is relative to the baseline

    with `m` the metric, negated where more is better. So a score below 1 says that everything was kept.

    Args:
        task: Whose metric is to be good.
        metric: Which metric.
        keep: `{task: {metric: share}}`: how much worse than its baseline it may be; 0.01 is one percent of it.
        baselines: `{task: {metric: value}}` for what is kept; None lets the search train single-task models.

    >>> from kmtl.tasks import Classification, Regression
    >>> tasks = {"digit": Classification("digit", 10), "angle": Regression("angle")}
    >>> best = Constrained("digit", "accuracy", keep={"angle": {"mae": 0.1}}, baselines={"angle": {"mae": 2.0}})
    >>> best.score({"digit": {"accuracy": 0.9}, "angle": {"mae": 2.1}}, tasks) < 0
    True
    >>> round(best.score({"digit": {"accuracy": 0.9}, "angle": {"mae": 2.3}}, tasks), 3)
    1.05
    """

    def __init__(self, task: str, metric: str, *, keep: Scores, baselines: Scores | None = None) -> None:
        self.task = task
        self.metric = metric
        self.keep = keep
        self.baselines = baselines

    def score(self, scores: Scores, tasks: Mapping[str, Task]) -> float:
        """Returns the number to make small."""
        excess = 0.0
        for name, shares in self.keep.items():
            for metric, share in shares.items():
                base = float((self.baselines or {})[name][metric])
                worse = _sign(tasks[name], metric) * (scores[name][metric] - base) / abs(base)
                excess += max(0.0, worse - share)
        value = _sign(tasks[self.task], self.metric) * scores[self.task][self.metric]
        return 1.0 + excess if excess > 0 else value / (1.0 + abs(value))

    def check(self, tasks: Mapping[str, Task], known: Mapping[str, list[str]]) -> None:
        """Refuses tasks, metrics, shares and baselines that do not fit."""
        if self.baselines is not None:
            check_baselines(self.baselines, tasks, _OWNER)
        with Refusals(_OWNER) as refusals:
            if self.task not in tasks:
                refusals.add("objective", "must name a task", self.task, near(str(self.task), tasks))
            else:
                _check_metrics(refusals, "objective", tasks[self.task], [self.metric], known)
            self._check_kept(refusals, tasks, known)

    def _check_kept(self, refusals: Refusals, tasks: Mapping[str, Task], known: Mapping[str, list[str]]) -> None:
        """Records what is wrong with what is to be kept."""
        if not isinstance(self.keep, Mapping) or not self.keep or set(self.keep) == {self.task}:
            fix = "Alone, the best weight of all other tasks is 0."
            refusals.add("objective", "must keep a metric of another task", self.keep, fix)
            return
        for name, shares in self.keep.items():
            if name not in tasks:
                refusals.add("objective", "must keep metrics of tasks", name, near(str(name), tasks))
                continue
            if not isinstance(shares, Mapping) or not all(is_number(one) and one >= 0 for one in shares.values()):
                refusals.add("objective", f"must keep {{metric: share}} of {name!r}, shares of at least 0", shares)
                continue
            _check_metrics(refusals, "objective", tasks[name], shares, known)
            for metric in shares:
                if self.baselines is not None and metric not in self.baselines.get(name, {}):
                    refusals.add("baselines", f"must hold {metric!r} of {name!r}", words("none"))

    def needs(self) -> bool:
        """Whether single-task models must be trained first."""
        return self.baselines is None

    def __repr__(self) -> str:
        """What it was made with."""
        base = "trained" if self.baselines is None else _plain(self.baselines)
        return f"Constrained({self.task!r}, {self.metric!r}, keep={_plain(self.keep)}, baselines={base})"


class Custom:
    """A function of the user's as an objective.

    Args:
        function: Takes `{task: {metric: value}}`, `"loss"` (unweighted) among the metrics; smaller is better.
    """

    baselines: Scores | None = None

    def __init__(self, function: Callable[[Scores], Any]) -> None:
        self.function = function

    def score(self, scores: Scores, tasks: Mapping[str, Task]) -> float:
        """Calls it."""
        del tasks
        return float(self.function({name: dict(found) for name, found in scores.items()}))

    def check(self, tasks: Mapping[str, Task], known: Mapping[str, list[str]]) -> None:
        """Calls it once with ones, so that a task or a metric that is not there shows."""
        try:
            self.score({name: dict.fromkeys(known[name], 1.0) for name in tasks}, tasks)
        except KeyError as error:
            fix = f"There are {dict(known)}."
            got = words(f"a function that asks for {error}")
            raise ValueError(
                refusal(_OWNER, "objective", "must use tasks and metrics that are there", got, fix)
            ) from error
        except (TypeError, ValueError) as error:
            rule = "must be a function of {task: {metric: value}} to a number"
            raise ValueError(refusal(_OWNER, "objective", rule, words(repr(self)), f"It says: {error}")) from error
        except ArithmeticError:
            # Ones are no measured values: what they divide by zero the real ones may not.
            return

    def needs(self) -> bool:
        """Whether single-task models must be trained first."""
        return False

    def __repr__(self) -> str:
        """The function's name."""
        return str(getattr(self.function, "__qualname__", type(self.function).__name__))


Objective = DeltaM | Constrained | Custom


def objective_of(given: Any) -> Objective:
    """Returns an objective from its name, an object or a function.

    Raises:
        ValueError: If it is the weighted loss, another log key, or nothing that makes a number.

    >>> objective_of("delta_m")
    DeltaM(trained)
    >>> objective_of("val_loss")
    Traceback (most recent call last):
    ...
    ValueError: weights: `objective` must not be the weighted loss, got 'val_loss'. It falls when a weight falls...
    """
    if isinstance(given, DeltaM | Constrained | Custom):
        return given
    if given == "delta_m":
        return DeltaM()
    fix = "It falls when a weight falls, whatever becomes of the tasks. Use 'delta_m'."
    require(given not in ("val_loss", "loss"), _OWNER, "objective", "must not be the weighted loss", given, fix)
    fix = "One metric of one task drives the other weights to 0: use kmtl.search.Constrained(task, metric, keep=...)."
    require(callable(given), _OWNER, "objective", "must be 'delta_m', DeltaM, Constrained or a function", given, fix)
    return Custom(given)


def _check_metrics(refusals: Refusals, argument: str, task: Task, metrics: Any, known: Mapping[str, list[str]]) -> None:
    """Records metrics that a task does not report, or whose better end nobody knows."""
    for metric in metrics:
        if metric not in known[task.name]:
            refusals.add(argument, f"must name metrics of {task.name!r}", metric, near(str(metric), known[task.name]))
            continue
        try:
            _sign(task, metric)
        except ValueError as error:
            refusals.add(argument, f"must name metrics of {task.name!r} with a better end", metric, str(error))


def _sign(task: Task, metric: str) -> float:
    """1 where less is better, -1 where more is."""
    return 1.0 if metric == "loss" or task.direction(metric) == "min" else -1.0


def _plain(scores: Scores) -> dict[str, dict[str, float]]:
    """The same as plain dicts, in alphabetical order: a fingerprint must not depend on the order of typing."""
    return {name: {key: float(found[key]) for key in sorted(found)} for name, found in sorted(scores.items())}
