"""Rows of the balancers that read the Gramian and solve no optimisation problem but a small one."""

import itertools

import keras
import numpy as np
from balancers.rows import Row
from balancers.table_losses import Adam

from kmtl.balancers.by_gramian import IMTL, IMTLG, PCD, Aligned, ConFIG, GradNorm, GradVac, PCGrad, Unit


class GramianReference:
    """Hands the rows of the tasks present to `of_rows`, and spreads its weights."""

    def __init__(self, tasks):
        self.names = [task.name for task in tasks]
        self.places = []
        self.losses = None

    def weigh(self, present, losses=None, gram=None, gradients=None):  # noqa: ARG002 - the contract's arguments
        self.places = [int(place) for place in np.flatnonzero(present)]
        self.losses = losses
        weights = np.zeros(len(present))
        if self.places:
            weights[self.places] = self.of_rows(gradients[self.places])
        return weights


class UnitReference(GramianReference):
    """The root mean square of the lengths over each."""

    def of_rows(self, rows):
        lengths = np.linalg.norm(rows, axis=1)
        return np.sqrt(np.mean(lengths**2)) / lengths


class IMTLGReference(GramianReference):
    """Solves for equal projections on the unit gradients."""

    def of_rows(self, rows):
        found = np.linalg.solve(rows @ rows.T, np.linalg.norm(rows, axis=1))
        return found / abs(found.sum())


class IMTLReference(IMTLGReference):
    """The same of explicitly scaled gradients; the scales learn."""

    def __init__(self, tasks):
        super().__init__(tasks)
        self.scales = [Adam(0.0, 0.1) for _ in tasks]

    def of_rows(self, rows):
        factors = np.exp([self.scales[place].value for place in self.places])
        weights = factors * super().of_rows(factors[:, None] * rows)
        for place, factor in zip(self.places, factors, strict=True):
            self.scales[place].step(factor * self.losses[place] - 1.0)
        return weights


class ConFIGReference(GramianReference):
    """The paper's pseudo-inverse of the unit gradients."""

    def of_rows(self, rows):
        units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        best = np.linalg.pinv(units) @ np.ones(len(rows))
        best = best / np.linalg.norm(best)
        return np.linalg.pinv(rows.T) @ ((rows @ best).sum() * best)


class AlignedReference(GramianReference):
    """Replaces all singular values of the gradients by the smallest."""

    def of_rows(self, rows):
        left, values, right = np.linalg.svd(rows, full_matrices=False)
        return np.linalg.pinv(rows.T) @ (values.min() * left @ right).mean(axis=0)


class GradNormReference(GramianReference):
    """The gradient of GradNorm's loss by central differences."""

    def __init__(self, tasks):
        super().__init__(tasks)
        self.logits = [Adam(0.0, 0.1) for _ in tasks]
        self.first = [[] for _ in tasks]

    def of_rows(self, rows):
        lengths, logits = np.linalg.norm(rows, axis=1), np.array([self.logits[place].value for place in self.places])
        ready = [len(self.first[place]) >= 2 for place in self.places]
        for place in self.places:
            self.first[place] += [self.losses[place]] * (len(self.first[place]) < 2)
        rates = np.array([self.losses[place] / np.mean(self.first[place]) for place in self.places])
        weights = self.softmax(logits)
        target = np.mean(weights * lengths) * (rates / rates.mean()) ** 1.5
        for which, place in enumerate(self.places):
            shift = 1e-6 * (np.arange(len(rows)) == which)
            ends = [np.abs(self.softmax(logits + sign * shift) * lengths - target).sum() for sign in (1, -1)]
            if ready[which]:
                self.logits[place].step((ends[0] - ends[1]) / 2e-6)
        return weights

    def softmax(self, logits):
        return len(logits) * np.exp(logits) / np.exp(logits).sum()


