"""What a comparison amounts to, in plain sentences."""

from collections.abc import Mapping, Sequence

import numpy as np


def change_sentences(
    changes: Mapping[str, tuple[float, float]],
    costs: Mapping[str, float],
    baseline: str,
    flags: Mapping[str, Sequence[str]] | None = None,
) -> list[str]:
    """Says which rows of a comparison are better or worse than its baseline, at what cost, and which tasks are harmed.

    Only what the intervals say is called better or worse; all others are ties, in one sentence.

    Args:
        changes: `{row: (delta_m, half its 95 % interval)}` in percent, negative is better; the baseline may be in it.
        costs: `{row: cost}` in joint trainings, of every row and the baseline.
        baseline: The row that the others are held against.
        flags: `{row: tasks that it harms}`.

    >>> changes = {"separate": (0.0, float("nan")), "wide": (-4.0, 1.0), "joint": (6.0, 2.0), "unit": (0.5, 3.0)}
    >>> costs = {"separate": 3.0, "wide": 1.5, "joint": 1.0, "unit": 1.0}
    >>> for sentence in change_sentences(changes, costs, "separate", {"joint": ["kind"]}):
    ...     print(sentence)
    'wide' is 4.0 ± 1.0 % better than 'separate', at 0.50 of its cost.
    'joint' is 6.0 ± 2.0 % worse than 'separate', at 0.33 of its cost.
    Nothing tells 'unit' from 'separate'.
    'joint' harms kind.
    """
    others = {name: pair for name, pair in changes.items() if name != baseline}
    if all(np.isnan(half) for _, half in others.values()):
        return ["A single seed decides nothing: give two or more, and better five."] if others else []
    clear = {name: pair for name, pair in others.items() if abs(pair[0]) > pair[1]}
    told = [
        f"{name!r} is {abs(change):.1f} ± {half:.1f} % {'better' if change < 0 else 'worse'} than {baseline!r}, "
        f"at {costs[name] / costs[baseline]:.2f} of its cost."
        for name, (change, half) in sorted(clear.items(), key=lambda row: row[1])
    ]
    ties = [repr(name) for name in others if name not in clear]
    told += [f"Nothing tells {_listed(ties)} from {baseline!r}."] if ties else []
    return told + [f"{name!r} harms {_listed(list(tasks))}." for name, tasks in (flags or {}).items() if tasks]


def _listed(words: Sequence[str]) -> str:
    """Words as a list in a sentence.

    >>> _listed(["a", "b", "c"])
    'a, b and c'
    """
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))
