"""How each kind of affinity is measured of each source."""

from collections.abc import Callable
from typing import Any

import numpy as np

from kmtl._checks import refusal, require, words
from kmtl.evidence.affinities.affinity_sources import Settings, Source, batches_of, first_rows, single_models
from kmtl.evidence.affinities.association_matrix import LEAST_ROWS, Associations, associations
from kmtl.evidence.affinities.gradient_affinity import looks_in_training, looks_of_model
from kmtl.evidence.affinities.matrix_intervals import GROUPS, jackknife, student
from kmtl.evidence.affinities.representation_similarity import features_of, similarity
from kmtl.evidence.affinities.sketched_losses import require_shared, sketched_losses
from kmtl.evidence.affinities.surrogate import sampled_subsets, surrogate_affinity
from kmtl.evidence.shared_rows import LEAST_OVERLAP, WEAK_OVERLAP
from kmtl.tasks.variables import output_variables
from kmtl.training.builds import Build
from kmtl.training.trainer import Trainer

# Rows that are read where nobody says how many.
_ROWS = {"label": 5000, "output": 5000, "representation": 512, "surrogate": 1000}
# Subsets of tasks whose losses are estimated.
_SUBSETS = 1000


def measured(source: Source, train: Any, sample: Any, given: Settings) -> dict[str, Any]:
    """Measures affinities; returns the attributes of an `Affinity`.

    Args:
        source: What is measured.
        train: The data that models are trained on.
        sample: The same in an order that stays.
        given: The settings, `seeds` a list.
    """
    return _MEASURES[given.kind](source, train, sample, given)


def _trainer(source: Source, given: Settings) -> Trainer:
    """Makes and trains the models of a build function."""
    return Trainer(Build(source.given, "affinity"), owner="affinity", verbose=given.verbose)


# Gradients.


def _by_gradients(source: Source, train: Any, sample: Any, given: Settings) -> dict[str, Any]:
    """Cosines or look-aheads, of batches of a model or over trainings."""
    if source.form == "model":
        looks = looks_of_model(source.given, sample, given.batches, given.kind, given.rate)
        runs = [np.stack([looks(place) for place in range(len(looks.batches))])]
    else:
        options: dict[str, Any] = {"kind": given.kind, "epochs": given.epochs, "steps": batches_of(train)}
        options |= {"seeds": given.seeds, "options": {"batches": given.batches, "rate": given.rate}}
        runs, looks = looks_in_training(_trainer(source, given), source.tasks, train, sample.repeat(), **options)
    found = _intervals(runs, "batches")
    joined = np.concatenate(runs)
    known = np.isfinite(joined).sum(axis=0)
    shares = np.where(known > 0, (joined < 0).sum(axis=0) / np.maximum(known, 1), np.nan)
    weak = (looks.overlaps < WEAK_OVERLAP) & (looks.overlaps >= LEAST_OVERLAP)
    names = [task.name for task in source.tasks]
    pairs = [f"{names[i]} and {names[j]}" for i, j in zip(*np.nonzero(np.triu(weak, 1)), strict=True)]
    notes = (f"Weak, for under {WEAK_OVERLAP:.0%} of the rows carry both labels: {'; '.join(pairs)}.",) if pairs else ()
    return {
        **found,
        "trainings": len(given.seeds),
        "shares": shares if given.kind == "gradient" else None,
        "notes": notes,
    }


def _intervals(runs: Any, unit: str) -> dict[str, Any]:
    """Means and Student intervals of looks: over the seeds, or over the looks of one run."""
    means = np.stack([student(run)[0] for run in runs])
    values, halves, counts = student(means if len(runs) > 1 else runs[0])
    over = "seeds" if len(runs) > 1 else unit
    return {"values": values, "halves": halves, "measurable": np.isfinite(values), "counts": counts, "over": over}


# Associations and features, by rows.


def _by_labels(source: Source, train: Any, sample: Any, given: Settings) -> dict[str, Any]:
    """Associations of the labels."""
    del train
    _, labels = first_rows(sample, source.tasks, given.rows or _ROWS["label"], inputs=False)
    require(bool(labels), "affinity", "data", "must hold at least one batch", words("none"))
    return _associated([associations([task.label_variables(labels[task.name]) for task in source.tasks])], 0)


