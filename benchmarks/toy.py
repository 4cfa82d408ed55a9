"""Every balancer on the two-task toy problem of the literature: where it ends, and whether that is on the front.

    python benchmarks/toy.py --write

Two parameters, two losses with a ridge between them, the first loss multiplied by 0.1, Adam at 0.001, five starts,
35,000 steps (Navon et al., "Multi-Task Learning as a Bargaining Game", ICML 2022; the problem is that of Liu et al.,
"Conflict-Averse Gradient Descent for Multi-task Learning", NeurIPS 2021). The formulas are those of the published
code; the papers print another sign. Losses go to the balancers less their lower bounds, so that logarithms exist.
"""

import argparse
import inspect
import pathlib
import time

import keras
import numpy as np
import tensorflow as tf
from keras import ops
from timing import header

import kmtl

RESULTS = pathlib.Path(__file__).parent / "results" / "toy.md"
STARTS = ((-8.5, 7.5), (0.0, 0.0), (9.0, 9.0), (-7.5, -0.5), (9.0, -1.0))
STEPS, EPOCH, LEARNING_RATE = 35_000, 100, 1e-3
LOWEST = -21.0
#: Options that the reference values were made with, or that two tasks ask for.
OPTIONS = {
    "cagrad": {"radius": 0.4},
    "famo": {"weight_decay": 0.0},
    "krum": {"byzantine": 0},
    "trimmed_mean": {"trim": 0},
}
#: Steps where the literature takes others.
STEPS_OF = {"famo": 50_000}
#: End points of a float64 NumPy implementation with closed forms for two tasks, rounded.
REFERENCE = {
    "equal": [(-5.73, -7.57), (-5.73, -8.41), (5.03, 4.00), (-5.73, -8.41), (-5.73, -8.41)],
    "mgda": [(-1.92, -8.36), (6.10, -8.42), (6.98, -8.43), (-4.26, -8.39), (7.00, -8.43)],
    "pcgrad": [(-4.44, -8.39), (-3.35, -8.37), (6.08, 0.46), (-3.82, -8.38), (5.04, -8.40)],
    "gradvac": [(-5.73, -8.41), (-5.73, -8.41), (5.03, 2.27), (-5.73, -8.41), (-5.73, -8.41)],
    "cagrad": [(-5.67, -7.61), (-5.73, -8.41), (5.94, 0.57), (-5.73, -8.41), (-5.73, -8.41)],
    "imtl_g": [(-2.43, -8.37), (0.00, -8.36), (2.47, -8.37), (-3.45, -8.38), (4.98, -8.40)],
    "nash": [(-2.43, -8.37), (0.00, -8.36), (2.47, -8.37), (-3.45, -8.38), (4.98, -8.40)],
    "aligned": [(-5.73, -8.40), (-5.73, -8.42), (4.99, 4.83), (-5.73, -8.40), (-5.73, -8.42)],
    "famo": [(-0.31, -8.35), (0.08, -8.35), (0.36, -8.36), (-0.95, -8.35), (1.75, -8.37)],
}


def losses(point, factor):
    """The two losses at a point `(2,)`, the first multiplied by `factor`.

    The published code clips with `maximum`, which passes the gradient at the tie: with `relu` the start (0, 0),
    which lies on the kink, would never be left.
    """
    across, along = point[0], point[1]
    bend = ops.tanh(along)
    ridges = [ops.abs(0.5 * (-across - 7.0) + bend), ops.abs(0.5 * (-across + 3.0) - bend + 2.0)]
    bowls = [(ops.square(across - side) + 0.1 * ops.square(along + 8.0)) / 10.0 - 20.0 for side in (7.0, -7.0)]
    above, below = ops.maximum(ops.tanh(0.5 * along), 0.0), ops.maximum(ops.tanh(-0.5 * along), 0.0)
    found = [(ops.log(ops.maximum(r, 5e-6)) + 6.0) * above + b * below for r, b in zip(ridges, bowls, strict=True)]
    return ops.stack([factor * found[0], found[1]])


def direction(balancer, values, gradients):
    """What the balancer makes of losses `(2,)` and gradients `(2, 2)`."""
    if balancer.needs == "gradients":
        return balancer.combine(gradients, losses=values)
    if balancer.solve == "online":
        present = ops.ones_like(values, dtype="bool")
        weights = balancer.foresee(values, present)
        pull = ops.matmul(weights, gradients)
        balancer.learn(weights, ops.matmul(gradients, pull), present)
        return pull
    gram = {"gram": ops.matmul(gradients, ops.transpose(gradients))} if balancer.needs == "gram" else {}
    return ops.matmul(balancer.weigh(losses=values, **gram), gradients)


