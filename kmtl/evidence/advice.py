"""Which balancer to try first, from what the gradients are like."""

import dataclasses
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from kmtl._checks import whole
from kmtl._table import Result, Table

# An order of magnitude: below it Adam and a tuned static weight make up the difference.
SCALES_DIFFER = 10.0
# A third of the batches, and an angle that is not noise around 90 degrees.
CONFLICT_SHARE, CONFLICT_COSINE = 1 / 3, -0.1
# From this many tasks on, one backward pass a task is too dear.
MANY_TASKS = 8


@dataclasses.dataclass(frozen=True)
class Advice(Result):
    """A verdict in words, and what it stands on.

    Attributes:
        balancer: Name of the balancer to try first.
        verdict: Why, in words.
        tasks: A row a task: median loss, median gradient norm, share of the sum of the norms.
        pairs: A row a pair: mean cosine, share of batches in which the pair conflicts.
    """

    balancer: str
    verdict: str
    tasks: pd.DataFrame
    pairs: pd.DataFrame

    def parts(self) -> list[str | Table]:
        """The verdict and its figures."""
        tasks = self.tasks.rename_axis("task").reset_index()
        return [self.verdict, "", Table(tasks), "", Table(self.pairs)]


def advise(model: Any, data: Any, y: Any = None, *, batches: int = 8, batch_size: int = 32) -> Advice:
    """Looks at some batches and says which balancer to try first, and why.

    The rules follow what the literature measured. A well-tuned static sum is hard to
    beat (Kurin et al., "In Defense of the Unitary Scalarization for Deep
    Multi-Task Learning", NeurIPS 2022; Xin et al., "Do Current Multi-Task
    Optimization Methods in Deep Learning Even Help?", NeurIPS 2022). Special methods help when
    the tasks' gradients live on scales that differ, or point against each
    other. What a few batches of an untrained model show may change in
    training: `compile(track_conflicts=True)` goes on looking.

    Args:
        model: A compiled `MultiTaskModel`; no weight of it moves.
        data: As `x` of `fit`.
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
    found = model.gramians(data, y, batches=batches, batch_size=batch_size)
    tasks, pairs = _tasks(found), _pairs(found)
    balancer, verdict = _verdict(tasks, pairs, len(found.losses))
    return Advice(balancer, verdict, tasks, pairs)


def _tasks(found: Any) -> pd.DataFrame:
    """Median loss and gradient length of each task, over the batches where it has a label."""
    lengths = np.sqrt(np.maximum(np.diagonal(found.grams, axis1=1, axis2=2), 0.0))
    rows = {}
    for place, name in enumerate(found.names):
        there = found.present[:, place] & np.isfinite(lengths[:, place])
        loss = np.median(found.losses[there, place]) if there.any() else np.nan
        length = np.median(lengths[there, place]) if there.any() else np.nan
        rows[name] = {"loss": loss, "gradient_norm": length, "batches": int(there.sum())}
    table = pd.DataFrame.from_dict(rows, orient="index")
    table["share"] = table["gradient_norm"] / table["gradient_norm"].sum()
    return table


def _pairs(found: Any) -> pd.DataFrame:
    """Mean cosine of each pair, and how often it conflicts."""
    rows = []
    for one, other in combinations(range(len(found.names)), 2):
        size = np.sqrt(found.grams[:, one, one] * found.grams[:, other, other])
        there = np.isfinite(size) & (size > 0)
        cosines = found.grams[there, one, other] / size[there]
        mean = cosines.mean() if there.any() else np.nan
        share = (cosines < 0).mean() if there.any() else np.nan
        names = {"task": found.names[one], "other": found.names[other]}
        rows.append({**names, "cosine": mean, "conflicts": share, "batches": int(there.sum())})
    return pd.DataFrame(rows, columns=["task", "other", "cosine", "conflicts", "batches"])


def _verdict(tasks: pd.DataFrame, pairs: pd.DataFrame, batches: int) -> tuple[str, str]:
    """Name of a balancer, and the reason."""
    known = tasks["gradient_norm"][tasks["gradient_norm"] > 0]
    ratio = known.max() / known.min() if len(known) > 1 else 1.0
    fighting = pairs[(pairs["conflicts"] > CONFLICT_SHARE) & (pairs["cosine"] < CONFLICT_COSINE)]
    looked = f"Looked at {batches} batches."
    if ratio < SCALES_DIFFER and fighting.empty:
        return "equal", (
            f"{looked} The largest gradient is {ratio:.1f} times the smallest, and no pair conflicts for long: neither "
            "scale nor direction asks for a special method. Keep balancer='equal' and search the loss weights and "
            "the learning rate."
        )
    scales = f"Scales differ: the gradient of {known.idxmax()!r} is {ratio:.0f} times that of {known.idxmin()!r}."
    conflict = f"Gradients conflict: {', '.join(f'{a!r} and {b!r}' for a, b in fighting[['task', 'other']].values)}."
    cheap = "With this many tasks take level='features', or solve='online' where the method has it."
    hint = f" {cheap}" if len(tasks) >= MANY_TASKS else ""
    if fighting.empty:
        return "unit", (
            f"{looked} {scales} Use balancer='unit' (each gradient counts its direction alone), or at the price of the "
            f"plain step 'si' or 'uncertainty'. Static weights near 1 / norm do most of it.{hint}"
        )
    if ratio < SCALES_DIFFER:
        return "upgrad", (
            f"{looked} {conflict} Use balancer='upgrad', whose direction ascends no task; compare it with equal "
            f"weights under the same learning-rate search.{hint}"
        )
    return "nash", (
        f"{looked} {scales} {conflict} Use balancer='nash', which neither scale nor conflict misleads; compare it with "
        f"'unit' and with static weights near 1 / norm.{hint}"
    )
