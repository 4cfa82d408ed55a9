"""How often each source of a mixed stream is drawn."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from kmtl._checks import Refusals

_RULES = ("proportional", "uniform", "annealed")
HOW_TO_COUNT = "dataset.apply(tf.data.experimental.assert_cardinality(n)) tells it"


def proportional(sizes: Sequence[int], exponent: float = 1.0) -> Any:
    """Probabilities by the number of examples: `p_k = N_k^a / sum_j N_j^a`.

    Args:
        sizes: Number of examples of each source, `N_k >= 1`.
        exponent: `a`; 1 is proportional, 0.5 square-root sampling, 0 uniform.

    Returns:
        Array of shape `(K,)`, float64, sum 1.

    >>> proportional([100, 300]).tolist(), proportional([100, 400], exponent=0.5).round(3).tolist()
    ([0.25, 0.75], [0.333, 0.667])
    """
    # Relative to the largest, so that no power overflows.
    powers = (np.asarray(sizes, np.float64) / max(sizes)) ** exponent
    return powers / powers.sum()


def annealed(sizes: Sequence[int], epochs: int) -> Any:
    """Probabilities that move from proportional towards uniform, one row an epoch.

    In epoch `e = 1..E`: `p_k` is proportional to `N_k^a` with `a = 1 - 0.8 (e - 1) / (E - 1)`,
    so that `a` falls from 1 to 0.2: small sources are seen more often late, when interference between
    tasks matters most. One epoch alone is proportional.

    Source: Stickland and Murray, "BERT and PALs: Projected Attention Layers for Efficient
    Adaptation in Multi-Task Learning", ICML 2019.

    Args:
        sizes: Number of examples of each source, `N_k >= 1`.
        epochs: `E`, at least 1.

    Returns:
        Array of shape `(E, K)`, float64, rows sum to 1.

    >>> annealed([100, 300], epochs=3)[:, 0].round(3).tolist()
    [0.25, 0.341, 0.445]
    """
    steps = np.arange(epochs) / max(epochs - 1, 1)
    return np.stack([proportional(sizes, 1 - 0.8 * step) for step in steps])


def check_counted(refusals: Refusals, datasets: Mapping[Any, Any], fix: str) -> None:
    """Records every source whose number of examples tf.data does not know."""
    for key, count in zip(datasets, counts(datasets), strict=True):
        if count < 0:
            got = "infinite" if count == tf.data.INFINITE_CARDINALITY else "unknown"
            refusals.add(f"datasets[{key!r}]", "must have a known number of examples", got, fix)


def probabilities(datasets: Mapping[Any, Any], sampling: Any, exponent: Any, epochs: Any, steps: Any) -> Any:
    """Probabilities of the sources of `mix`, after its options of the same names.

    Returns:
        Array of shape `(E, K)`, float64, one row an epoch; one row for all unless annealed.

    Raises:
        ValueError: If the options fit neither a rule nor the sources.
    """
    with Refusals("mix") as refusals:
        if isinstance(sampling, Mapping):
            _check_weights(refusals, sampling, datasets)
        elif sampling not in _RULES:
            refusals.add("sampling", f"must be one of {list(_RULES)} or a weight for every dataset", sampling)
        _check_options(refusals, sampling, exponent, epochs, steps)
        if sampling in ("proportional", "annealed"):
            check_counted(refusals, datasets, f"{HOW_TO_COUNT}; or pass weights as `sampling`.")
    if isinstance(sampling, Mapping):
        return _normalize([sampling[key] for key in datasets])
    if sampling == "uniform":
        return _normalize([1.0] * len(datasets))
    sizes = counts(datasets)
    return annealed(sizes, epochs) if sampling == "annealed" else proportional(sizes, exponent)[None, :]


def _normalize(weights: Sequence[float]) -> Any:
    """One row of probabilities."""
    row = np.asarray([weights], np.float64)
    return row / row.sum()


def _check_weights(refusals: Refusals, weights: Mapping[Any, float], datasets: Mapping[Any, Any]) -> None:
    """Records keys that are no dataset's, datasets without weight and weights that are no weights."""
    for key in weights:
        if key not in datasets:
            refusals.add("sampling", "must use the keys of `datasets`", key, f"Known: {list(datasets)}.")
    for key in datasets:
        if key not in weights:
            refusals.add("sampling", "must hold a weight for every dataset", list(weights), f"Add one for {key!r}.")
    for key, weight in weights.items():
        number = isinstance(weight, int | float | np.number) and not isinstance(weight, bool)
        if not number or not 0 <= weight < float("inf"):
            refusals.add(f"sampling[{key!r}]", "must be a finite number of at least 0", weight)
    if not refusals.messages and not any(weights.values()):
        refusals.add("sampling", "must hold at least one weight above 0", dict(weights))


def _check_options(refusals: Refusals, sampling: Any, exponent: Any, epochs: Any, steps: Any) -> None:
    """Records options that are out of range or belong to another rule."""
    if not isinstance(exponent, int | float) or not 0 <= exponent < float("inf"):
        refusals.add("exponent", "must be a finite number of at least 0", exponent)
    elif exponent != 1 and sampling != "proportional":
        refusals.add("exponent", "must be left out unless sampling is 'proportional'", exponent)
    if sampling == "annealed" and not is_whole(epochs, 1):
        refusals.add("epochs", "must be a whole number of at least 1 for annealed sampling", epochs)
    for name, value in (("epochs", epochs), ("steps_per_epoch", steps)):
        if value is not None and sampling != "annealed":
            refusals.add(name, "must be left out unless sampling is 'annealed'", value)
    if steps is not None and not is_whole(steps, 1):
        refusals.add("steps_per_epoch", "must be a whole number of at least 1", steps)


def counts(datasets: Mapping[Any, Any]) -> list[int]:
    """The cardinality of every source; negative where unknown or infinite."""
    return [int(dataset.cardinality()) for dataset in datasets.values()]


def is_whole(value: Any, least: int) -> bool:
    """Tells whether a value is a whole number of at least `least`."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and bool(value >= least)