class Walk:
    """One balancer on the problem, an epoch of Adam's steps compiled as one loop.

    Args:
        name: Registered name.
        factor: Of the first loss.
        options: Of the balancer, beside those of the table.
    """

    def __init__(self, name, options=None, factor=0.1):
        self.factor, self.lowest = factor, ops.array([LOWEST * factor, LOWEST])
        self.tasks = [kmtl.Regression("first"), kmtl.Regression("second")]
        self.balancer = made(name, options or {})
        self.balancer.prepare(self.tasks, size=2 if self.balancer.needs == "gradients" else None)
        self.start = [variable.numpy() for variable in self.balancer.variables]
        self.epoch = tf.function(self._epoch, jit_compile=True, autograph=False)

    def _step(self, step, point, moments, seen):
        """One step of Adam along the balancer's direction."""
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(point)
            values = losses(point, self.factor)
            first, second = values[0], values[1]
        gradients = ops.stack([tape.gradient(first, point), tape.gradient(second, point)])
        pull = direction(self.balancer, values - self.lowest, gradients)
        moments = ops.stack([0.9 * moments[0] + 0.1 * pull, 0.999 * moments[1] + 0.001 * ops.square(pull)])
        step = step + 1.0
        mean, square = moments[0] / (1.0 - ops.power(0.9, step)), moments[1] / (1.0 - ops.power(0.999, step))
        point = point - LEARNING_RATE * mean / (ops.sqrt(square) + 1e-8)
        if self.balancer.looks_again:
            self.balancer.after_update(losses(point, self.factor) - self.lowest, ops.array([True, True]))
        return step, point, moments, seen + values - self.lowest

    def _epoch(self, step, point, moments):
        """Steps of an epoch, and the sum of the losses over it."""
        last = step + EPOCH
        state = (step, point, moments, tf.zeros(2))
        return tf.while_loop(lambda now, *_: now < last, self._step, state)

    def __call__(self, start, steps):
        """Yields the point after every epoch."""
        for variable, value in zip(self.balancer.variables, self.start, strict=True):
            variable.assign(value)
        step, point, moments = tf.constant(0.0), tf.constant(start, "float32"), tf.zeros((2, 2))
        for _ in range(steps // EPOCH):
            step, point, moments, seen = self.epoch(step, point, moments)
            logs = {f"{task.name}_loss": float(total) / EPOCH for task, total in zip(self.tasks, seen, strict=True)}
            self.balancer.end_epoch(logs)
            yield np.asarray(point)


def made(name, options):
    """A balancer with the options of the reference values, and a seed if it draws."""
    kind = type(kmtl.balancers.get(name))
    seed = {"seed": 0} if "seed" in inspect.signature(kind.__init__).parameters else {}
    return kind(**{**seed, **OPTIONS.get(name, {}), **options})


def front(across):
    """Second coordinate of the Pareto set, where the two gradients are opposite, by bisection."""
    low, high = -9.0, -8.0

    def turned(along):
        # Of L = bowl * tanh(-along / 2): the determinant of the two gradients.
        fall, slope = np.tanh(-along / 2), -0.5 / np.cosh(along / 2) ** 2
        bowls = [((across - side) ** 2 + 0.1 * (along + 8) ** 2) / 10 - 20 for side in (7, -7)]
        rows = [
            ((across - side) / 5 * fall, 0.02 * (along + 8) * fall + bowl * slope)
            for side, bowl in zip((7, -7), bowls, strict=True)
        ]
        return rows[0][0] * rows[1][1] - rows[0][1] * rows[1][0]

    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if turned(low) * turned(middle) <= 0 else (middle, high)
    return low


def on_front(point):
    """Whether a point is within 0.05 of the Pareto set."""
    return abs(point[0]) <= 7.05 and abs(point[1] - front(np.clip(point[0], -7, 7))) < 0.05


def told(path):
    """A cell of the table: the end, and the first step on the front if the end is on it."""
    end = f"({path[-1][0]:.2f}, {path[-1][1]:.2f})"
    if not on_front(path[-1]):
        return f"**{end}** no"
    first = next(place for place, point in enumerate(path) if on_front(point))
    return f"{end} @{(first + 1) * EPOCH}"


def measure(name, steps, factor):
    """The rows of one balancer, and of its reference where there is one."""
    began = time.perf_counter()
    walk, usual = Walk(name, factor=factor), steps == STEPS
    steps = STEPS_OF.get(name, steps) if usual else steps
    paths = [list(walk(start, steps)) for start in STARTS]
    seconds = time.perf_counter() - began
    hits = sum(on_front(path[-1]) for path in paths)
    given = "".join(f", {key} {value}" for key, value in OPTIONS.get(name, {}).items())
    rows = [f"| {name}{given} | {hits}/5 | {' | '.join(map(told, paths))} | {seconds:.1f} |"]
    if name in REFERENCE and usual and factor == 0.1:
        ends = [f"({across:.2f}, {along:.2f})" for across, along in REFERENCE[name]]
        hits = sum(map(on_front, REFERENCE[name]))
        rows.append(f"| *{name}, reference* | {hits}/5 | {' | '.join(ends)} | |")
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--factor", type=float, default=0.1, help="of the first loss")
    parser.add_argument("--only", nargs="*", help="names of balancers; all if left out")
    parser.add_argument("--write", action="store_true", help="also write the committed table")
    options = parser.parse_args()
    note = (
        f"{options.steps:,} steps of Adam at {LEARNING_RATE} (FAMO {STEPS_OF['famo']:,}), first loss x "
        f"{options.factor}, losses less their lower bounds, an epoch is 100 steps. Cells: end point, @first step "
        "within 0.05 of the Pareto set; **bold**: the end is not on it. Reference: float64 NumPy, closed forms for "
        "two tasks, lengths as in the papers; on the ridges and along the front its digits and ours part."
    )
    lines = header("The two-task toy problem", "python benchmarks/toy.py --write", note)
    starts = " | ".join(f"from ({across:g}, {along:g})" for across, along in STARTS)
    lines += [f"| balancer | on the front | {starts} | seconds |", "|---" * 8 + "|"]
    print("\n".join(lines), flush=True)
    for name in options.only or kmtl.balancers.names():
        keras.utils.set_random_seed(0)
        rows = measure(name, options.steps, options.factor)
        print("\n".join(rows), flush=True)
        lines += rows
    if options.write:
        RESULTS.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
