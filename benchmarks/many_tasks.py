"""What a model of many tasks costs before it earns anything: building, the first `fit`, `evaluate`, the export.

    python benchmarks/many_tasks.py --write

Two forms of the same network: heads of one form, which are computed as one kernel, and heads kept apart, each a layer
of its own. CPU seconds of the process, all threads; each number of tasks in a fresh process, after a model of two tasks
has gone the same way, so that no row pays for what is loaded once.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

RESULTS = pathlib.Path(__file__).parent / "results" / "many_tasks.md"
COUNTS = (1, 10, 40, 200)
FORMS = {"alike, fused": "auto", "each a layer of its own": False}
ROWS = ("build", "compile", "first fit, one step", "fit again, one step", "first evaluate, one batch", "saved_model")


def go(count, fuse):
    """CPU seconds of every row for a model of so many tasks, and the bytes of its graph."""
    import keras
    import numpy as np

    import kmtl

    random = np.random.default_rng(0)
    images = random.random((64, 28, 28, 1), dtype="float32")
    tasks = [kmtl.BinaryClassification(f"task{place}") for place in range(count)]
    labels = {task.name: random.integers(0, 2, 64) for task in tasks}
    clock, seconds = [time.process_time()], []

    def lap():
        clock.append(time.process_time())
        seconds.append(clock[-1] - clock[-2])

    image = keras.Input((28, 28, 1), name="image")
    features = kmtl.trunks.convnet(image, widths=(8, 16), units=32)
    model = kmtl.MultiTaskModel.from_features(image, features, tasks, fuse=fuse)
    lap()
    model.compile("adam")
    lap()
    model.fit(images, labels, batch_size=64, verbose=0)
    lap()
    model.fit(images, labels, batch_size=64, verbose=0)
    lap()
    model.evaluate(images, labels, batch_size=64, verbose=0)
    lap()
    with tempfile.TemporaryDirectory() as folder:
        version = kmtl.export.saved_model(model, folder)
        lap()
        return seconds, (version / "saved_model.pb").stat().st_size


def worker(count, fuse):
    """Prints what `go` finds, of the second model that this process makes."""
    go(2, fuse)
    print(json.dumps(go(count, fuse)))


def measured(count, form, rounds):
    """The least of some rounds."""
    command = [sys.executable, __file__, "--worker", str(count), "--form", form]
    # Before TensorFlow is imported: docs/speed.md.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    found = [json.loads(subprocess.check_output(command, text=True).splitlines()[-1]) for _ in range(rounds)]
    return [min(row) for row in zip(*(seconds for seconds, _ in found), strict=True)], found[0][1]


def table(cells, values, form):
    """Lines of one table: a row a measure, a column a number of tasks, and its growth over the column before."""
    lines = ["| CPU seconds | " + " | ".join(f"K={count}" for count in COUNTS) + " |", "|---" * (len(COUNTS) + 1) + "|"]
    for place, name in enumerate(cells):
        row = [values[count][place] for count in COUNTS]
        steps = [
            f"{now:{form}} ({now / before / (count / fewer):.2f})"
            for fewer, count, before, now in zip(COUNTS, COUNTS[1:], row, row[1:], strict=False)
        ]
        lines.append(f"| {name} | " + " | ".join([f"{row[0]:{form}}", *steps]) + " |")
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="also write the committed table")
    parser.add_argument("--worker", type=int)
    parser.add_argument("--form", choices=FORMS, default="alike, fused")
    options = parser.parse_args()
    if options.worker:
        worker(options.worker, FORMS[options.form])
        return
    from timing import header

    note = (
        f"Least of {options.rounds} fresh processes. In brackets the growth from the column before, divided by that of "
        "the number of tasks: 1 is linear, below 1 is less."
    )
    lines = header("Many tasks", "python benchmarks/many_tasks.py --write", note)
    for form in FORMS:
        found = {count: measured(count, form, options.rounds) for count in COUNTS}
        seconds = {count: row for count, (row, _) in found.items()}
        sizes = {count: [size / 1e6] for count, (_, size) in found.items()}
        lines += [f"## Heads {form}", "", *table(ROWS, seconds, ".2f")]
        lines += [table(["saved_model.pb, MB"], sizes, ".3f")[-1], ""]
        print("\n".join(lines[-len(ROWS) - 6 :]), flush=True)
    if options.write:
        RESULTS.write_text("\n".join(lines).rstrip() + "\n")


if __name__ == "__main__":
    main()
