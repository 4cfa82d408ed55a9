"""Rows of the balancers that look at the gradients themselves, or remember them."""

import numpy as np
from balancers.rows import Row

from kmtl.balancers.by_gradients import DBMTL, ExcessMTL, GradDrop, Krum, MemorylessDBMTL, MoCo, TrimmedMean


class GradDropReference:
    """What is kept on average: the draws do not show where the tasks agree."""

    def __init__(self, tasks):
        self.count = len(tasks)

    def weigh(self, present, losses=None, gram=None, gradients=None):  # noqa: ARG002 - the contract's arguments
        direction = np.zeros(gradients.shape[1])
        for place, column in enumerate(gradients[present].T):
            positive, negative = column[column > 0].sum(), -column[column < 0].sum()
            if positive + negative > 0:
                direction[place] = (positive**2 - negative**2) / (positive + negative)
        return direction


class MedianReference:
    """The median of each column."""

    def __init__(self, tasks):
        pass

    def weigh(self, present, losses=None, gram=None, gradients=None):  # noqa: ARG002
        if not present.any():
            return np.zeros(gradients.shape[1])
        return np.median(gradients[present], axis=0)


class KrumReference:
    """Distances one pair at a time, and every best task of its equals in turn."""

    def __init__(self, tasks):
        pass

    def weigh(self, present, losses=None, gram=None, gradients=None):  # noqa: ARG002
        places = np.flatnonzero(present)
        weights = np.zeros(len(present))
        scores = []
        for one in places:
            squares = [gram[one, one] + gram[other, other] - 2 * gram[one, other] for other in places if other != one]
            scores.append(sum(sorted(squares)[: max(1, len(places) - 2)]))
        best = [place for place, score in zip(places, scores, strict=True) if np.isclose(score, min(scores), 1e-9)]
        weights[best] = 1 / max(1, len(best))
        return weights


class MoCoReference:
    """LibMTL's update and the paper's projection, over the tasks present."""

    def __init__(self, tasks):
        self.tracked = [0.0] * len(tasks)
        self.ages = np.zeros(len(tasks))
        self.shares = np.ones(len(tasks))

    def projected(self, values):
        """By bisection on the level that makes the positive parts sum to 1."""
        low, high = values.min() - 1, values.max()
        for _ in range(200):
            level = (low + high) / 2
            low, high = (level, high) if np.maximum(values - level, 0).sum() > 1 else (low, level)
        return np.maximum(values - high, 0)

    def weigh(self, present, losses=None, gram=None, gradients=None):  # noqa: ARG002
        places = np.flatnonzero(present)
        if not len(places):
            return np.zeros(gradients.shape[1])
        self.ages[places] += 1
        for place in places:
            aim = losses[place] * gradients[place] / np.linalg.norm(gradients[place])
            self.tracked[place] = self.tracked[place] - 0.5 / self.ages[place] ** 0.5 * (self.tracked[place] - aim)
        rows = np.stack([self.tracked[place] for place in places])
        total = self.shares[places].sum()
        shares = self.shares[places] / total if total > 0 else np.zeros(len(places))
        steps = 0.1 / self.ages[places] ** 0.5
        weights = self.projected(shares - steps * (rows @ rows.T @ shares))
        self.shares[places] = weights * (total if total > 0 else len(places))
        return weights @ rows


class DBMTLReference:
    """Averages of the log losses' gradients, each as long as the longest."""

    def __init__(self, tasks, beta=0.9):
        self.averages = [0.0] * len(tasks)
        self.ages = np.zeros(len(tasks))
        self.beta = beta

    def weigh(self, present, losses=None, gram=None, gradients=None):  # noqa: ARG002
        places = np.flatnonzero(present)
        for place in places:
            self.ages[place] += 1
            old = self.beta / np.sqrt(self.ages[place])
            self.averages[place] = old * self.averages[place] + (1 - old) * gradients[place] / (losses[place] + 1e-8)
        sizes = {place: np.linalg.norm(self.averages[place]) for place in places}
        parts = [max(sizes.values()) / sizes[place] * self.averages[place] for place in places]
        return np.sum(parts, axis=0) if parts else np.zeros(gradients.shape[1])


class MemorylessDBMTLReference:
    """The same of one batch, as weights of the gradients."""

    def __init__(self, tasks):
        pass

    def weigh(self, present, losses=None, gram=None, gradients=None):  # noqa: ARG002
        weights = np.zeros(len(present))
        steepness = np.sqrt(np.diagonal(gram)) / losses
        for place in np.flatnonzero(present):
            weights[place] = steepness[present].max() / np.sqrt(gram[place, place])
        return weights


class ExcessReference:
    """The paper's exponentiated gradient on plain weights."""

    def __init__(self, tasks):
        self.squares = [0.0] * len(tasks)
        self.early = [[] for _ in tasks]
        self.weights = np.ones(len(tasks)) / len(tasks)

    def weigh(self, present, losses=None, gram=None, gradients=None):  # noqa: ARG002
        places = np.flatnonzero(present)
        if not len(places):
            return np.zeros(gradients.shape[1])
        raised = []
        for place in places:
            self.squares[place] = self.squares[place] + gradients[place] ** 2
            excess = np.sum(gradients[place] ** 2 / np.sqrt(self.squares[place] + 1e-7))
            if len(self.early[place]) < 2:
                self.early[place].append(excess)
                excess = np.mean(self.early[place])
            raised.append(self.weights[place] * np.exp(0.3 * excess / np.mean(self.early[place])))
        normalised = np.array(raised) / np.sum(raised)
        self.weights[places] = normalised * self.weights[places].sum()
        return normalised @ gradients[places]


TABLE = {
    "graddrop": Row(lambda **options: GradDrop(seed=5, **options), GradDropReference, settled=1, repeats=False),
    "trimmed_mean": Row(lambda **options: TrimmedMean(trim=None, **options), MedianReference),
    "krum": Row(lambda **options: Krum(byzantine=0, selected=1, **options), KrumReference),
    "moco": Row(MoCo, MoCoReference, learns=True),
    "db_mtl": Row(DBMTL, DBMTLReference, scale_invariant=True, learns=True),
    "db_mtl_memoryless": Row(MemorylessDBMTL, MemorylessDBMTLReference, scale_invariant=True, non_conflict=2),
    "excess": Row(lambda **options: ExcessMTL(step_size=0.3, warmup=2, **options), ExcessReference, learns=True),
}
