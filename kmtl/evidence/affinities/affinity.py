"""Which tasks belong together: one door to every measure of it."""

import time
from typing import Any

from kmtl._checks import Refusals, known_keywords
from kmtl.evidence.affinities.affinity_measures import measured
from kmtl.evidence.affinities.affinity_result import Affinity
from kmtl.evidence.affinities.affinity_sources import KINDS, Settings, check_settings, checked_seeds, checked_source
from kmtl.feeding import as_dataset
from kmtl.feeding.datasets import refuse_endless


@known_keywords
def affinity(
    source: Any,
    data: Any,
    y: Any = None,
    *,
    tasks: Any = None,
    kind: str = "gradient",
    epochs: int = 3,
    seeds: Any = None,
    batches: int = 20,
    rows: int | None = None,
    rate: float | None = None,
    measure: str = "cka",
    layer: str | None = None,
    batch_size: int = 32,
    verbose: Any = "auto",
) -> Affinity:
    """Measures how much the tasks of each pair have to do with each other.

    What is measured is `source`: a compiled model as it stands, whose weights do not move; a function `build(tasks)`,
    of which models are trained, with `tasks=`; models of one task each, `{task: model}`; or, for labels, the tasks
    themselves. `docs/affinity.md` says what each kind means and when not to trust it.

    - `"gradient"` (a model, or a joint training a seed): the mean cosine of the gradients of the shared weights, and
      the share of batches in which they point against each other.
    - `"lookahead"` (the same): `1 - L_j(theta - rate g_i) / L_j(theta)`, what a step for i does to the loss of j;
      directed. Fifty et al., "Efficiently Identifying Task Groupings for Multi-Task Learning", NeurIPS 2021.
    - `"label"` (tasks): the size of Pearson's r, Cramer's V or the correlation ratio, by what the labels measure.
    - `"output"` (a model, models, or a training a task): the same of what models say.
    - `"representation"` (models, or a training a task): linear CKA or RSA of the features of models that were trained
      on one task each.
    - `"surrogate"` (a model, or a joint training): the estimated gain of j in groups with i, from projected gradients
      of single rows; directed, and cheap for many tasks. After Li, Sharma and Zhang, "Scalable Multitask Learning
      Using Gradient-based Estimation of Task Affinity", KDD 2024.

    Cosines, look-aheads and associations are taken of rows that are labelled for both tasks. Of a pair of which under
    30 % of the labelled rows carry both labels gradients tell nothing (arXiv 2604.07848): not measurable.

    Args:
        source: What is measured.
        data: As `x` of `fit`, or `(x, y)`; of a build function what it is trained on.
        y: As `y` of `fit`.
        tasks: The tasks, for a build function.
        kind: What is measured.
        epochs: Of each training; short ones do.
        seeds: Of a build function, the seeds, one training each (one a task of `"output"` and `"representation"`); a
            number n takes 0 to n - 1. None: 3 of `"gradient"` and `"lookahead"`, else 1. Intervals are over seeds
            where there are two or more, else over what one training shows.
        batches: Of `"gradient"` and `"lookahead"`: how many are looked at, the first ones of a model's data, or spread
            over each training.
        rows: Of the other kinds: how many are read. None: 5000 for associations, 512 for features, 1000 for surrogates.
        rate: Of `"lookahead"`: the step; None takes the learning rate of the optimizer.
        measure: Of `"representation"`: `"cka"` or `"rsa"`.
        layer: Of `"representation"`: the layer whose output is compared, in all models by the same name; None takes
            what the head reads.
        batch_size: Of arrays.
        verbose: As in `fit`.

    Returns:
        An `Affinity`: print it, `plot()` it, take its `values`, `halves`, `conflicts`, `ranked()`.

    Raises:
        ValueError: With all offenders: fewer than two tasks, a kind that is not known or does not take such a source,
            labels without a defined association, too few labels for any interval, a model that shares nothing.

    >>> import kmtl
    >>> import numpy as np
    >>> random = np.random.default_rng(0)
    >>> size = random.normal(size=200)
    >>> labels = {"width": size, "height": size + random.normal(size=200), "noise": random.normal(size=200)}
    >>> tasks = [kmtl.Regression(name) for name in labels]
    >>> affinity(tasks, np.zeros((200, 1)), labels, kind="label").ranked()[0]
    ('width', 'height')
    """
    given = Settings(kind, epochs, seeds, batches, rows, rate, measure, layer, batch_size, verbose)
    with Refusals("affinity") as refusals:
        check_settings(refusals, given)
        if kind not in KINDS:
            refusals.check()
        chosen = checked_source(refusals, source, tasks, kind)
        numbers = checked_seeds(refusals, seeds, chosen, kind)
        refusals.check()
        whole = data if y is None else (data, y)
        options: dict[str, Any] = {"batch_size": batch_size, "shuffle": True}
        train = as_dataset(refusals, "data", whole, chosen.by_name, **options)
        if chosen.form == "build" and kind != "label":
            refuse_endless(refusals, "data", train)
        sample = as_dataset(refusals, "data", whole, chosen.by_name, is_reshuffled=False, **options)
    start = time.perf_counter()
    found = measured(chosen, train, sample, given._replace(seeds=numbers))
    seconds = time.perf_counter() - start
    return Affinity(kind, tuple(chosen.by_name), seconds=seconds, **found)
