"""One problem and one seed of `benchmarks/ways.py`: every way to loss weights, as JSON."""

import json
import pathlib
import sys
import tempfile
import time

import keras
from front_problems import PROBLEMS

import kmtl
from kmtl import balancers
from kmtl.metrics import delta_m
from kmtl.search.halving import cost
from kmtl.training.reusable import LastModel
from kmtl.training.trainer import Trainer, scores

BUDGET = 9
BALANCERS = ("uncertainty", "dwa", "famo", "imtl_l", "stch")
# So that what chose the weights by luck of its seed does not have that luck again.
FINAL = 1000


class Ways:
    """The ways to loss weights for one seed, each with what it costs.

    Args:
        problem: One of `front_problems.py`.
        epochs: Of a plain training.
        budget: Trainings that a way may cost.
        seed: Of everything.
        folder: Folder for searches.
    """

    def __init__(self, problem, epochs, budget, seed, folder):
        self.problem, self.epochs, self.budget, self.seed, self.folder = problem, epochs, budget, seed, folder
        self.tasks = problem.tasks()
        self.train, self.validation, self.test = problem.data("train", seed), *map(problem.data, ("validation", "test"))
        self.trainer, self.last = Trainer(self.plain, owner="ways", verbose=0), LastModel()
        self.runs, self.seconds = 0.0, 0.0
        self.baselines = self.alone()

    def plain(self, tasks, epochs):
        """Builds a model for a training of some length."""
        return self.problem.build(tasks, units=epochs / self.problem.epochs, seed=None)

    def made(self, epochs, seed, tasks=None, balancer=None):
        """A model from a seed; the one of the training before, set back, if it has the same form."""
        model = self.trainer.model(tasks or self.tasks, epochs, seed=seed)
        if balancer:
            chosen = keras.saving.serialize_keras_object(balancers.get(balancer))
            model.compile_from_config({**model.get_compile_config(), "balancer": chosen})
        return self.last.reuse(model, epochs, list(model.tasks), balancer)

    def fit(self, model, epochs, train=None):
        """Trains a model and counts what that costs; returns its logs."""
        history, seconds = self.trainer.fit(model, self.train if train is None else train, epochs=epochs)
        self.spend(epochs, seconds)
        return history

    def spend(self, epochs, seconds):
        """Counts a cost."""
        self.runs += epochs / self.epochs
        self.seconds += seconds

    def alone(self):
        """Scores of single-task models on the validation and on the test set."""
        found = {}, {}
        for task in self.tasks:
            model = self.made(self.epochs, self.seed, [task])
            self.fit(model, self.epochs, kmtl.data.only(self.train, [task.name]))
            for table, data in zip(found, (self.validation, self.test), strict=True):
                table.update(scores(model, kmtl.data.only(data, [task.name])))
        return found

    def final(self, weights=None, balancer=None, units=1):
        """Trains what was chosen, from another seed than it was chosen by."""
        model = self.made(units * self.epochs, self.seed + FINAL, balancer=balancer)
        model.set_loss_weights(weights or {})
        self.fit(model, units * self.epochs)
        return model

    def outcome(self, way):
        """Goes one way: what it cost, and what it led to on the test set."""
        self.runs, self.seconds = 0.0, 0.0
        model, chosen = getattr(self, way)()
        change = delta_m(scores(model, self.test), self.baselines[1], self.tasks)
        costs = {"runs": self.runs, "seconds": self.seconds}
        return {"way": way, "seed": self.seed, **costs, "delta_m": change, "chosen": chosen}

    def equal(self):
        """Equal weights."""
        return self.final(), "-"

    def longer(self):
        """Equal weights, with the whole budget spent on one training."""
        return self.final(units=self.budget), "-"

    def dynamic(self):
        """Fixed weights out of a run of a balancer."""
        history = self.fit(self.made(self.epochs, self.seed, balancer=BALANCERS[0]), self.epochs)
        chosen = kmtl.search.from_dynamic(history)
        return self.final(chosen), words(chosen)

    def balancer(self):
        """The best of the balancers on the validation set."""
        found = {}
        for name in BALANCERS[: self.budget - 1]:
            model = self.made(self.epochs, self.seed, balancer=name)
            self.fit(model, self.epochs)
            found[name] = delta_m(scores(model, self.validation), self.baselines[0], self.tasks)
        best = min(found, key=found.get)
        return self.final(balancer=best), best

    def random(self):
        """As many trials as the budget affords beside the last training."""
        return self.search("random", self.budget - 1, (self.budget - 1) * self.epochs)

    def halving(self):
        """As many candidates as the same affords by successive halving."""
        afforded, trials = (self.budget - 1) * self.epochs, self.budget - 1
        while cost(trials + 1, self.epochs) <= afforded:
            trials += 1
        return self.search("halving", trials, cost(trials, self.epochs))

    def search(self, tuner, trials, epochs):
        """Searches by KerasTuner; `epochs` is what that trains in all."""
        started = time.perf_counter()
        result = kmtl.search.weights(
            lambda tasks: self.plain(tasks, self.epochs),
            self.tasks,
            self.train,
            self.validation,
            objective=kmtl.search.DeltaM(self.baselines[0]),
            epochs=self.epochs,
            max_trials=trials,
            tuner=tuner,
            directory=f"{self.folder}/{tuner}",
            seed=self.seed,
            verbose=0,
        )
        self.spend(epochs, time.perf_counter() - started)
        return self.final(result.best_weights), words(result.best_weights)

    def front(self):
        """One training of the whole budget's length for every preference; the best one, folded."""
        epochs, started = self.budget * self.epochs, time.perf_counter()
        build = lambda tasks: self.trainer.model(tasks, epochs, seed=self.seed)  # noqa: E731
        options = {"epochs": epochs, "seed": self.seed, "verbose": 0}
        found = kmtl.front.train(build, self.tasks, self.train, self.validation, **options)
        self.spend(epochs, time.perf_counter() - started)
        point = found.select(delta_m=self.baselines[0])
        return found.model(point), words(dict(zip([one.name for one in self.tasks], point.preference, strict=True)))


# In the order of what they cost.
WAYS = ("equal", "dynamic", "balancer", "longer", "random", "halving", "front")


def words(values):
    """Weights in words."""
    return ", ".join(f"{name} {value:.3g}" for name, value in values.items())


def main():
    name, seed, path = sys.argv[1], int(sys.argv[2]), pathlib.Path(sys.argv[3])
    problem, smoke = PROBLEMS[name](), "--smoke" in sys.argv
    budget = 3 if smoke else BUDGET
    with tempfile.TemporaryDirectory() as folder:
        ways = Ways(problem, 1 if smoke else problem.epochs, budget, seed, folder)
        outcomes = [ways.outcome(way) for way in WAYS]
    scratch = path.with_suffix(".part")
    scratch.write_text(json.dumps({"problem": name, "seed": seed, "budget": budget, "outcomes": outcomes}))
    scratch.rename(path)


if __name__ == "__main__":
    main()
