"""Three tasks on one image, jointly and each alone: data, training, table, pictures, two artifacts.

    python examples/quickstart.py              # two and a half minutes on two cores
    python examples/quickstart.py --all        # four: with a second joint model, as large as the three single ones
    python examples/quickstart.py --seeds 3    # every training three times, with intervals
    python examples/quickstart.py --smoke      # seconds; the numbers mean nothing

Handwritten digits that ship with scikit-learn are turned, scaled and placed on a 32 x 32 canvas; a shared
convolutional trunk reads the digit, its angle and its position.
"""

import argparse
import os
import pathlib

# Both are read when TensorFlow is imported. Its fast kernels for x86 are off by default on processors without AVX-512,
# where they take a third off a step: docs/speed.md. The other setting hides what its converter tells of every step.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import pandas as pd

import kmtl

EPOCHS = 6
# On the standardised scale the regressions soon have the smaller losses; these weights keep them in play.
WEIGHTS = {"digit": 1.0, "angle": 2.0, "position": 2.0}
# Stages of the trunk, its units, hidden layers of each head, epochs. The large joint model has no more weights than
# the three single ones and trains for no longer than they do together.
SMALL = {"widths": (16, 32, 64), "units": 64, "hidden": (), "epochs": EPOCHS}
LARGE = {"widths": (24, 48, 96), "units": 112, "hidden": (64,), "epochs": EPOCHS + 2}


def data(smoke):
    """Training images are drawn anew every epoch; validation and test stay what they are."""
    splits = ("train[:128]", "validation[:64]", "test[:64]") if smoke else None
    return kmtl.data.load("digit_poses", fresh=True, splits=splits)


def tasks(hidden=()):
    """What is read off an image."""
    return [
        kmtl.Classification("digit", classes=10, hidden=hidden),
        kmtl.Regression("angle", unit="deg", hidden=hidden),
        kmtl.Regression("position", shape=(2,), unit="px", hidden=hidden),
    ]


def network(tasks, size, steps):
    """A convolutional trunk with one head a task, compiled."""
    image = keras.Input((32, 32, 1), name="image")
    # Pooling before the normalisation takes a third off a step on a CPU.
    features = kmtl.trunks.convnet(image, widths=size["widths"], units=size["units"], pool_first=True)
    model = kmtl.MultiTaskModel.from_features(image, features, tasks)
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(3e-3, steps)),
        loss_weights={task.name: WEIGHTS[task.name] for task in tasks},
    )
    return model


def compare(sets, small, large, seeds):
    """Each task alone, one joint model on the same trunk, and, if there is a size for it, a large one."""
    training, validation, test = sets

    def build_of(size, epochs):
        return lambda chosen: network(headed(chosen, size), size, epochs * len(training))

    recipes = {"three models": kmtl.training.Separate(), "one, same trunk": kmtl.training.Joint()}
    if large:
        longer, build = large["epochs"] / small["epochs"], build_of(large, large["epochs"])
        recipes["one, as many weights"] = kmtl.training.Joint(epochs=longer, build=build)
    return kmtl.evidence.compare(
        build_of(small, small["epochs"]),
        tasks(),
        training,
        test,
        validation=validation,
        epochs=small["epochs"],
        seeds=range(seeds),
        recipes=recipes,
    )


def headed(chosen, size):
    """The tasks with the hidden layers of a size in their heads."""
    named = {task.name: task for task in tasks(size["hidden"])}
    return [named[task.name] for task in chosen]


def table(found):
    """A row a way to do all three tasks."""
    rows = {}
    for row in found.table().to_dict("records"):
        is_base = row["recipe"] == found.baseline
        rows[row["recipe"]] = {
            **scores(found, row),
            "change %": "" if is_base else interval(row["delta_m"], row["delta_m_interval"], "+.1f"),
            "weights": f"{row['parameters']:,}",
            "seconds": f"{row['seconds']:.0f}",
        }
    return pd.DataFrame(rows).T.to_string()


def scores(found, row):
    """The test scores of a row, each under its name and unit."""
    return {
        f"{task.name} [{task.unit or metric}]": interval(
            *(row[f"{task.name} {metric}{of}"] for of in ("", " interval")), ".4g"
        )
        for task, metric in found.metrics
    }


def interval(value, half, form):
    """A number and half of its 95 % interval, which one seed does not have."""
    return f"{value:{form}}" + ("" if pd.isna(half) else f" ± {half:{form.lstrip('+').replace('4', '2')}}")


def report(found, test, out):
    """The table, two pictures, two artifacts, and the proof that both artifacts agree with the model."""
    print(f"\n{table(found)}\n\nchange: mean over the tasks against three models (delta_m); negative is better\n")
    best = list(found.runs)[-1]
    model = found.model(best)
    print("learning curves  ", found[best].plot(out / "digit_poses_curves.png"))
    print("samples          ", kmtl.evidence.plot_samples(model, test, out / "digit_poses_samples.png"))
    saved = kmtl.export.saved_model(model, out / "digit_poses")
    lite = kmtl.export.litert(model, out / "digit_poses.tflite")
    images = next(iter(test))[0].numpy()
    for artifact in (saved, lite):
        print(f"\n{artifact}: reloaded in a fresh process, largest difference from the Keras model")
        print(kmtl.export.check(model, artifact, images, tolerance=1e-3))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="all rows on a few batches, to see that it runs")
    parser.add_argument("--all", action="store_true", help="also the large joint model")
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each model")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("saved_models"), help="where results go")
    options = parser.parse_args()
    print("Preparing digit_poses from scikit-learn's handwritten digits (kept for the next run)")
    sets = data(options.smoke)
    small, large = ({**size, "epochs": 1} if options.smoke else size for size in (SMALL, LARGE))
    found = compare(sets, small, large if options.all or options.smoke else None, options.seeds)
    report(found, sets[2], options.out)


if __name__ == "__main__":
    main()
