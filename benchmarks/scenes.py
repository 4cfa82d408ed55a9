"""One model that counts, names, detects and segments the digits of a scene, beside a model for each task.

python benchmarks/scenes.py --runs runs            # about 12 CPU minutes; goes on where it stopped
python benchmarks/scenes.py --runs runs --write    # the table and the picture alone
python benchmarks/scenes.py --smoke                # a few batches; the numbers mean nothing
"""

import argparse
import json
import os
import pathlib
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before TensorFlow is imported

import keras
from timing import header

import kmtl

HERE = pathlib.Path(__file__).resolve().parent / "results"
EPOCHS, LONG = 8, 16
WEIGHTS = {"count": 1.0, "digits": 2.0, "boxes": 1.0, "mask": 4.0}
METRICS = {
    "count": ("count_accuracy", "accuracy"),
    "digits": ("digits_accuracy", "accuracy of each of ten"),
    "boxes": ("boxes_map50", "mAP@.5"),
    "mask": ("mask_mean_iou", "mean IoU"),
}
WAYS = {"joint, equal cost": (tuple(METRICS), LONG), "joint": (tuple(METRICS), EPOCHS)}
WAYS |= {f"{name} alone": ((name,), EPOCHS) for name in METRICS}
NOTE = (
    "Sets of `kmtl.data.load('digit_scenes')`: 4,000 scenes to train on, 800 to test; scenes of the test have digits "
    "of other sources. One trunk (three stages of `convnet` and a convolution, 8 x 8 cells), Adam at 3e-3 falling by a "
    "cosine, batches of 32, seed 0 alone: differences of a point are within what a seed does. `joint` has the epochs "
    "of each single model, `joint, equal cost` about the CPU seconds of the four together. Fixed loss weights "
    f"({', '.join(f'{name} {weight:g}' for name, weight in WEIGHTS.items())}) bring the losses to one order; nothing "
    "was searched, and the test set was looked at once a row, but twice for `joint, equal cost`: 20 epochs, tried "
    "first, were too many for its cost. CPU seconds are those of training, tracing included, on "
    "a machine that others used."
)


def build(names, steps):
    """A fresh model of some tasks, compiled to train without metrics."""
    tasks = [task for task in kmtl.data.tasks("digit_scenes") if task.name in names]
    image = keras.Input((64, 64, 1), name="image")
    cells = kmtl.trunks.convnet(image, widths=(16, 32, 64), pool_first=True, pooling=None)
    cells = keras.layers.Conv2D(96, 3, padding="same", use_bias=False, name="cells")(cells)
    cells = keras.layers.ReLU()(keras.layers.BatchNormalization(momentum=0.9)(cells))
    # How many is a matter of the average, which ones of the largest.
    pooled = [kmtl.trunks.pool(cells, pooling=how, units=96, name=how) for how in ("average", "max")]
    features = {"vector": keras.layers.Concatenate()(pooled), "map": kmtl.trunks.stages(cells)}
    model = kmtl.MultiTaskModel.from_features(image, features, tasks)
    compiled(model, steps, metrics={name: [] for name in names})
    return model


def compiled(model, steps, **options):
    """Compiles a model of some of the tasks."""
    weights = {name: WEIGHTS[name] for name in model.tasks}
    rate = keras.optimizers.schedules.CosineDecay(3e-3, steps)
    model.compile(keras.optimizers.Adam(rate), loss_weights=weights, **options)


def loaded(names, options):
    """Training and test set with some of the labels."""
    splits = ("train[:64]", "validation[:32]", "test[:32]") if options.smoke else None
    load = {"labels": list(names), "batch_size": 32, "splits": splits, "data_dir": options.data}
    train, _, test = kmtl.data.load("digit_scenes", **load)
    return train, test


def trained(names, epochs, data, folder):
    """Trains one model, and writes down how good it is on the test set and what it cost."""
    train, test = data
    keras.utils.set_random_seed(0)
    steps = epochs * len(train)
    model = build(names, steps)
    cpu, wall = time.process_time(), time.perf_counter()
    model.fit(train, epochs=epochs, verbose=2)
    cost = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
    compiled(model, steps)
    scores = model.evaluate(test, verbose=0, return_dict=True)
    model.save(folder / "model.keras")
    found = {**cost, "epochs": epochs, "weights": model.count_params(), "scores": scores}
    (folder / "result.json").write_text(json.dumps(found))


def table(runs):
    """The rows of what is there."""
    found = {way: runs / way.replace(" ", "_").replace(",", "") / "result.json" for way in WAYS}
    found = {way: json.loads(path.read_text()) for way, path in found.items() if path.exists()}
    titles = [f"{name} ({title})" for name, (_, title) in METRICS.items()]
    lines = [f"| model | epochs | {' | '.join(titles)} | weights | CPU s |", "|" + "---|" * (len(METRICS) + 4)]
    for way, result in found.items():
        cells = [f"{result['scores'][key]:.3f}" if key in result["scores"] else "-" for key, _ in METRICS.values()]
        lines.append(
            f"| {way} | {result['epochs']} | {' | '.join(cells)} | {result['weights']:,} | {result['cpu']:.0f} |"
        )
    alone = [found[f"{name} alone"] for name in METRICS if f"{name} alone" in found]
    if len(alone) == len(METRICS):
        best = [f"{one['scores'][key]:.3f}" for one, (key, _) in zip(alone, METRICS.values(), strict=True)]
        weights, cpu = (sum(one[key] for one in alone) for key in ("weights", "cpu"))
        lines.append(f"| four models | {EPOCHS} each | {' | '.join(best)} | {weights:,} | {cpu:.0f} |")
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=pathlib.Path, help="folder of what the trainings gave")
    parser.add_argument("--data", help="where prepared sets live; TensorFlow Datasets's own place if left out")
    parser.add_argument("--write", action="store_true", help="do not train; write what is there")
    parser.add_argument("--smoke", action="store_true", help="a few batches, to see that everything runs")
    options = parser.parse_args()
    runs = options.runs or pathlib.Path(tempfile.mkdtemp())
    for way, (names, epochs) in list(WAYS.items())[: 1 if options.smoke else None]:
        folder = runs / way.replace(" ", "_").replace(",", "")
        if options.write or (folder / "result.json").exists():
            continue
        folder.mkdir(parents=True, exist_ok=True)
        print(way, flush=True)
        trained(names, 1 if options.smoke else epochs, loaded(names, options), folder)
    lines = header("Scenes of digits: four kinds of task in one model", "python benchmarks/scenes.py --runs runs", NOTE)
    lines += [*table(runs), "", "![Scenes of the test set](scenes.png)", ""]
    best = keras.saving.load_model(runs / "joint_equal_cost" / "model.keras")
    test = loaded(METRICS, options)[1]
    kmtl.evidence.plot_samples(best, test, (runs if options.smoke else HERE) / "scenes.png", count=12)
    if not options.smoke:
        (HERE / "scenes.md").write_text("\n".join(lines))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
