"""How the tests over every balancer call one: cases, and a bench that traces a balancer's step once."""

import functools
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from balancers.tables import TABLE
from keras import ops

from kmtl import balancers
from kmtl.tasks import Classification, Regression

SIZE = 8
NAMES = ["zebra", "ant", "mole", "bee", "cow"]


class Case(NamedTuple):
    """What a balancer meets in one step.

    Attributes:
        losses: Of each task, `(K,)`.
        gradients: Of each task, `(K, P)`.
        present: Which tasks have a label, `(K,)`.
        after: Losses of the same batch after the step, `(K,)`.
    """

    losses: np.ndarray
    gradients: np.ndarray
    present: np.ndarray
    after: np.ndarray

    @property
    def gram(self):
        """Inner products, in float64; what leaves float32 is infinite."""
        with np.errstate(all="ignore"):
            return np.asarray(self.gradients, "float64") @ np.asarray(self.gradients, "float64").T

    def of(self, places):
        """The same of some tasks, in this order."""
        return Case(*(value[places] for value in self))

    def times(self, factors):
        """The same with each task's loss multiplied by a number."""
        return self._replace(
            losses=self.losses * factors, gradients=self.gradients * factors[:, None], after=self.after * factors
        )


def case(gradients, losses=None, present=None):
    """A case from gradients, all tasks there and all losses 1 if nothing else is said."""
    gradients = np.asarray(gradients, "float64")
    losses = np.ones(len(gradients)) if losses is None else np.asarray(losses, "float64")
    present = np.ones(len(gradients), bool) if present is None else np.asarray(present)
    return Case(losses, gradients, present, 0.9 * losses)


def cases(count, steps, seed=0, decades=1.0):
    """Conflicting gradients of unlike lengths, and losses of unlike size."""
    generator = np.random.default_rng(seed)
    found = []
    for _ in range(steps):
        lengths = 10.0 ** (decades * generator.uniform(-0.5, 0.5, (count, 1)))
        gradients = generator.normal(size=(count, SIZE)) * lengths
        # A direction that the tasks pull to and fro.
        gradients[:, 0] += 2.0 * lengths[:, 0] * generator.choice([-1.0, 1.0], count)
        losses = np.exp(generator.normal(0.0, 0.7, count))
        found.append(Case(losses, gradients, np.ones(count, bool), losses * generator.uniform(0.7, 1.1, count)))
    return found


def partly(found, seed=1):
    """The same cases: all tasks there at first, then some, then nobody, then some again."""
    drawn = np.random.default_rng(seed).random((len(found), len(found[0].present))) < 0.6
    drawn[0], drawn[2:3] = True, False
    return [each._replace(present=here) for each, here in zip(found, drawn, strict=True)]


def tasks_of(kinds):
    """Regressions (`r`) and classifications (`c`), not in alphabetical order."""
    return [
        Regression(name) if kind == "r" else Classification(name, 3) for name, kind in zip(NAMES, kinds, strict=False)
    ]


def weighted(name):
    """Whether a balancer's direction is a weighted sum; without weights there is nothing to smooth."""
    return getattr(type(balancers.get(name)), "has_weights", True)


def kinds_of(name, most=5):
    """As many tasks as the random draws of a balancer leave alone, of both kinds where there are five."""
    count = min(TABLE[name].settled, most)
    return "rcrcr" if count >= 5 else "r" * count


def prepared(name, kinds, **options):
    """A balancer of the table that knows its tasks."""
    balancer = TABLE[name].make(**options)
    balancer.prepare(tasks_of(kinds), size=SIZE if balancer.needs == "gradients" else None)
    return balancer


def called(balancer, losses, gradients, gram, present, after):
    """One step: the weights `(K,)` and, from a balancer of gradients, the direction `(P,)`."""
    if balancer.needs == "gradients":
        direction = balancer.combine(gradients, losses=losses, present=present)
        squares = ops.sum(ops.square(gradients), axis=1)
        weights = ops.where(present & ops.isfinite(losses + squares) & (squares > 0), balancer.last, 0.0)
    else:
        known = {"losses": losses} if balancer.needs == "losses" else {"losses": losses, "gram": gram}
        weights = balancer.weigh(present=present, **known)
        direction = ops.zeros((gradients.shape[1],))
    if balancer.looks_again:
        balancer.after_update(after, present)
    return weights, direction


def tensors(each):
    """A case as `called` takes it."""
    with np.errstate(all="ignore"):
        arrays = [np.asarray(value, "float32") for value in (each.losses, each.gradients, each.gram, each.after)]
    losses, gradients, gram, after = map(tf.constant, arrays)
    return losses, gradients, gram, tf.constant(each.present), after


class Bench:
    """A balancer with its step traced once; every run starts from the state that it was made with.

    Args:
        name: In the table.
        kinds: A letter a task, as for `tasks_of`.
        mode: `"eager"`, `"graph"` or `"xla"`.
        **options: Of the balancer.
    """

    def __init__(self, name, kinds, mode="graph", **options):
        self.balancer = prepared(name, kinds, **options)
        self.start = [variable.numpy() for variable in self.balancer.variables]
        self.traces = 0
        self.step = (
            self._step if mode == "eager" else tf.function(self._step, jit_compile=mode == "xla", autograph=False)
        )

    def _step(self, *signals):
        self.traces += 1
        return called(self.balancer, *signals)

    def reset(self):
        """Brings the first state back."""
        for variable, value in zip(self.balancer.variables, self.start, strict=True):
            variable.assign(value)

    def go_on(self, found):
        """Weights `(steps, K)` and directions `(steps, P)` of the next steps."""
        weights, directions = [], []
        for each in found:
            weight, direction = (np.asarray(value) for value in self.step(*tensors(each)))
            if self.balancer.needs != "gradients":
                # 0 times NaN is not 0.
                gradients = np.where(weight[:, None] != 0, each.gradients, 0.0)
                direction = weight.astype("float64") @ gradients
            weights.append(weight)
            directions.append(direction)
        return np.stack(weights), np.stack(directions)

    def run(self, found):
        """The same from the first state on."""
        self.reset()
        return self.go_on(found)

    def state(self):
        """Every variable's value, by path."""
        return {variable.path: variable.numpy() for variable in self.balancer.variables}


@functools.cache
def bench(name, kinds="rrr", mode="graph", **options):
    """The one bench of these arguments; tests share it."""
    return Bench(name, kinds, mode, **options)


def aligned(one, other):
    """Cosine of two vectors."""
    one, other = np.asarray(one, "float64"), np.asarray(other, "float64")
    return one @ other / max(np.linalg.norm(one) * np.linalg.norm(other), 1e-300)


def worst_ascent(direction, each):
    """Smallest cosine of a direction with the gradients."""
    return min(aligned(direction, gradient) for gradient in each.gradients)
