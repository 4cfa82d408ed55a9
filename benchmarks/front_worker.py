"""One problem and one seed of `benchmarks/front.py`: every training, its validation and its test scores, as JSON."""

import json
import pathlib
import sys
import time

import keras
import numpy as np
from front_problems import PROBLEMS

import kmtl
from kmtl.front import preferences
from kmtl.front.loss_scales import alike
from kmtl.training.reusable import Reusable
from kmtl.training.trainer import scores

# Shares of the tasks: the ends keep a little of each, so that no run of the grid is thrown away on an untrained head.
END = 0.02


def grid(tasks):
    """Ten preferences of three tasks, eleven of two."""
    if tasks == 2:
        return [(float(share), float(1 - share)) for share in np.linspace(END, 1 - END, 11)]
    rows = [(1 / 3, 1 / 3, 1 / 3)]
    for first, others in ((0.6, (0.2, 0.2)), (0.1, (0.45, 0.45)), (1 - 2 * END, (END, END))):
        rows += [tuple(np.insert(others, place, first).tolist()) for place in range(3)]
    return rows


class Clock(keras.callbacks.Callback):
    """CPU seconds of each epoch's training, without its validation."""

    def __init__(self):
        super().__init__()
        self.times = []

    def on_epoch_begin(self, epoch, logs=None):
        """Starts."""
        del epoch, logs
        self.start, self.end = time.process_time(), None

    def on_test_begin(self, logs=None):
        """Stops before a validation."""
        del logs
        self.end = time.process_time()

    def on_epoch_end(self, epoch, logs=None):
        """Takes the time."""
        del epoch, logs
        self.times.append((self.end or time.process_time()) - self.start)

    @property
    def seconds(self):
        """Of the whole training; the first epoch, which traces, counts as the others do."""
        later = self.times[1:] or self.times
        return sum(later) / len(later) * len(self.times)


class Bench:
    """The trainings of one problem and one seed."""

    def __init__(self, name, seed):
        self.problem, self.seed = PROBLEMS[name](), seed
        self.tasks = self.problem.tasks()
        self.names = [task.name for task in self.tasks]
        self.validation, self.test = self.problem.data("validation"), self.problem.data("test")
        self.rows = []

    def measured(self, model, preference=None):
        """Scores on the validation and the test set, `{task: {metric: value}}` each."""
        found = []
        for data in (self.validation, self.test):
            given = data
            if preference is not None:
                given = preferences.with_one(data, ["image", "preference"], list(preference))
            found.append(scores(model, given, losses=True))
        return found

    def keep(self, way, preference, measured, seconds):
        """Adds one point of a way."""
        validation, test = measured
        row = {"way": way, "preference": list(preference), "validation": validation, "test": test, "seconds": seconds}
        self.rows.append(row)
        print(way, np.round(preference, 2), f"{seconds:.1f} s", test, flush=True)

    def trained(self, way, model, preference, epochs):
        """Trains one model and keeps its scores."""
        clock = Clock()
        model.fit(self.problem.data("train", self.seed), epochs=epochs, verbose=0, callbacks=[clock])
        self.keep(way, preference, self.measured(model), clock.seconds)

    def alone(self):
        """One model a task."""
        for place, task in enumerate(self.tasks):
            whole = self.problem.data("train", self.seed)
            model = self.problem.build([task], seed=self.seed)
            clock = Clock()
            model.fit(kmtl.data.only(whole, [task.name]), epochs=self.problem.epochs, verbose=0, callbacks=[clock])
            sets = [kmtl.data.only(data, [task.name]) for data in (self.validation, self.test)]
            found = [scores(model, data, losses=True) for data in sets]
            self.keep("alone", np.eye(len(self.tasks))[place].tolist(), found, clock.seconds)

    def fixed(self, way, width):
        """A grid of fixed weights, all runs by one traced model."""
        reusable = Reusable(self.problem.build(width=width, seed=self.seed))
        model = reusable.model
        model.adapt(self.problem.data("train", self.seed))
        start = reusable.state()
        measured = scores(model, self.problem.data("train", self.seed), losses=True)
        sizes = {name: found["loss"] for name, found in measured.items()}
        points = [(row, alike(sizes, dict(zip(self.names, row, strict=True)))) for row in grid(len(self.names))]
        if len(self.names) > 2:
            # The eleventh: Keras's own sum of the losses.
            raw = np.array([sizes[name] for name in self.names])
            points.append(((raw / raw.sum()).tolist(), dict.fromkeys(self.names, 1.0)))
        for row, weights in points:
            reusable.restore(start)
            model.set_loss_weights(weights)
            self.trained(way, model, row, self.problem.epochs)
        return sizes

    def longer(self, sizes, units):
        """One training with fixed, equal shares, as long as the front's."""
        model = self.problem.build(units=units, seed=self.seed)
        shares = [1 / len(self.names)] * len(self.names)
        model.set_loss_weights(alike(sizes, dict(zip(self.names, shares, strict=True))))
        self.trained(f"longer {units}", model, shares, units * self.problem.epochs)

    def front(self, units):
        """One training for all preferences."""
        clock = Clock()
        found = kmtl.front.train(
            lambda tasks: self.problem.build(tasks, units=units, seed=self.seed),
            self.tasks,
            self.problem.data("train", self.seed),
            self.validation,
            epochs=units * self.problem.epochs,
            seed=self.seed,
            verbose=0,
            callbacks=[clock],
        )
        for point in found.points:
            self.keep(
                f"front {units}", point.preference, self.measured(found.conditioned, point.preference), clock.seconds
            )
        return found.conditioned.count_params()

    def matched(self, parameters):
        """The width at which a plain model has as many weights as the conditioned one."""
        widths = np.arange(1.0, 3.0, 0.02)
        counts = [self.problem.build(width=float(width)).count_params() for width in widths]
        return float(widths[int(np.argmin(np.abs(np.array(counts) - parameters)))])


def main():
    name, seed, path = sys.argv[1], int(sys.argv[2]), pathlib.Path(sys.argv[3])
    bench = Bench(name, seed)
    bench.alone()
    sizes = bench.fixed("grid", 1.0)
    parameters = bench.front(1)
    bench.front(3)
    bench.longer(sizes, 3)
    width = bench.matched(parameters)
    bench.fixed("matched grid", width)
    plain = bench.problem.build(seed=seed).count_params()
    directions = {
        task.name: {m: task.direction(m) for m in bench.rows[-1]["test"][task.name] if m != "loss"}
        for task in bench.tasks
    }
    found = {
        "problem": name,
        "seed": seed,
        "epochs": bench.problem.epochs,
        "parameters": plain,
        "conditioned": parameters,
        "width": width,
        "directions": directions,
        "rows": bench.rows,
        "examples": {split: len(images) for split, (images, _) in bench.problem.splits.items()},
    }
    scratch = path.with_suffix(".part")
    scratch.write_text(json.dumps(found))
    scratch.rename(path)


if __name__ == "__main__":
    main()
