"""Which cause the figures of a task name, if they name one: pure rules over several initialisations."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from kmtl.evidence.diagnosis.diagnosis_figures import Measures, PairFigures, Range, TaskFigures, Together

# In units of what was learned at best: a smaller gap is not worth a remedy.
_GAP, _HARM = 0.1, 0.02
# How clearly a training twice as long leaves more, or less, than half of the gap.
_OPEN = 0.02
# A loss that falls by more when the training doubles is not done; the validation has to follow.
_FALL, _VALIDATION_FALL = 0.1, 0.05
# Less below guessing, in every training, is nothing learned; less in a training twice as long is no prospect.
_LEARNED, _PROSPECT = 0.08, 0.1
# How much of what is learned does not carry over, and how much the validation lost since its best epoch.
_SPREAD, _RISE = 0.2, 0.1
# A fifth of an equal share of the pull.
_STARVED = 0.2
# A mean cosine below the first opposes; one below the second that the interval leaves open may.
_OPPOSED, _PERHAPS_OPPOSED = -0.1, -0.3
UNDECIDED = "undecided"


class Finding(NamedTuple):
    """What is wrong with one task, and what to do.

    Attributes:
        task: Its name.
        cause: `"narrow trunk"`, `"short training"`, `"no signal"`, `"dead"`, `"starved"`, `"conflict"`, `"overfit"`;
            or `"undecided"`.
        remedy: `"widen"`, `"lengthen"`, `"check labels"`, `"mend the graph"`, `"weigh"`, `"split off"`, `"regularise"`;
            empty where it is undecided.
        text: The same in words, with the figures.
        figures: What it stands on, by name.
    """

    task: str
    cause: str
    remedy: str
    text: str
    figures: Mapping[str, Any]


class Case(NamedTuple):
    """One task, what follows from its figures and from those of all, and the pairs that it is in."""

    task: TaskFigures
    seen: Measures
    together: Together
    pairs: list[PairFigures]
    number: int

    def found(self, cause: str, remedy: str, text: str, **figures: Any) -> Finding:
        """A finding; its figures are means."""
        told = {name: value.mean if isinstance(value, Range) else value for name, value in figures.items()}
        return Finding(self.task.name, cause, remedy, f"{self.task.name!r} {text}", told)

    def undecided(self, text: str, **figures: Any) -> Finding:
        """What the initialisations do not agree on."""
        return self.found(UNDECIDED, "", text, **figures)

    @property
    def losses(self) -> str:
        """Training and validation losses beside those alone, in words."""
        joint, alone = self.task.joint, self.task.alone
        metric = next((name for name in joint.metrics if name in alone.metrics), None)
        more = "" if metric is None else f" ({metric} {joint.metrics[metric]:.3g}, alone {alone.metrics[metric]:.3g})"
        return (
            f"training loss {Range.over(joint.fitted)}, alone {Range.over(alone.fitted)}{more}, guessing "
            f"{self.task.guessing:.3g}; validation {Range.over(joint.validation.min(axis=1))}, alone "
            f"{Range.over(alone.validation.min(axis=1))}"
        )


def findings(tasks: Sequence[TaskFigures], pairs: Sequence[PairFigures]) -> list[Finding]:
    """One finding a task whose figures name a cause in every initialisation, and one a doubt about the others.

    The rules go from what spoils the others to what is left: a task that is dead or sits out, labels without a signal,
    a task that joint training holds back, a training that is not done, one that went too far.

    Args:
        tasks: The figures of every task.
        pairs: Of every pair whose cosine could be measured.
    """
    found, together = [], Together.of(tasks)
    for task in tasks:
        own = [pair for pair in pairs if task.name in (pair.task, pair.other)]
        case = Case(task, Measures.of(task, len(tasks)), together, own, len(tasks))
        told = [finding for rule in _RULES for finding in [rule(case)] if finding is not None]
        decided = [finding for finding in told if finding.cause != UNDECIDED]
        found += decided[:1] or told
    return found


def _dead(case: Case) -> Finding | None:
    """A task whose weight is 0, that moves nothing that is shared, or whose output says nothing."""
    task = case.task
    if task.static == 0:
        return case.found("starved", "weigh", "sits out: its loss weight is 0. Give it one.", weight=0.0)
    if abs(task.guessing) <= 1e-6 or len(task.unreached) < 2:
        return None
    count, among = task.unreached | task.constant, f"{int((task.unreached | task.constant).sum())} of {len(task.norm)}"
    if count.all():
        sign = "no gradient of it reaches the shared weights" if task.unreached.all() else "its output is constant"
        return case.found(
            "dead",
            "mend the graph",
            f"is dead: {sign}, in every initialisation. No balancer, weight or width changes that: look for a stopped "
            "gradient, or for units that are always 0, between trunk and head.",
            dead=1.0,
        )
    if count.any():
        return case.undecided(f"is dead in {among} initialisations: look at how its head begins.", dead=count.mean())
    return None


def _unlearned(case: Case) -> Finding | None:
    """Labels that nothing is learned of, jointly or alone, while nothing is on its way."""
    seen = case.seen
    told = (
        f"the lowest validation loss, joint or alone, is {_percent(seen.learned)} below guessing "
        f"({case.task.guessing_validation:.3g})"
    )
    if seen.learned.low >= _LEARNED or np.isnan(seen.learned.mean) or np.isinf(seen.learned.low):
        return None
    figures = {"learned": seen.learned, "prospect": seen.prospect}
    if seen.learned.high < _LEARNED and seen.prospect.high < _PROSPECT:
        fix = "Check its labels: shuffled apart, a wrong column, or nothing in the inputs that they follow from."
        return case.found("no signal", "check labels", f"has no signal: {told}, and falls no further. {fix}", **figures)
    if seen.learned.high < _LEARNED and seen.validation_fall.low <= _VALIDATION_FALL:
        return case.undecided(f"has learned nothing yet: {told}. Train longer to see whether it will.", **figures)
    return None


def _held_back(case: Case) -> Finding | None:
    """A task that fits its training data less far than alone, and predicts worse for it: why?"""
    seen = case.seen
    figures = {"gap": seen.gap, "harm": seen.harm, "fall": seen.fall, "share": seen.share}
    own = seen.gap.low > _GAP and seen.harm.low > _HARM
    is_held = seen.gap.mean > _GAP and seen.harm.mean > _HARM
    if not own and not (is_held and case.together.gap.low > _GAP and case.together.harm.low > _HARM):
        doubt = "may underfit in joint training, but the initialisations do not agree by a margin"
        return case.undecided(f"{doubt}: {case.losses}. Take more seeds.", **figures) if is_held else None
    start = f"underfits in joint training: {case.losses}."
    if seen.share.high < _STARVED:
        return _starved(case, start, figures)
    if seen.share.mean < _STARVED:
        text = (
            f"{start} Its share of the pull on the shared weights, {_percent(seen.share)} of an equal one, leaves open "
        )
        return case.undecided(f"{text}whether its weight starves it.", **figures)
    if seen.open_gap.low > _OPEN or (seen.open_gap.mean > _OPEN and case.together.open_gap.low > _OPEN):
        return _opposed(case, start, figures) or _narrow(case, start, figures)
    if seen.open_gap.high < -_OPEN and seen.validation_fall.low > 0:
        return case.found("short training", "lengthen", f"{start} {_falling(case)} Lengthen the training.", **figures)
    doubt = "Whether a longer training or a wider trunk closes the gap is undecided: lengthen it first."
    return case.undecided(f"{start} {_falling(case)} {doubt}", **figures)


def _starved(case: Case, start: str, figures: Mapping[str, Any]) -> Finding:
    """A task whose gradient is drowned by the others'."""
    share = case.seen.share.mean / case.number
    factor = (1 - share) / (max(share, 1e-12) * (case.number - 1))
    whose = f"its weight is {Range.over(case.task.weight)} (static {case.task.static:.3g})"
    return case.found(
        "starved",
        "weigh",
        f"{start} It has {share:.2%} of the pull on the shared weights, an equal share is {1 / case.number:.0%}; "
        f"{whose}. Weigh it about {factor:.2g} times as much, or take balancer='unit'.",
        **figures,
        weight=float(np.mean(case.task.weight)),
    )


