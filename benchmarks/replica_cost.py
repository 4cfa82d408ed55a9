"""The cost model against what two replicas take here, and what it tells of 8 and 64 GPUs.

    python benchmarks/replica_cost.py --write

On one machine two replicas share the cores, so the plain step of one device on the whole batch stands for the step
of one replica on its part. Latency and bandwidth are fitted to sums of vectors of two sizes under the same strategy,
the share of the backward pass to one device's step under `mgda`. What is left to predict is how the parts add up.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

# Before TensorFlow is imported: docs/speed.md.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import keras
import numpy as np
import tensorflow as tf
from timing import header

import kmtl
from kmtl.distribution.costs import Sizes

HERE = pathlib.Path(__file__).parent
RESULTS = HERE / "results" / "replica_cost.md"
TASKS, BATCH, STEPS = 5, 64, 30
BALANCERS = {
    "equal": "equal",
    "famo": "famo",
    "mgda": "mgda",
    "mgda features": kmtl.balancers.MGDA(level="features"),
    "mgda every 10th": kmtl.balancers.MGDA(update_every=10),
}
#: Assumed, not measured: seconds of a plain step, weights of the trunk and of a head, bandwidth in bytes a second.
GPUS = {
    "8 GPUs of one machine, 150 GB/s": {"replicas": 8, "bandwidth": 150e9, "latency": 10e-6},
    "64 GPUs of 8 machines, 12.5 GB/s": {"replicas": 64, "bandwidth": 12.5e9, "latency": 20e-6},
}
STEP_SECONDS, TRUNK, HEAD = 0.1, 25_000_000, 20_000


def model_of(balancer):
    keras.utils.set_random_seed(1)
    image = keras.Input((32, 32, 1), name="image")
    features = kmtl.trunks.convnet(image)
    model = kmtl.MultiTaskModel.from_features(image, features, [kmtl.Regression(f"t{k}") for k in range(TASKS)])
    model.compile(keras.optimizers.SGD(0.01), balancer=balancer)
    return model


def data():
    generator = np.random.default_rng(0)
    x = generator.random((BATCH * STEPS, 32, 32, 1), dtype="float32")
    y = {f"t{k}": generator.random(len(x), dtype="float32") for k in range(TASKS)}
    return tf.data.Dataset.from_tensor_slices((x, y)).batch(BATCH, drop_remainder=True).cache()


def seconds_of_steps(strategy, rounds):
    """Median seconds of a step under each balancer, in turn."""
    batches, models, found = data(), {}, {}
    for name, balancer in BALANCERS.items():
        with strategy.scope():
            models[name] = model_of(kmtl.balancers.get(balancer))
        models[name].fit(batches, verbose=0)
    for _ in range(rounds):
        for name, model in models.items():
            start = time.perf_counter()
            model.fit(batches, verbose=0, check=False)
            found.setdefault(name, []).append((time.perf_counter() - start) / STEPS)
    return {name: statistics.median(times) for name, times in found.items()}


def crossing(strategy):
    """Latency and bandwidth that sums of a small and of a large vector show."""

    def seconds(size, number=20):
        @tf.function(autograph=False)
        def sums():
            def one():
                context, value = tf.distribute.get_replica_context(), tf.ones(size)
                for _ in range(number):
                    value = context.all_reduce("MEAN", value)
                return tf.reduce_sum(value)

            return strategy.run(one)

        sums()
        times = []
        for _ in range(7):
            start = time.perf_counter()
            [value.numpy() for value in strategy.experimental_local_results(sums())]
            times.append((time.perf_counter() - start) / number)
        return statistics.median(times)

    small, large = seconds(10), seconds(1_000_000)
    return {"latency": small / 2, "bandwidth": 4_000_000 / max(large - small, 1e-9)}


def work(mode, file, rounds):
    if mode == "devices":
        kmtl.distribution.logical_devices(2)
    strategy = kmtl.distribution.strategy({"one": None, "devices": "mirrored", "workers": "multi_worker"}[mode])
    found = {"steps": seconds_of_steps(strategy, rounds)}
    if mode != "one":
        found["crossing"] = crossing(strategy)
    else:
        sizes = Sizes.of(model_of("mgda"))
        found["sizes"] = [sizes.tasks, sizes.shared, sizes.own]
    if strategy.cluster_resolver is None or strategy.cluster_resolver.task_id == 0:
        pathlib.Path(file).write_text(json.dumps(found))


def measured(rounds):
    """What every mode measured."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for mode in ("one", "devices", "workers"):
            file = f"{folder}/{mode}.json"
            arguments = [str(HERE / "replica_cost.py"), "--worker", mode, file, "--rounds", str(rounds)]
            if mode == "workers":
                kmtl.distribution.launch(arguments, workers=2, timeout=900)
            else:
                subprocess.run([sys.executable, *arguments], check=True, timeout=900)
            found[mode] = json.loads(pathlib.Path(file).read_text())
    return found


