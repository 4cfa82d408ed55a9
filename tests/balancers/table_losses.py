"""Rows of the balancers that read the losses, and of those that read nothing."""

import math

import keras
import numpy as np
from balancers.rows import Row

from kmtl.balancers.by_losses import (
    DTP,
    DWA,
    FAMO,
    GLS,
    IMTLL,
    SI,
    STCH,
    UWSO,
    LabelCount,
    Liebel,
    RelativeLoss,
    Uncertainty,
)
from kmtl.balancers.fixed import Equal, Static
from kmtl.balancers.random import RLW


def softmax(logits, present):
    """Of the tasks present; 0 for the others."""
    powers = [math.exp(logit) if here else 0.0 for logit, here in zip(logits, present, strict=True)]
    return np.array([power / (sum(powers) or 1.0) for power in powers])


class Adam:
    """Textbook Adam on one number."""

    def __init__(self, value, learning_rate, low=-math.inf, high=math.inf):
        self.value, self.learning_rate, self.low, self.high = value, learning_rate, low, high
        self.first = self.second = self.steps = 0

    def step(self, gradient):
        self.steps += 1
        self.first = 0.9 * self.first + 0.1 * gradient
        self.second = 0.999 * self.second + 0.001 * gradient**2
        size = math.sqrt(self.second / (1 - 0.999**self.steps)) + 1e-8
        value = self.value - self.learning_rate * self.first / (1 - 0.9**self.steps) / size
        self.value = min(max(value, self.low), self.high)


class EqualReference:
    """Ones."""

    def __init__(self, tasks):
        self.count = len(tasks)

    def weigh(self, present, losses=None, gram=None, gradients=None):  # noqa: ARG002 - the contract's arguments
        return np.ones(self.count)


class RLWReference:
    """The softmax of what the seed draws."""

    def __init__(self, tasks):
        self.count = len(tasks)
        self.seeds = keras.random.SeedGenerator(5)

    def weigh(self, present, losses=None, gram=None, gradients=None):  # noqa: ARG002
        return softmax(np.asarray(keras.random.normal((self.count,), seed=self.seeds), "float64"), present)


class SIReference:
    """One over each loss: also the warm-up of smooth Tchebycheff."""

    def __init__(self, tasks):
        del tasks

    def weigh(self, present, losses=None, gram=None, gradients=None):  # noqa: ARG002
        return 1 / losses


class GLSReference:
    """Slopes of the geometric mean, by central differences."""

    def __init__(self, tasks):
        del tasks

    def weigh(self, present, losses=None, gram=None, gradients=None):  # noqa: ARG002
        def mean(values):
            return np.prod(values[present]) ** (1 / max(present.sum(), 1))

        steps = 1e-5 * np.diag(losses)
        return np.array([(mean(losses + step) - mean(losses - step)) / (2 * step.max()) for step in steps])


class UncertaintyReference:
    """`factor * exp(-s)`."""

    def __init__(self, tasks):
        self.factors = [0.5 if task.kind == "regression" else 1.0 for task in tasks]
        self.adams = [Adam(0.3, 0.2, -2.0, 0.7) for _ in tasks]

    def weigh(self, present, losses=None, gram=None, gradients=None):  # noqa: ARG002
        weights = [factor * math.exp(-adam.value) for factor, adam in zip(self.factors, self.adams, strict=True)]
        for adam, weight, loss, here in zip(self.adams, weights, losses, present, strict=True):
            if here:
                adam.step(0.5 - weight * loss)
        return np.array(weights)


class LiebelReference:
    """`1 / (2 c^2)` with the slope of `L / (2 c^2) + log(1 + c^2)` by `log c^2`, through c."""

    def __init__(self, tasks):
        self.adams = [Adam(0.0, 0.2) for _ in tasks]

    def weigh(self, present, losses=None, gram=None, gradients=None):  # noqa: ARG002
        roots = [math.exp(adam.value / 2) for adam in self.adams]
        for adam, root, loss, here in zip(self.adams, roots, losses, present, strict=True):
            if here:
                adam.step((-loss / root**3 + 2 * root / (1 + root**2)) * root / 2)
        return np.array([1 / (2 * root**2) for root in roots])


class IMTLLReference:
    """`exp(s)`."""

    def __init__(self, tasks):
        self.adams = [Adam(0.0, 0.2) for _ in tasks]

    def weigh(self, present, losses=None, gram=None, gradients=None):  # noqa: ARG002
        weights = [math.exp(adam.value) for adam in self.adams]
        for adam, weight, loss, here in zip(self.adams, weights, losses, present, strict=True):
            if here:
                adam.step(weight * loss - 1)
        return np.array(weights)


