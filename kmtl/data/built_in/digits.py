"""The source digits of the built-in sets, and which of them each split may use."""

from collections.abc import Mapping
from typing import Any

import numpy as np

SPLIT_SIZES: Mapping[str, int] = {"train": 10_000, "validation": 2_000, "test": 2_000}
SOURCE_SIZE = 8

_FULL_INK = 16
_SPLIT_SEED = 1797


def source_digits() -> tuple[Any, Any]:
    """Reads the 1,797 handwritten digits that come with scikit-learn.

    Returns:
        Images `(1797, 8, 8)`, float64 in 0..1 (0 is paper, 1 is ink), and their
        digits `(1797,)`, int64.

    Source: Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI
    Machine Learning Repository, 1998; its test part.

    >>> images, digits = source_digits()
    >>> images.shape, float(images.max()), int(digits.max())
    ((1797, 8, 8), 1.0, 9)
    """
    from sklearn.datasets import load_digits

    data = load_digits()
    return data.images / _FULL_INK, data.target.astype(np.int64)


def split_sources(digits: Any) -> dict[str, Any]:
    """Deals the source digits out to the splits, so that no two splits share one.

    Class by class, each split gets the share of sources that it has of examples.

    Args:
        digits: The digit of each source, `(sources,)`.

    Returns:
        For each split the sorted indices of its sources, int64.
    """
    lots = np.random.default_rng(_SPLIT_SEED).random(len(digits))
    dealt: dict[str, list[Any]] = {split: [] for split in SPLIT_SIZES}
    ends = np.cumsum(list(SPLIT_SIZES.values())) / sum(SPLIT_SIZES.values())
    for digit in np.unique(digits):
        sources = np.flatnonzero(digits == digit)
        # Sorting by random numbers, because NumPy may change how `permutation` draws but hardly `random`.
        drawn = sources[np.argsort(lots[sources])]
        for split, part in zip(dealt, np.split(drawn, np.rint(ends[:-1] * len(drawn)).astype(int)), strict=True):
            dealt[split].append(part)
    return {split: np.sort(np.concatenate(parts)) for split, parts in dealt.items()}


def draw_evenly(sources: Any, count: int, random: np.random.Generator) -> Any:
    """Draws `count` sources such that how often two of them occur differs by at most 1.

    >>> counts = np.bincount(draw_evenly(np.arange(3), 8, np.random.default_rng(0)))
    >>> sorted(counts.tolist())
    [2, 3, 3]
    """
    rounds = -(-count // len(sources))
    return np.concatenate([sources[np.argsort(random.random(len(sources)))] for _ in range(rounds)])[:count]


def split_random(seed: int, split: str) -> np.random.Generator:
    """Gives a split random numbers of its own."""
    return np.random.default_rng([seed, list(SPLIT_SIZES).index(split)])
