"""Weights learned online against exact ones: on frozen gradients, on the toy problem, and on real data.

python benchmarks/online.py --write
"""

import argparse
import os
import pathlib

# Before TensorFlow is imported: docs/speed.md.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import keras
import numpy as np
import tensorflow as tf
from timing import header
from toy import STARTS, Walk, on_front

import kmtl

RESULTS = pathlib.Path(__file__).parent / "results" / "online.md"
METHODS = [name for name in kmtl.balancers.names() if getattr(kmtl.balancers.get(name), "has_online", False)]
STEPS, SEEDS, CLOSE = 200, 2, 1e-3
CASES = ("independent", "correlated", "conflicting", "scaled")


def rows_of(case, count, generator):
    """Frozen gradients `(K, 200)`."""
    rows = generator.normal(size=(count, 200))
    common = generator.normal(size=(1, 200))
    if case == "correlated":
        rows = rows + 2 * common
    if case == "conflicting":
        rows = rows + np.where(np.arange(count) % 2, 1, -1)[:, None] * common
    if case == "scaled":
        rows = rows * 10 ** generator.uniform(-1, 1, size=(count, 1))
    return rows.astype("float32")


def frozen(name, case, count, seed, error=0.0):
    """First step from which the online direction stays within 1e-3 of the exact one; None if it never does.

    `error` is that of a product, relative: what a finite difference along the direction would bring.
    """
    kind = type(kmtl.balancers.get(name))
    rows = tf.constant(rows_of(case, count, np.random.default_rng(seed)))
    lengths = tf.norm(rows, axis=1)
    exact, online = kind(), kind(solve="online")
    there, losses = tf.ones((count,), "bool"), tf.ones((count,))
    goal = tf.linalg.matvec(rows, exact.weigh(losses=losses, gram=tf.matmul(rows, rows, transpose_b=True)), True)
    mean = tf.linalg.matvec(rows, losses, True)
    noise = tf.random.Generator.from_seed(seed)

    def products(way):
        return tf.linalg.matvec(rows, way) * (1.0 + error * noise.normal((count,)))

    @tf.function
    def step():
        weights = online.foresee(losses, there, lengths)
        way = tf.linalg.matvec(rows, weights, True)
        online.learn(weights, products(way), there)
        if online.probes:
            tf.cond(
                online.probes_now,
                lambda: (online.learn(losses, products(mean), there), tf.constant(0))[1],
                lambda: tf.constant(0),
            )
        return tf.norm(way - goal) / tf.norm(goal)

    errors = np.array([float(step()) for _ in range(STEPS)])
    late = np.flatnonzero(errors > CLOSE)
    return None if late.size and late[-1] == STEPS - 1 else int(late[-1] + 2) if late.size else 1


def frozen_table(counts):
    """Steps to 1e-3, the worst of the seeds."""
    lines = ["## Frozen gradients", ""]
    lines += [
        f"Steps until the direction is within {CLOSE:g} of the exact one and stays there, worst of {SEEDS} seeds.",
        "",
    ]
    lines += [f"| method | case | {' | '.join(f'K = {count}' for count in counts)} |", "|---" * (2 + len(counts)) + "|"]
    for name in METHODS:
        for case in CASES:
            cells = []
            for count in counts:
                found = [frozen(name, case, count, seed) for seed in range(SEEDS)]
                missed = sum(one is None for one in found)
                cells.append(f"**{missed} of {SEEDS} not in {STEPS}**" if missed else str(max(found)))
            lines.append(f"| {name} | {case} | {' | '.join(cells)} |")
            print(lines[-1], flush=True)
    return lines


