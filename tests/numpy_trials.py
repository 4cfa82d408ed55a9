"""The planted problems of `planted_causes.py` trained by hand in NumPy: the same figures at next to no cost."""

import numpy as np

from kmtl.evidence.diagnosis.diagnosis_figures import Curves, PairFigures, TaskFigures

STARTS = 8


class Net:
    """A dense trunk and linear heads, squared errors, Adam; `tied`: one head, `closed`: behind units that are 0."""

    def __init__(self, generator, widths, trunk, *, linear=False, tied=False, closed=(), rate=0.01):
        inputs = 6
        limit = np.sqrt(6 / (inputs + trunk))
        self.names, self.linear, self.tied, self.closed, self.rate = list(widths), linear, tied, closed, rate
        self.values = {"w": generator.uniform(-limit, limit, (inputs, trunk)), "b": np.zeros(trunk)}
        for name, width in widths.items():
            limit = np.sqrt(6 / (trunk + width))
            key = "one" if tied else name
            self.values.setdefault(f"{key} w", generator.uniform(-limit, limit, (trunk, width)))
            self.values.setdefault(f"{key} b", np.zeros(width))
        self.moments = {key: (np.zeros_like(value), np.zeros_like(value)) for key, value in self.values.items()}
        self.steps = 0

    def key(self, name):
        return "one" if self.tied else name

    def features(self, x, name=None):
        before = x @ self.values["w"] + self.values["b"]
        features = before if self.linear else np.maximum(before, 0)
        return np.zeros_like(features) if name in self.closed else features

    def output(self, x, name):
        return self.features(x, name) @ self.values[f"{self.key(name)} w"] + self.values[f"{self.key(name)} b"]

    def loss(self, x, y, name):
        return np.mean((self.output(x, name) - y) ** 2)

    def gradients(self, x, y, name):
        """Of one task's loss, by variable."""
        features, error = self.features(x, name), self.output(x, name) - y
        slope = 2 * error / error.size
        found = {f"{self.key(name)} w": features.T @ slope, f"{self.key(name)} b": slope.sum(axis=0)}
        if name not in self.closed:
            below = slope @ self.values[f"{self.key(name)} w"].T * (1.0 if self.linear else features > 0)
            found |= {"w": x.T @ below, "b": below.sum(axis=0)}
        return found

    def shared(self, x, y, name):
        """The gradient of what is shared, flat."""
        found = self.gradients(x, y, name)
        keys = ["w", "b", *(["one w", "one b"] if self.tied else [])]
        return np.concatenate([found.get(key, np.zeros_like(self.values[key])).ravel() for key in keys])

    def step(self, x, labels, weights):
        """One step of Adam."""
        total = {}
        for name, y in labels.items():
            for key, value in self.gradients(x, y, name).items():
                total[key] = total.get(key, 0) + weights[name] * value
        self.steps += 1
        for key, value in total.items():
            one, two = self.moments[key]
            one, two = 0.9 * one + 0.1 * value, 0.999 * two + 0.001 * value**2
            self.moments[key] = one, two
            scale = self.rate * np.sqrt(1 - 0.999**self.steps) / (1 - 0.9**self.steps)
            self.values[key] = self.values[key] - scale * one / (np.sqrt(two) + 1e-7)


def train(problem, names, seed, labels, weights):
    """One training: curves, losses at the end, and at four times the shared gradients of each batch looked at."""
    generator = np.random.default_rng(seed)
    net = network(problem, generator, names, labels)
    x, held = problem.train[0], problem.validation[0]
    parts = np.arange(len(x)).reshape(-1, problem.batch)
    looks, training, validation = [look(net, x, labels[0], parts)], [], []
    for epoch in range(1, problem.epochs + 1):
        losses = []
        for rows in generator.permutation(len(x)).reshape(-1, problem.batch):
            losses.append([net.loss(x[rows], labels[0][name][rows], name) for name in names])
            net.step(x[rows], {name: labels[0][name][rows] for name in names}, weights)
        training.append(np.mean(losses, axis=0))
        validation.append([net.loss(held, labels[1][name], name) for name in names])
        if epoch in (1, (problem.epochs + 1) // 2, problem.epochs):
            looks.append(look(net, x, labels[0], parts))
    fitted = [net.loss(x, labels[0][name], name) for name in names]
    constant = [np.ptp(net.output(held, name), axis=0).max() < 1e-9 for name in names]
    return np.array(training), np.array(validation), np.array(fitted), looks, constant


def network(problem, generator, names, labels):
    widths = {name: labels[0][name].shape[1] for name in names}
    return Net(generator, widths, **problem.by_hand)


def look(net, x, labels, parts):
    """Gradients `(batches, tasks, weights)`."""
    return np.array([[net.shared(x[rows], labels[name][rows], name) for name in net.names] for rows in parts[:4]])


def standardised(problem):
    """Labels of training and validation, as columns."""
    both = []
    for _, labels in (problem.train, problem.validation):
        columns = {name: np.asarray(label, "float64").reshape(len(label), -1) for name, label in labels.items()}
        both.append(columns)
    if all(task.standardize for task in problem.tasks):
        scales = {name: (label.mean(axis=0), label.std(axis=0)) for name, label in both[0].items()}
        both = [{name: (label - scales[name][0]) / scales[name][1] for name, label in part.items()} for part in both]
    return both


def figures(problem, seeds):
    """What `diagnose` would find its causes by."""
    labels = standardised(problem)
    names = [task.name for task in problem.tasks]
    weights = problem.weights or dict.fromkeys(names, 1.0)
    joint = [train(problem, names, seed, labels, weights) for seed in seeds]
    alone = {name: [train(problem, [name], seed, labels, {name: 1.0}) for seed in seeds] for name in names}
    pull = np.array([[np.median(np.linalg.norm(g, axis=2), axis=0) for g in run[3]] for run in joint])
    pull = pull * np.array([weights[name] for name in names])
    tasks = [
        TaskFigures(
            name,
            *[float(np.mean(np.var(part[name], axis=0))) for part in labels],
            Curves(*(np.array([run[kind][..., place] for run in joint]) for kind in range(3))),
            Curves(*(np.array([run[kind][..., 0] for run in alone[name]]) for kind in range(3))),
            np.full(len(seeds), weights[name]),
            weights[name],
            pull[:, -1, place] / weights[name],
            pull[:, :, place] / pull.sum(axis=2),
            (pull[:, :, place] == 0).all(axis=1),
            np.array([run[4][place] for run in joint]),
        )
        for place, name in enumerate(names)
    ]
    x = problem.train[0]
    parts = np.arange(len(x)).reshape(-1, problem.batch)
    more = range(len(seeds), STARTS)
    starts = [
        look(network(problem, np.random.default_rng([seeds[0], at]), names, labels), x, labels[0], parts) for at in more
    ]
    begun = np.array([cosine(run[3][0]) for run in joint] + [cosine(start) for start in starts])
    going = np.array([[cosine(seen) for seen in run[3][1:]] for run in joint])
    return tasks, [PairFigures(names[0], names[1], begun, going)] if np.isfinite(begun).all() else []


def cosine(gradients):
    """Mean over batches, of the first two tasks."""
    one, other = gradients[:, 0], gradients[:, 1]
    sizes = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return np.mean((one * other).sum(axis=1) / np.where(sizes == 0, np.nan, sizes))