class UWSOReference:
    """Softmax of the inverse losses over the temperature 2."""

    def __init__(self, tasks):
        del tasks

    def weigh(self, present, losses=None, gram=None, gradients=None):  # noqa: ARG002
        return softmax(1 / losses / 2, present)


class DWAReference:
    """Windows of two steps, kept as lists."""

    def __init__(self, tasks):
        self.seen = [[] for _ in tasks]

    def weigh(self, present, losses=None, gram=None, gradients=None):  # noqa: ARG002
        for seen, loss, here in zip(self.seen, losses, present, strict=True):
            seen.extend([loss] * int(here))
        ratios = [sum(seen[-2:]) / sum(seen[-4:-2]) if len(seen) >= 4 else 1.0 for seen in self.seen]
        return present.sum() * softmax([ratio / 0.5 for ratio in ratios], present)


class FAMOReference:
    """The authors' update, with the Jacobian of the softmax spelled out."""

    def __init__(self, tasks):
        self.adams = [Adam(0.0, 0.2) for _ in tasks]
        self.losses = np.ones(len(tasks))

    def weigh(self, present, losses=None, gram=None, gradients=None):  # noqa: ARG002
        self.losses = losses
        share = softmax([adam.value for adam in self.adams], present)
        return share / losses / (np.sum(share / losses) or 1.0)

    def after_update(self, losses, present):
        fall = np.where(present, np.log(self.losses) - np.log(losses), 0.0)
        share = softmax([adam.value for adam in self.adams], present)
        gradients = (np.diag(share) - np.outer(share, share)) @ fall
        for adam, gradient, here in zip(self.adams, gradients, present, strict=True):
            if here:
                adam.step(gradient + 0.01 * adam.value)


class LabelCountReference:
    """Without counts, the numbers of batches."""

    def __init__(self, tasks):
        self.labels = np.zeros(len(tasks))

    def weigh(self, present, losses=None, gram=None, gradients=None):  # noqa: ARG002
        self.labels = self.labels + present
        powers = np.where(present, np.maximum(self.labels, 1) ** -0.5, 0.0)
        return present.sum() * powers / (powers.sum() or 1.0)


class RelativeLossReference:
    """Ratios to the mean of the steps so far, which are fewer than 20."""

    def __init__(self, tasks):
        self.seen = [[] for _ in tasks]

    def weigh(self, present, losses=None, gram=None, gradients=None):  # noqa: ARG002
        for seen, loss, here in zip(self.seen, losses, present, strict=True):
            seen.extend([loss] * int(here))
        return np.array([loss / np.mean(seen or [1.0]) for seen, loss in zip(self.seen, losses, strict=True)]) ** 1.5


TABLE = {
    "equal": Row(Equal, EqualReference),
    # Names would tie the row to its tasks; given weights have their own tests.
    "static": Row(Static, EqualReference),
    "rlw": Row(lambda **options: RLW(seed=5, **options), RLWReference, settled=1),
    "si": Row(SI, SIReference, scale_invariant=True),
    "gls": Row(GLS, GLSReference, scale_invariant=True),
    "uncertainty": Row(
        lambda **options: Uncertainty(learning_rate=0.2, initial=0.3, floor=-2.0, ceiling=0.7, **options),
        UncertaintyReference,
        learns=True,
    ),
    "liebel": Row(lambda **options: Liebel(learning_rate=0.2, **options), LiebelReference, learns=True),
    "uw_so": Row(lambda **options: UWSO(temperature=2.0, **options), UWSOReference),
    "imtl_l": Row(lambda **options: IMTLL(learning_rate=0.2, **options), IMTLLReference, learns=True),
    "dwa": Row(lambda **options: DWA(temperature=0.5, window=2, **options), DWAReference, learns=True),
    # Its indicators come at the end of an epoch; until then all weigh 1.
    "dtp": Row(DTP, EqualReference, learns=True),
    "famo": Row(
        lambda **options: FAMO(learning_rate=0.2, weight_decay=0.01, **options),
        FAMOReference,
        scale_invariant=True,
        learns=True,
    ),
    # It warms up until the end of an epoch.
    "stch": Row(STCH, SIReference, scale_invariant=True, learns=True),
    "label_count": Row(lambda **options: LabelCount(exponent=-0.5, **options), LabelCountReference, learns=True),
    "relative_loss": Row(lambda **options: RelativeLoss(exponent=1.5, **options), RelativeLossReference, learns=True),
}
