"""Models of bootstrap samples, and the mean of what they say."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from kmtl._checks import refusal, require, whole, words
from kmtl.training.combined import ensemble
from kmtl.training.recipe import Recipe, share
from kmtl.training.rows_in_memory import Rows
from kmtl.training.scored_outputs import labelled, masked, outputs_of, scored
from kmtl.training.work import Work

_DRAWS = 100


class Bagging(Recipe):
    """Joint models, each trained on its own bootstrap sample of the rows; their outputs are averaged.

    With M members f_m, trained on n rows that are drawn from the n training rows with replacement,

        f(x) = (f_1(x) + ... + f_M(x)) / M

    is a mean of probabilities where outputs are probabilities, and of values in the label's unit else, one by one: of
    a task that predicts a variance it is the members' mean variance, without the spread between them. A sample holds
    about 1 - 1/e = 63.2 % of the different rows. The rows that it leaves out are new to its member, and so each row
    is tested by the members that never saw it: `trained.notes["out_of_bag"]` is `{task: {metric: value}}` of these
    outputs, an estimate for unseen data that needs no data of its own. Rows that every member saw, which are 0.632^M
    of them, have no such output and are left out of it.

    A draw that leaves a task without any label is drawn again. All members share the scale of standardised regressions
    that the whole training set gives, so that their losses, and that of the result, are in one unit. All rows are held
    in memory. The members' steps are as the build function compiled them, with its balancer.

    Cost: the M trainings. The forward passes of the out-of-bag score are not counted, nor are those of a validation.

    Source: Breiman, "Bagging Predictors", Machine Learning, 1996; the out-of-bag estimate: Breiman, "Out-of-Bag
    Estimation", 1996. Departure: the class probabilities are averaged, which he calls the better of his two ways, and
    not the votes. Row S2-04 of the articles, which has no more than the name.

    Args:
        members: Number of models, 2 or more.
        bootstrap: Whether they have samples; False gives all of them all rows, so that they differ by the seed of their
            weights and their order of rows alone (a "deep ensemble"), and no out-of-bag score.
        epochs: As a multiple of the given epochs, for each member.

    >>> Bagging(members=10)
    Bagging(members=10)
    """

    source = "Breiman, Bagging Predictors, Machine Learning, 1996"

    def __init__(self, members: int = 5, *, bootstrap: bool = True, epochs: float = 1.0) -> None:
        self.members = whole("Bagging", "members", members, 2)
        require(isinstance(bootstrap, bool), "Bagging", "bootstrap", "must be True or False", bootstrap)
        self.bootstrap = bootstrap
        self.epochs = share("Bagging", "epochs", epochs)

    def run(self, work: Work) -> Any:
        """Trains the members."""
        rows = work.rows()
        places = self.samples(work, rows)
        models = {}
        for member in range(self.members):
            seed = work.member_seed(member)
            model = work.model(seed=seed)
            model.adapt(work.train)
            data = rows.take(places[member]).dataset(seed=seed)
            work.fit(f"member {member + 1}", model, data, epochs=self.epochs)
            models[f"member_{member + 1}"] = model
        made = ensemble(models, mean)
        if self.bootstrap:
            unseen = unseen_rows(places, rows.number)
            work.notes["out_of_bag"] = self._out_of_bag(work, made, list(models.values()), rows, unseen)
        return made

    def samples(self, work: Work, rows: Rows) -> list[Any]:
        """The rows of each member."""
        if not self.bootstrap:
            return [np.arange(rows.number)] * self.members
        known = labelled(work.tasks, rows)
        return [bootstrap_sample(known, work.member_seed(member)) for member in range(self.members)]

    def _out_of_bag(
        self, work: Work, made: Any, models: Sequence[Any], rows: Rows, unseen: Any
    ) -> dict[str, dict[str, float]]:
        """Metrics of the members' outputs for the rows that they did not see."""

        def compute() -> dict[str, Any]:
            found = [
                outputs_of(model, rows.take(np.flatnonzero(mask))) for model, mask in zip(models, unseen, strict=True)
            ]
            return {name: mean_of_unseen([output[name] for output in found], unseen) for name in work.names}

        outputs = work.keep("out of bag", compute)
        labels = masked(work.tasks, rows.y, ~unseen.any(axis=0))
        return scored(made, outputs, labels, rows.batch_size)


def bootstrap_sample(known: Any, seed: int) -> Any:
    """Draws as many rows as there are, with replacement, until every task has a label among them.

    Args:
        known: Which rows have a label, booleans `(tasks, rows)`.
        seed: Of the draw.

    Returns:
        Numbers of rows, `(rows,)`.

    Raises:
        ValueError: If a task has so few labels that a hundred draws had none of one.

    >>> sample = bootstrap_sample(np.ones((1, 1000), bool), seed=0)
    >>> len(sample), len(set(sample.tolist())) / 1000
    (1000, 0.622)
    """
    random, number = np.random.default_rng(seed), known.shape[1]
    for _ in range(_DRAWS):
        sample = random.integers(number, size=number)
        if known[:, sample].any(axis=1).all():
            return sample
    got = words(f"{int(known.sum(axis=1).min())} of {number} rows for one")
    fix = "Give more labels, or leave bootstrap to False."
    raise ValueError(refusal("Bagging", "train", "must have labels of each task in a bootstrap sample", got, fix))


def unseen_rows(samples: Sequence[Any], number: int) -> Any:
    """Tells which rows each member did not see, booleans `(members, number)`.

    >>> unseen_rows([np.array([0, 0, 2]), np.array([1, 2, 1])], 3).astype(int).tolist()
    [[0, 1, 0], [1, 0, 0]]
    """
    return np.stack([np.bincount(sample, minlength=number) == 0 for sample in samples])


def mean_of_unseen(outputs: Sequence[Any], unseen: Any) -> Any:
    """Averages for each row the outputs of the members that did not see it.

    Args:
        outputs: Of each member, for the rows that it did not see, in order: `(unseen rows, ...)`.
        unseen: As `unseen_rows` gives it.

    Returns:
        `(rows, ...)`; zeros where every member saw the row.

    >>> mean_of_unseen([np.array([4.0, 6.0]), np.array([8.0])], np.array([[True, True, False], [False, True, False]]))
    array([4., 7., 0.])
    """
    total = np.zeros((unseen.shape[1], *outputs[0].shape[1:]), "float64")
    for output, mask in zip(outputs, unseen, strict=True):
        total[mask] += output
    counts = np.maximum(unseen.sum(axis=0), 1).reshape(-1, *[1] * (total.ndim - 1))
    return (total / counts).astype(outputs[0].dtype)


def mean(task: str, outputs: Sequence[Any]) -> Any:
    """Joins the outputs of several models by their mean."""
    return keras.layers.Average(dtype="float32", name=task)(list(outputs))