def check_table(found):
    """Predicted over measured, a row a balancer and mode."""
    one, sizes = found["one"]["steps"], Sizes(*found["one"]["sizes"])
    back = (one["mgda"] / one["equal"] - 1) / (TASKS - 1)
    yield f"K = {TASKS}, {sizes.shared:,} shared weights, share of the backward pass {back:.2f}; ms a step."
    yield from ("", "| mode | balancer | measured | predicted | ratio | of it crossing |", "|---|---|---|---|---|---|")
    for mode, title in (("devices", "two devices"), ("workers", "two processes")):
        crosses = found[mode]["crossing"]
        for name, balancer in BALANCERS.items():
            options = {"replicas": 2, "step_seconds": one["equal"], "backward_share": min(max(back, 0.05), 0.95)}
            told = kmtl.distribution.cost(sizes, balancer, **options, **crosses)
            real = found[mode]["steps"][name]
            cells = (f"{1e3 * real:.1f}", f"{1e3 * told.seconds:.1f}", f"{told.seconds / real:.2f}")
            yield f"| {title} | {name} | {' | '.join(cells)} | {1e3 * told.communication:.1f} |"
        yield f"| {title} | latency {1e6 * crosses['latency']:.0f} us, {crosses['bandwidth'] / 1e9:.2f} GB/s | | | | |"


def plan_table():
    """What the model tells of machines that were not here."""
    yield f"Assumed: a plain step of {1e3 * STEP_SECONDS:.0f} ms a GPU, {TRUNK:,} shared weights, {HEAD:,} a head,"
    yield "share of the backward pass 0.6, nothing overlaps; efficiency is the plain step of one GPU over the step."
    yield from (
        "",
        "| machines | K | balancer | step ms | of it crossing | MB a replica | efficiency |",
        "|---|---|---|---|---|---|---|",
    )
    for title, options in GPUS.items():
        for tasks in (3, 10, 40):
            for name, balancer in BALANCERS.items():
                told = kmtl.distribution.cost(
                    Sizes(tasks, TRUNK, tasks * HEAD), balancer, step_seconds=STEP_SECONDS, **options
                )
                cells = (f"{1e3 * told.seconds:.0f}", f"{1e3 * told.communication:.1f}", f"{told.bytes / 1e6:.0f}")
                yield f"| {title} | {tasks} | {name} | {' | '.join(cells)} | {told.efficiency:.2f} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--worker", nargs=2, metavar=("MODE", "FILE"))
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    if given.worker:
        work(*given.worker, given.rounds)
        return
    note = f"Median of {given.rounds} interleaved epochs of {STEPS} steps."
    lines = header("Cost of a step on many replicas", "python benchmarks/replica_cost.py --write", note)
    lines += [
        "## Checked here",
        "",
        *check_table(measured(given.rounds)),
        "",
        "## Told for machines that were not here",
        "",
        *plan_table(),
    ]
    print("\n".join(lines))
    if given.write:
        RESULTS.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
