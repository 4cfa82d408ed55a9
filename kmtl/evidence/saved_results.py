"""Results of earlier calls, read back from their folder."""

import os
from pathlib import Path
from typing import Any

from kmtl._checks import require, words
from kmtl.evidence.comparisons.comparison_folder import COMPARISON, load_comparison
from kmtl.evidence.recommendation.recommendation_file import RECOMMENDATION, load_recommendation


def load(folder: str | os.PathLike[str]) -> Any:
    """Reads back what `compare(..., folder=...)` or `recommend(..., folder=...)` kept; nothing is built or trained.

    Args:
        folder: The folder.

    Returns:
        A `Comparison` of all rows under all seeds, of a comparison that was stopped under those that every row has
        finished; or a `Recommendation`. Models are read when they are asked for.

    Raises:
        ValueError: If the folder holds neither, or a comparison without a seed under which every row is finished.

    >>> import tempfile
    >>> load(tempfile.mkdtemp())
    Traceback (most recent call last):
    ...
    ValueError: load: `folder` must be one that compare or recommend with folder=... filled, got ...
    """
    require(isinstance(folder, str | os.PathLike), "load", "folder", "must name a folder", folder)
    place = Path(os.path.expanduser(folder))
    known = {COMPARISON: load_comparison, RECOMMENDATION: load_recommendation}
    found = [name for name in known if (place / name).is_file()]
    got = words(f"{str(place)!r} without {' or '.join(known)}")
    require(bool(found), "load", "folder", "must be one that compare or recommend with folder=... filled", got)
    return known[found[0]](place)
