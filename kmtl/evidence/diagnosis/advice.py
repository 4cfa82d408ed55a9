"""Which balancer to try first, from what the gradients are like."""

import dataclasses
from itertools import combinations
from typing import Any

import numpy as np

from kmtl import gradients
from kmtl._checks import whole
from kmtl._table import Result, Table
from kmtl.evidence.diagnosis import task_gradients
from kmtl.evidence.diagnosis.task_gradients import TaskGradients
from kmtl.evidence.diagnosis.verdict import verdict
from kmtl.evidence.intervals import interval
from kmtl.feeding import unpacked

# Against the largest gradient: what is left of one by rounding.
_DEAD = 1e-12
_TASK_COLUMNS = ("loss", "guessing", "loss_weight", "gradient_norm", "share", "batches")
_PAIR_COLUMNS = ("task", "other", "norm_similarity", "overlap", "cosine", "conflicts", "batches")


@dataclasses.dataclass(frozen=True, repr=False)
class Advice(Result):
    """A verdict in words, and what it stands on.

    Attributes:
        balancer: Name of the balancer to try first.
        verdict: Why, in words.
        tasks: A row a task, as a pandas frame: mean loss at weight 1, the level of guessing, the loss weight, median
            gradient norm under that weight, its share of the sum of the norms, batches, and whether it is dead.
        pairs: A row a pair: similarity of the norms, share of rows labelled for either that are labelled for both,
            mean cosine over these and half its 95 % interval over the batches, share of batches in which the pair
            conflicts, and whether that could be measured.
        condition: Median condition number of the matrix of the gradients that are alive; 1 is best.
    """

    balancer: str
    verdict: str
    tasks: Any
    pairs: Any
    condition: float = float("nan")

    def parts(self) -> list[str | Table]:
        """The verdict and its figures."""
        tasks = self.tasks.rename_axis("task").reset_index()
        pairs = self.pairs.to_dict("records")
        shown = [
            {
                **{column: row[column] for column in _PAIR_COLUMNS if column in row},
                **({} if row.get("is_measurable", True) else {"cosine": "not measurable", "conflicts": None}),
            }
            for row in pairs
        ]
        given = [column for column in ("task", *_TASK_COLUMNS) if column in tasks]
        lines = [] if np.isnan(self.condition) else ["", f"condition number of the gradients {self.condition:.4g}"]
        return [self.verdict, "", Table(tasks[given]), *lines, "", Table(shown, frame=self.pairs)]


def advise(model: Any, data: Any, y: Any = None, *, batches: int = 8, batch_size: int = 32) -> Advice:
    """Looks at some batches and says which balancer to try first, and why.

    It begins with what no balancer mends: a dead task, whose gradient does not reach the shared weights; a task whose
    loss is no better than that of a constant output (`guessing`); loss weights of the user's own that make the scales
    differ. Then come norms, and cosines after them: gradients alike in size and a low condition number go with good
    weights (AutoScale, arXiv 2508.13979), while a cosine tells something only of rows that are labelled for both tasks.
    Of a pair of which under 30 % of the labelled rows carry both labels it is not measurable (arXiv 2604.07848).

    This is the cheap first page of `kmtl.evidence.diagnose`, which trains briefly, jointly and alone, and sees what a
    few batches cannot: width, length, labels, weights. Nothing is decided on a knife's edge: scales differ where the
    whole 95 % interval of the ratio over the batches is at 10 or above, a pair conflicts where that of its mean cosine
    is below -0.1, and what lies in between is told as undecided. Of an untrained model no conflict is told: which way
    its gradients point is up to its heads' random start.

    The rules follow what the literature measured. A well-tuned static sum is hard to
    beat (Kurin et al., "In Defense of the Unitary Scalarization for Deep
    Multi-Task Learning", NeurIPS 2022; Xin et al., "Do Current Multi-Task
    Optimization Methods in Deep Learning Even Help?", NeurIPS 2022). What a few batches show may change in
    training: `compile(track_conflicts=True)` goes on looking.

    Args:
        model: A compiled `MultiTaskModel`; no weight of it moves.
        data: As `x` of `fit`, or `(x, y)`.
        y: As `y` of `fit`.
        batches: How many batches are looked at.
        batch_size: Of arrays.

    Returns:
        The verdict with its figures; print it.

    Raises:
        ValueError: If the model is not compiled or shares nothing.

    >>> import keras, kmtl
    >>> keras.utils.set_random_seed(0)
    >>> image = keras.Input((4,))
    >>> tasks = [kmtl.Regression("far", standardize=False), kmtl.Regression("near", standardize=False)]
    >>> model = kmtl.MultiTaskModel.from_features(image, keras.layers.Dense(8)(image), tasks)
    >>> model.compile("adam")
    >>> x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
    >>> advise(model, x, {"far": 1000 * x[:, 0], "near": x[:, 1]}).balancer
    'unit'
    """
    whole("advise", "batches", batches, 1)
    x, y, weights = unpacked(data, y)
    seen = task_gradients.measure(model, x, y, weights, batches=batches, batch_size=batch_size)
    tasks, pairs = _tasks(seen), _pairs(seen)
    trained = int(model.optimizer.iterations) > 0
    norms = dict(zip(seen.found.names, seen.found.norms.T, strict=True))
    balancer, words = verdict(tasks, pairs, norms, len(seen.found.losses), is_trained=trained)
    return Advice(balancer, words, tasks, pairs, _condition(seen.found, tasks))