def _by_outputs(source: Source, train: Any, sample: Any, given: Settings) -> dict[str, Any]:
    """Associations of the outputs."""
    x, _ = first_rows(sample, source.tasks, given.rows or _ROWS["output"], inputs=True)

    def variables(model: Any, task: Any) -> Any:
        return output_variables(task, model.predict(x, verbose=0)[task.name])

    if source.form == "model":
        said = source.given.predict(x, verbose=0)
        found = [associations([output_variables(task, said[task.name]) for task in source.tasks])]
    else:
        found = [associations(part) for part in _of_single_models(source, train, given, variables)]
    return _associated(found, len(given.seeds) * len(source.tasks))


def _of_single_models(source: Source, train: Any, given: Settings, take: Callable[..., Any]) -> list[list[Any]]:
    """What is taken of each single model, a list a seed; one list where the models are given."""
    if source.form == "models":
        return [[take(source.given[task.name], task) for task in source.tasks]]
    trainer = _trainer(source, given)
    return [single_models(trainer, source, train, given.epochs, seed, take) for seed in given.seeds]


def _associated(found: list[Associations], trainings: int) -> dict[str, Any]:
    """The result of associations, one a seed."""
    matrices = [part.values for part in found]
    signed = student(np.stack([part.signed for part in found]))[0]
    other = ~np.eye(len(signed), dtype=bool)
    if not np.isfinite(matrices[0][other]).any():
        fix = "Give more rows that carry both labels, or another kind."
        rule = f"must hold, of some pair, {LEAST_ROWS} rows with both labels that vary"
        raise ValueError(refusal("affinity", "data", rule, words("none"), fix))
    return {**_by_rows(matrices, found[0].halves), "signed": signed, "trainings": trainings}


def _by_rows(matrices: list[Any], halves: Any) -> dict[str, Any]:
    """The result of matrices, one a seed: over the seeds, or over groups of rows where there is one."""
    if len(matrices) > 1:
        return _intervals([matrix[None] for matrix in matrices], "seeds")
    values = matrices[0]
    known = np.isfinite(values)
    counts = np.where(known, GROUPS, 0)
    return {"values": values, "halves": halves, "measurable": known, "counts": counts, "over": "groups of rows"}


def _by_representations(source: Source, train: Any, sample: Any, given: Settings) -> dict[str, Any]:
    """Similarities of features."""
    x, labels = first_rows(sample, source.tasks, given.rows or _ROWS["representation"], inputs=True)
    number = len(next(iter(labels.values()), ()))
    rule = f"must hold {LEAST_ROWS} rows or more"
    require(number >= LEAST_ROWS, "affinity", "data", rule, number)

    def features(model: Any, task: Any) -> Any:
        return features_of(model, task.name, x, given.layer)

    sets = _of_single_models(source, train, given, features)
    found = [jackknife(similarity(part, given.measure), number) for part in sets]
    trainings = len(given.seeds) * len(source.tasks)
    return {**_by_rows([values for values, _ in found], found[0][1]), "trainings": trainings}


# Surrogates.


def _by_surrogates(source: Source, train: Any, sample: Any, given: Settings) -> dict[str, Any]:
    """Estimated gains, from one joint model a seed."""
    rows, found = given.rows or _ROWS["surrogate"], []
    subsets = sampled_subsets(len(source.tasks), _SUBSETS, 0)
    trainer = None if source.form == "model" else _trainer(source, given)
    for seed in given.seeds or [0]:
        model = source.given
        if trainer is not None:
            model = trainer.model(source.tasks, seed=seed, names=list(source.by_name))
        require_shared(model)
        if trainer is not None:
            trainer.fit(model, train, epochs=given.epochs)
        losses, sketches = sketched_losses(model, sample, rows)
        require(len(losses) >= LEAST_ROWS, "affinity", "data", f"must hold {LEAST_ROWS} rows or more", len(losses))
        found.append(jackknife(_estimate(losses, sketches, subsets), len(losses)))
    return {**_by_rows([values for values, _ in found], found[0][1]), "trainings": len(given.seeds)}


def _estimate(losses: Any, sketches: Any, subsets: Any) -> Callable[[Any], Any]:
    """The surrogate's affinities as a function of rows' places."""
    return lambda places: surrogate_affinity(losses[places], sketches[places], subsets)


_MEASURES: dict[str, Callable[..., dict[str, Any]]] = {
    "gradient": _by_gradients,
    "lookahead": _by_gradients,
    "label": _by_labels,
    "output": _by_outputs,
    "representation": _by_representations,
    "surrogate": _by_surrogates,
}
