"""Numbers as a picture's title shows them."""

from typing import Any

import numpy as np


def short_numbers(values: Any, digits: int = 1) -> str:
    """Numbers in short; a missing one is a question mark.

    Args:
        values: A number or an array; None where there is none.
        digits: Digits behind the point.

    >>> short_numbers([1.0, float("nan")]), short_numbers(None), short_numbers([-0.001, 0.1234], 2)
    ('1.0, ?', '?', '0.00, 0.12')
    """
    if values is None:
        return "?"
    numbers = np.ravel(values).astype("float64")
    # Adding 0 takes the sign off a zero.
    return ", ".join("?" if np.isnan(value) else f"{round(value, digits) + 0.0:.{digits}f}" for value in numbers)


def decimals(*given: Any) -> int:
    """Digits behind the point that leave three significant ones of the largest of some numbers.

    >>> decimals(0.1, -0.04), decimals([359.0], None), decimals(12.5, 10.0), decimals(0.0)
    (3, 0, 1, 1)
    """
    numbers = np.concatenate([np.zeros(0), *(np.ravel(values) for values in given if values is not None)])
    known = np.abs(numbers[np.isfinite(numbers)])
    largest = known.max() if known.size else 0.0
    return int(max(0, 2 - np.floor(np.log10(largest)))) if largest else 1