def _tasks(seen: TaskGradients) -> Any:
    """Loss and gradient length of each task, over the batches where it has a label."""
    import pandas as pd

    found, norms = seen.found, seen.found.norms
    rows = {}
    for place, name in enumerate(found.names):
        there = found.present[:, place] & np.isfinite(norms[:, place])
        weight = seen.weights[name]
        rows[name] = {
            "loss": gradients.over_batches(np.mean, found.losses[there, place] / weight) if weight else float("nan"),
            "guessing": seen.guesses[name],
            "loss_weight": weight,
            "gradient_norm": gradients.over_batches(np.median, norms[there, place]),
            "batches": int(there.sum()),
        }
    table = pd.DataFrame.from_dict(rows, orient="index")
    table["share"] = table["gradient_norm"] / table["gradient_norm"].sum()
    largest = {name: np.nanmax(norms[:, place], initial=0.0) for place, name in enumerate(found.names)}
    most = max(largest.values())
    table["is_dead"] = [bool(table["batches"][name]) and largest[name] <= _DEAD * most for name in found.names]
    return table


def _pairs(seen: TaskGradients) -> Any:
    """Of each pair the similarity of the norms, the rows in common, mean cosine, and how often it conflicts."""
    import pandas as pd

    names, norms, rows = seen.found.names, seen.found.norms, []
    for one, other in combinations(range(len(names)), 2):
        cosines = seen.cosines.get((one, other), np.array([]))
        known = cosines[np.isfinite(cosines)]
        squares = norms[:, one] ** 2 + norms[:, other] ** 2
        # Two dead tasks are alike in nothing.
        similarity = 2 * norms[:, one] * norms[:, other] / np.where(squares == 0, np.nan, squares)
        rows.append(
            {
                "task": names[one],
                "other": names[other],
                "norm_similarity": gradients.over_batches(np.mean, similarity),
                "overlap": float(seen.overlaps[one, other]),
                "cosine": gradients.over_batches(np.mean, known),
                "cosine_interval": interval(known.tolist()),
                "conflicts": gradients.over_batches(np.mean, known < 0) if len(known) else float("nan"),
                "batches": len(known),
                "is_measurable": (one, other) in seen.cosines,
            }
        )
    return pd.DataFrame(rows, columns=[*_PAIR_COLUMNS, "cosine_interval", "is_measurable"])


def _condition(found: gradients.Gramians, tasks: Any) -> float:
    """Of the gradients that are alive."""
    names = enumerate(found.names)
    return found.condition([at for at, name in names if tasks["batches"][name] and not tasks["is_dead"][name]])
