"""Three tasks on one image, jointly and each alone: data, training, table, pictures, report, two artifacts.

    python examples/quickstart.py              # some minutes on two cores
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
# Of the large joint model: hidden units of each head, and epochs as a multiple of the others'. It has no more weights
# than the three single models, and trains for no longer than they do together.
HIDDEN, LONGER = 64, 4 / 3


def data(smoke):
    """Training images are drawn anew every epoch; validation and test stay what they are."""
    splits = ("train[:128]", "validation[:64]", "test[:64]") if smoke else None
    return kmtl.data.load("digit_poses", fresh=True, splits=splits)


def tasks():
    """What is read off an image."""
    return [
        kmtl.Classification("digit", classes=10),
        kmtl.Regression("angle", unit="deg"),
        kmtl.Regression("position", shape=(2,), unit="px"),
    ]


def network(tasks, steps):
    """A convolutional trunk with one head a task, compiled."""
    image = keras.Input((32, 32, 1), name="image")
    # Pooling before the normalisation takes a third off a step on a CPU.
    features = kmtl.trunks.convnet(image, widths=(16, 32, 64), units=64, pool_first=True)
    model = kmtl.MultiTaskModel.from_features(image, features, tasks)
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(3e-3, steps)),
        loss_weights={task.name: WEIGHTS[task.name] for task in tasks},
    )
    return model


def compare(sets, epochs, seeds):
    """Each task alone; one joint model on the same trunk, for as long and at the same cost; and a large one."""
    training, validation, test = sets

    def build(tasks):
        return network(tasks, epochs * len(training))

    three = sum(build([task]).count_params() for task in tasks())
    wide = kmtl.training.widened(build, kmtl.training.width_for(build, tasks(), three, hidden=HIDDEN), hidden=HIDDEN)
    recipes = {
        "three models": kmtl.training.Separate(),
        "one, same trunk": kmtl.training.Joint(),
        "one, same trunk, equal cost": kmtl.training.Joint(3.0, build=kmtl.training.stretched(build, 3.0)),
        "one, as many weights": kmtl.training.Joint(LONGER, build=kmtl.training.stretched(wide, LONGER)),
    }
    return kmtl.evidence.compare(
        build, tasks(), training, test, validation=validation, epochs=epochs, seeds=range(seeds), recipes=recipes
    )


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
    """The table, two pictures, a report, two artifacts, and the proof that both artifacts agree with the model."""
    print(f"\n{table(found)}\n\nchange: mean over the tasks against three models (delta_m); negative is better\n")
    best = list(found.runs)[-1]
    model = found.model(best)
    print("learning curves  ", found[best].plot(out / "digit_poses_curves.png"))
    print("samples          ", kmtl.evidence.plot_samples(model, test, out / "digit_poses_samples.png"))
    page = kmtl.evidence.report(found, model=model, data=test, title="Three tasks on one image")
    print("report           ", page.save(out / "digit_poses.html"))
    saved = kmtl.export.saved_model(model, out / "digit_poses")
    lite = kmtl.export.litert(model, out / "digit_poses.tflite")
    images = next(iter(test))[0].numpy()
    for artifact in (saved, lite):
        print(f"\n{artifact}: reloaded in a fresh process, largest difference from the Keras model")
        print(kmtl.export.check(model, artifact, images, tolerance=1e-3))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="all rows on a few batches, to see that it runs")
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each model")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("saved_models"), help="where results go")
    options = parser.parse_args()
    print("Preparing digit_poses from scikit-learn's handwritten digits (kept for the next run)")
    sets = data(options.smoke)
    report(compare(sets, 1 if options.smoke else EPOCHS, options.seeds), sets[2], options.out)


if __name__ == "__main__":
    main()