class PCDReference(GramianReference):
    """Tries every set of binding conditions on explicit vectors; the first task leads."""

    def __init__(self, tasks):
        super().__init__(tasks)
        self.averages, self.ages = np.zeros(len(tasks)), np.zeros(len(tasks))

    def of_rows(self, rows):
        self.averages[self.places] = 0.999 * self.averages[self.places] + 0.001 * np.sum(rows**2, axis=1)
        self.ages[self.places] += 1
        means = self.averages[self.places] / (1 - 0.999 ** self.ages[self.places])
        scaled = rows / np.sqrt(means + 1e-8)[:, None]
        found = closest(scaled[0], scaled[1:], 0.5)
        return np.linalg.pinv(rows.T) @ (found * np.linalg.norm(rows[0]) / np.linalg.norm(found))


def closest(first, others, tau):
    """The nearest direction to `first` that gives each of the others its share."""
    floors = tau * np.sum(others**2, axis=1)
    met = []
    for chosen in itertools.product([False, True], repeat=len(others)):
        rows = others[list(chosen)]
        direction = first + np.linalg.pinv(rows) @ (floors[list(chosen)] - rows @ first) if len(rows) else first
        if np.all(others @ direction >= floors - 1e-9):
            met.append(direction)
    return min(met, key=lambda direction: np.linalg.norm(direction - first))


class PCGradReference:
    """The paper's algorithm on explicit vectors, under the orders that the seed draws."""

    def __init__(self, tasks):
        self.seeds = keras.random.SeedGenerator(5)
        self.targets = np.zeros((len(tasks), len(tasks)))

    def weigh(self, present, losses=None, gram=None, gradients=None):  # noqa: ARG002 - the contract's arguments
        count = len(present)
        noise = np.asarray(keras.random.uniform((count, count), seed=self.seeds))
        weights = np.zeros(count)
        for task in np.flatnonzero(present):
            turned, shares = gradients[task].copy(), np.eye(count)[task]
            for other in np.argsort(noise[task]):
                if other != task and present[other]:
                    factor = self.added(turned, gradients[other], (task, other))
                    turned = turned + factor * gradients[other]
                    shares[other] += factor
            weights += shares
        return weights

    def added(self, turned, other, pair):  # noqa: ARG002 - what GradVac needs
        return max(0.0, -(turned @ other) / (other @ other))


class GradVacReference(PCGradReference):
    """The same with the paper's formula and targets."""

    def added(self, turned, other, pair):
        length, unit = np.linalg.norm(turned), np.linalg.norm(other)
        seen, aim = turned @ other / (length * unit), self.targets[pair]
        self.targets[pair] = 0.5 * aim + 0.5 * seen
        if seen >= aim:
            return 0.0
        sines = np.sqrt(1 - seen**2), np.sqrt(1 - aim**2)
        return length * (aim * sines[0] - seen * sines[1]) / (unit * sines[1])


TABLE = {
    "unit": Row(Unit, UnitReference, scale_invariant=True, non_conflict=2),
    "imtl_g": Row(IMTLG, IMTLGReference, positive=False, scale_invariant=True, non_conflict=99),
    "imtl": Row(
        lambda **options: IMTL(learning_rate=0.1, **options),
        IMTLReference,
        positive=False,
        scale_invariant=True,
        non_conflict=99,
        learns=True,
    ),
    "config": Row(ConFIG, ConFIGReference, positive=False, scale_invariant=True, non_conflict=99),
    "aligned": Row(Aligned, AlignedReference, positive=False),
    "gradnorm": Row(
        lambda **options: GradNorm(learning_rate=0.1, first_steps=2, **options), GradNormReference, learns=True
    ),
    # Who comes first leads: a permutation changes the method.
    "pcd": Row(
        lambda **options: PCD(tau=0.5, **options), PCDReference, symmetric=False, scale_invariant=True, learns=True
    ),
    "pcgrad": Row(lambda **options: PCGrad(seed=5, **options), PCGradReference, settled=2, non_conflict=2),
    "gradvac": Row(
        lambda **options: GradVac(seed=5, beta=0.5, **options),
        GradVacReference,
        settled=2,
        positive=False,
        learns=True,
    ),
}