def inexact_table(counts, errors):
    """How many of the cases come to 1e-3 at all when the products are inexact."""
    lines = ["", "## Frozen gradients, inexact products", ""]
    lines += [
        f"Cases of the table above that come within {CLOSE:g} of the exact direction in {STEPS} steps and stay there, "
        f"when each product has an independent relative error (one seed).",
        "",
    ]
    lines += [f"| method | {' | '.join(f'error {error:g}' for error in errors)} |", "|---" * (1 + len(errors)) + "|"]
    for name in METHODS:
        cells = []
        for error in errors:
            found = [frozen(name, case, count, 0, error) for case in CASES for count in counts]
            cells.append(f"{sum(one is not None for one in found)} of {len(found)}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    return lines


def toy_table():
    """Where the exact and the online method end."""
    lines = [
        "",
        "## The toy problem",
        "",
        "End points after 35,000 steps of Adam; **bold**: not on the Pareto set.",
        "",
    ]
    lines += [f"| method | {' | '.join(f'from {start}' for start in STARTS)} |", "|---" * (1 + len(STARTS)) + "|"]
    for name in METHODS:
        for solve in ("exact", "online"):
            walk = Walk(name, {"solve": solve})
            ends = [list(walk(start, 35_000))[-1] for start in STARTS]
            cells = [f"({a:.2f}, {b:.2f})" if on_front((a, b)) else f"**({a:.2f}, {b:.2f})**" for a, b in ends]
            lines.append(f"| {name}, {solve} | {' | '.join(cells)} |")
            print(lines[-1], flush=True)
    return lines


def trained(name, solve, seed, epochs):
    """Test metrics of the digits' digit, angle and position."""
    keras.utils.set_random_seed(seed)
    train, _, test = kmtl.data.load("digit_poses")
    tasks = kmtl.data.tasks("digit_poses")
    image = keras.Input((32, 32, 1))
    model = kmtl.MultiTaskModel.from_features(image, kmtl.trunks.convnet(image, widths=(16, 32, 64)), tasks)
    model.compile(keras.optimizers.Adam(2e-3), balancer=type(kmtl.balancers.get(name))(solve=solve))
    model.fit(train, epochs=epochs, verbose=0)
    logs = model.evaluate(test, verbose=0, return_dict=True)
    return [logs["digit_accuracy"], logs["angle_mae"], logs["position_mae"]]


def real_table(names, seeds, epochs):
    """Means over the seeds, and the 95 % interval of the paired difference."""
    from scipy import stats

    lines = ["", "## Real data", ""]
    lines += [
        f"`digit_poses`, {epochs} epochs, {seeds} seeds: test mean, and online less exact with its 95 % interval.",
        "",
    ]
    lines += ["| method | digit accuracy | angle, deg | position, px |", "|---|---|---|---|"]
    for name in names:
        found = {
            solve: np.array([trained(name, solve, seed, epochs) for seed in range(seeds)])
            for solve in ("exact", "online")
        }
        for solve, values in found.items():
            lines.append(f"| {name}, {solve} | {' | '.join(f'{value:.3f}' for value in values.mean(axis=0))} |")
        gap = found["online"] - found["exact"]
        width = stats.t.ppf(0.975, seeds - 1) * gap.std(axis=0, ddof=1) / np.sqrt(seeds)
        cells = [f"{mean:+.3f} ± {half:.3f}" for mean, half in zip(gap.mean(axis=0), width, strict=True)]
        lines.append(f"| {name}, difference | {' | '.join(cells)} |")
        print("\n".join(lines[-3:]), flush=True)
    return lines


def difference_table(steps):
    """How far products by a finite difference are from the exact ones, while a model learns."""
    lines = ["", "## Products by a finite difference", ""]
    lines += [
        "Three losses of the convolutional trunk on `digit_poses`, one batch of 64 in training mode, the direction of "
        "equally long gradients. Relative error of the products when the weights move along it by a share of their own "
        "length, one forward pass more.",
        "",
    ]
    lines += [f"| after | {' | '.join(f'by {step:g}' for step in steps)} |", "|---" * (1 + len(steps)) + "|"]
    keras.utils.set_random_seed(0)
    train, _, _ = kmtl.data.load("digit_poses")
    image = keras.Input((32, 32, 1))
    features = kmtl.trunks.convnet(image, widths=(16, 32, 64), units=64)
    model = kmtl.MultiTaskModel.from_features(image, features, kmtl.data.tasks("digit_poses"))
    model.compile("adam")
    weights = keras.Model(model.inputs, features).trainable_variables
    images, labels = next(iter(train))
    for epochs in (1, 3):
        model.fit(train, epochs=epochs, verbose=0)
        cells = [f"{error:.4f}" for error in difference_errors(model, weights, images, labels, steps)]
        name = "1 epoch" if epochs == 1 else "4 epochs"
        lines.append(f"| {name} | {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    return lines


def difference_errors(model, weights, images, labels, steps):
    """Relative errors of the products `G d`, one a step."""
    start = [variable.numpy().copy() for variable in weights]

    def losses():
        outputs = model(images, training=True)
        digit = keras.losses.sparse_categorical_crossentropy(labels["digit"], outputs["digit"])
        return [tf.reduce_mean(digit)] + [
            tf.reduce_mean(tf.square((tf.reshape(labels[name], tf.shape(outputs[name])) - outputs[name]) / scale))
            for name, scale in (("angle", 20.0), ("position", 4.0))
        ]

    with tf.GradientTape(persistent=True) as tape:
        parts = losses()
    values = [variable.value for variable in weights]
    rows = np.stack(
        [np.concatenate([tf.reshape(one, -1) for one in tape.gradient(part, values)]) for part in parts]
    ).astype("float64")
    lengths = np.linalg.norm(rows, axis=1)
    direction = (1.0 / lengths / (1.0 / lengths).sum()) @ rows
    flat = np.concatenate([value.ravel() for value in start])
    errors = []
    for step in steps:
        stride = step * np.linalg.norm(flat) / np.linalg.norm(direction)
        ends = np.split(flat + stride * direction, np.cumsum([value.size for value in start])[:-1])
        for variable, end in zip(weights, ends, strict=True):
            variable.assign(end.reshape(variable.shape).astype("float32"))
        moved = (np.array(losses(), "float64") - np.array(parts, "float64")) / stride
        errors.append(np.linalg.norm(moved - rows @ direction) / np.linalg.norm(rows @ direction))
    for variable, value in zip(weights, start, strict=True):
        variable.assign(value)
    return errors


def written(title, found):
    """The committed page with the sections that were measured; those that were not stay as they are."""
    old = RESULTS.read_text().split("\n## ") if RESULTS.exists() else [""]
    sections = {text.splitlines()[0]: text.rstrip() for text in old[1:]}
    for lines in found:
        text = "\n".join(lines).strip().removeprefix("## ")
        sections[text.splitlines()[0]] = text
    return "\n\n## ".join(["\n".join(title).rstrip(), *sections.values()]) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="sections to measure")
    parser.add_argument("--tasks", type=int, nargs="+", default=[2, 5, 10, 40])
    parser.add_argument("--real", nargs="*", default=["nash", "mgda", "cagrad"], help="methods trained on real data")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--errors", type=float, nargs="+", default=[0.0, 0.001, 0.005, 0.02], help="of a product")
    parser.add_argument("--steps", type=float, nargs="+", default=[1e-2, 1e-3, 3e-4, 1e-4], help="of a difference")
    parser.add_argument("--write", action="store_true", help="also write the committed table")
    options = parser.parse_args()
    title = header("Online weights against exact ones", "python benchmarks/online.py --write", "")
    found = [PARTS[name](options) for name in options.parts]
    if options.write:
        RESULTS.write_text(written(title, found))


PARTS = {
    "frozen": lambda options: frozen_table(options.tasks),
    "inexact": lambda options: inexact_table(options.tasks, options.errors),
    "difference": lambda options: difference_table(options.steps),
    "toy": lambda _: toy_table(),
    "real": lambda options: real_table(options.real, options.seeds, options.epochs),
}

if __name__ == "__main__":
    main()
