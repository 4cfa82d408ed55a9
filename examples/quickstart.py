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


def compare(sets, size, seeds, separate=None):
    """One joint model, and each task alone on the same trunk, unless single models are given."""
    training, validation, test = sets
    return kmtl.evidence.compare(
        lambda chosen: network(chosen, size, size["epochs"] * len(training)),
        tasks(size["hidden"]),
        training,
        test,
        validation=validation,
        epochs=size["epochs"],
        seeds=range(seeds),
        separate=separate,
    )


def table(joint):
    """A row a way to do all three tasks, from a comparison a joint model."""
    first = next(iter(joint.values()))
    parameters, seconds = (first.costs()[key][1] for key in ("parameters", "seconds"))
    rows = {"three models": {**scores(first, "separate"), "change %": "", "weights": parameters, "seconds": seconds}}
    for name, one in joint.items():
        parameters, seconds = (one.costs()[key][0] for key in ("parameters", "seconds"))
        change = interval(*one.delta_m, "+.1f")
        rows[name] = {**scores(one, "joint"), "change %": change, "weights": parameters, "seconds": seconds}
    frame = pd.DataFrame(rows).T
    for column, form in (("weights", "{:,.0f}"), ("seconds", "{:.0f}")):
        frame[column] = frame[column].map(form.format)
    return frame.to_string()


def scores(comparison, side):
    """The test scores of one side, each under its name and unit."""
    return {
        f"{row['task']} [{row['unit'] or row['metric']}]": interval(row[side], row[f"{side}_interval"], ".4g")
        for row in comparison.table().to_dict("records")
    }


def interval(value, half, form):
    """A number and half of its 95 % interval, which one seed does not have."""
    return f"{value:{form}}" + ("" if pd.isna(half) else f" ± {half:{form.lstrip('+').replace('4', '2')}}")


def report(joint, test, out):
    """The table, two pictures, two artifacts, and the proof that both artifacts agree with the model."""
    print(f"\n{table(joint)}\n\nchange: mean over the tasks against three models (delta_m); negative is better\n")
    best = list(joint.values())[-1]
    print("learning curves  ", kmtl.evidence.plot_curves(best, out / "digit_poses_curves.png"))
    print("samples          ", kmtl.evidence.plot_samples(best.model, test, out / "digit_poses_samples.png"))
    saved = kmtl.export.saved_model(best.model, out / "digit_poses")
    lite = kmtl.export.litert(best.model, out / "digit_poses.tflite")
    images = next(iter(test))[0].numpy()
    for artifact in (saved, lite):
        print(f"\n{artifact}: reloaded in a fresh process, largest difference from the Keras model")
        print(kmtl.export.check(best.model, artifact, images, tolerance=1e-3))


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
    joint = {"one, same trunk": compare(sets, small, options.seeds)}
    if options.all or options.smoke:
        joint["one, as many weights"] = compare(sets, large, options.seeds, separate=joint["one, same trunk"])
    report(joint, sets[2], options.out)


if __name__ == "__main__":
    main()