def _opposed(case: Case, start: str, figures: Mapping[str, Any]) -> Finding | None:
    """A pair whose gradients oppose each other from the start, whatever the initialisation, and go on."""
    for pair in case.pairs:
        begun, going = Range.over(pair.starts), Range.over(np.mean(pair.cosines, axis=1))
        if going.high >= _OPPOSED or (begun.mean + begun.half >= _OPPOSED and begun.mean >= _PERHAPS_OPPOSED):
            continue
        other = pair.other if pair.task == case.task.name else pair.task
        told = {**figures, "other": other, "cosine": begun, "training_cosine": going}
        text = (
            f"{start} {_falling(case)} Its gradient opposes that of {other!r} before the first step (mean cosine "
            f"{begun} over {len(pair.starts)} initialisations, in training {going})"
        )
        if begun.mean + begun.half >= _OPPOSED:
            return case.undecided(f"{text}, too unevenly to say whether width would help.", **told)
        text = f"{text}, whatever the heads begin with: width leaves that as it is. Split it off, or share less."
        return case.found("conflict", "split off", text, **told)
    return None


def _narrow(case: Case, start: str, figures: Mapping[str, Any]) -> Finding:
    """What is left where a longer training does not help: room."""
    text = (
        f"{start} {_falling(case)} Widen the trunk and give the heads a hidden layer; what that does not bring back, "
        "splitting it off does."
    )
    return case.found("narrow trunk", "widen", text, **figures)


def _unfinished(case: Case) -> Finding | None:
    """A training whose loss still falls, on validation data too."""
    seen = case.seen
    figures = {"fall": seen.fall, "validation_fall": seen.validation_fall}
    if seen.fall.low > _FALL and seen.validation_fall.low > _VALIDATION_FALL:
        return case.found(
            "short training", "lengthen", f"is not done. {_falling(case)} Lengthen the training.", **figures
        )
    return None


def _overfit(case: Case) -> Finding | None:
    """A training that went too far."""
    seen = case.seen
    figures = {"spread": seen.spread, "rise": seen.rise}
    if seen.spread.low > _SPREAD and seen.rise.low > _RISE and seen.learned.low > 0:
        return case.found(
            "overfit",
            "regularise",
            f"overfits: its validation loss rose by {_percent(seen.rise)} of what was learned since its lowest, and "
            f"{_percent(seen.spread)} does not carry over; {case.losses}. Regularise: dropout, weight decay, "
            "augmentation, or an earlier stop.",
            **figures,
        )
    return None


_RULES = (_dead, _unlearned, _held_back, _unfinished, _overfit)


def _falling(case: Case) -> str:
    """How the training loss goes on, in words."""
    return (
        f"A training twice as long lowers its training loss by about {_percent(case.seen.fall)} of what was learned at "
        f"best, its validation loss by {_percent(case.seen.validation_fall)}."
    )


def _percent(figure: Range) -> str:
    """A share with its interval."""
    half = "" if np.isnan(figure.half) else f" ± {100 * figure.half:.0f}"
    return f"{100 * figure.mean:.0f}{half} %"
