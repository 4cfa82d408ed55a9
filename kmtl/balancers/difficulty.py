"""One door to the balancers that weigh tasks by how hard they are."""

from collections.abc import Mapping
from typing import Any

from kmtl._checks import is_number, near, refusal, require, words
from kmtl.balancers.base import Balancer
from kmtl.balancers.registry import get

#: What a measure is called, the balancer of it, and the option of that which is the power.
MEASURES: Mapping[str, tuple[str, str]] = {
    "metric": ("dtp", "exponent"),
    "descent": ("dwa", "exponent"),
    "rate": ("gradnorm", "alpha"),
    "loss": ("relative_loss", "exponent"),
}


def by_difficulty(measure: str, *, exponent: float = 1.0, cap: float | None = 3.0, **options: Any) -> Balancer:
    """Weights that move with how hard each task is; the meaning of *hard* and the direction are the user's choice.

    ============== ===================================================== ================= =========================
    measure        a task is hard while                                  balancer          of weight, before the cap
    ============== ===================================================== ================= =========================
    `"metric"`     its metric is low, k in (0, 1]                        `dtp`             `(-(1 - k)^g ln k)^a`
    `"descent"`    its loss falls slowly from epoch to epoch, `r`        `dwa`             `exp(a r / T)`
    `"rate"`       less of its first loss is gone than of the others'    `gradnorm`        gradients as `rate^a`
    `"loss"`       much of its first loss is left                        `relative_loss`   `(L / L(0))^a`
    ============== ===================================================== ================= =========================

    Both directions are published: hard tasks up, so that they are learned at all; easy ones up, so that the trunk
    learns first from those that teach it (uncertainty weighting is of this kind: a large loss makes a small weight). A
    task whose labels are noise looks hard under every measure, so the weights have a cap unless it is switched off.

    Fixed weights from one measurement: `kmtl.weighting.by_difficulty`.

    Args:
        measure: What makes a task hard.
        exponent: The power a: above 0 lifts hard tasks, below 0 easy ones, 0 none.
        cap: How far a weight may be from the mean weight: at most `cap` times it, at least its `1 / cap`. None: as far
            as the method says.
        **options: Of the balancer: `gamma` and `kpi` of `dtp`, `temperature` and `window` of `dwa`, `lower_bounds` of
            `dwa` and `relative_loss`, `learning_rate` and `level` of `gradnorm`; `smoothing` of all.

    Returns:
        The balancer, for `compile(balancer=...)`.

    Raises:
        ValueError: If the measure is unknown or a value out of range.
        TypeError: If the balancer does not take an option.

    Source: Guo et al., "Dynamic Task Prioritization for Multitask Learning", ECCV 2018; Liu, Johns and Davison,
    "End-to-End Multi-Task Learning with Attention", CVPR 2019; Chen et al., "GradNorm", ICML 2018. The cap and powers
    below 0 are ours.

    >>> by_difficulty("metric", exponent=-1.0)
    kmtl.balancers.get('dtp', cap=3.0, exponent=-1.0)
    >>> by_difficulty("descent", temperature=1.0, cap=None)
    kmtl.balancers.get('dwa', temperature=1.0)
    """
    known = isinstance(measure, str) and measure in MEASURES
    rule = f"must be one of {', '.join(map(repr, MEASURES))}"
    require(known, "by_difficulty", "measure", rule, measure, near(str(measure), MEASURES))
    require(is_number(exponent), "by_difficulty", "exponent", "must be a finite number", exponent)
    name, power = MEASURES[measure]
    if power in options and power != "exponent":
        fix = "Leave it out: it is the exponent."
        raise TypeError(refusal("by_difficulty", power, "must not be given twice", words(f"{options[power]}"), fix))
    return get(name, **{power: float(exponent), "cap": cap, **options})
