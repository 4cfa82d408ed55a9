"""Three tasks on one image, jointly and each alone: data, training, table, pictures, two artifacts.

    python examples/quickstart.py              # about two minutes on two cores
    python examples/quickstart.py --seeds 3    # three times that, with intervals
    python examples/quickstart.py --smoke      # seconds; the numbers mean nothing

Handwritten digits that ship with scikit-learn are turned, scaled and placed on a 32 x 32 canvas; a shared
convolutional trunk reads the digit, its angle and its position.
"""

import argparse
import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before TensorFlow is imported: its converter tells every step

import keras

import kmtl

EPOCHS = 6
# On the standardised scale the regressions soon have the smaller losses; these weights keep them in play.
WEIGHTS = {"digit": 1.0, "angle": 2.0, "position": 2.0}


def data(smoke):
    """Training images are drawn anew every epoch; validation and test stay what they are."""
    splits = ("train[:640]", "validation[:128]", "test[:128]") if smoke else None
    return kmtl.data.load("digit_poses", fresh=True, splits=splits)


def network(tasks, steps):
    """A convolutional trunk with one head a task, compiled."""
    image = keras.Input((32, 32, 1), name="image")
    features = kmtl.trunks.convnet(image, widths=(32, 64, 128))
    model = kmtl.MultiTaskModel.from_features(image, features, tasks)
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(3e-3, steps)),
        loss_weights={task.name: WEIGHTS[task.name] for task in tasks},
    )
    return model


def train(sets, tasks, epochs, seeds):
    """All tasks jointly, then each one alone: same trunk, same budget."""
    training, validation, test = sets
    return kmtl.evidence.compare(
        lambda chosen: network(chosen, epochs * len(training)),
        tasks,
        training,
        test,
        validation=validation,
        epochs=epochs,
        seeds=range(seeds),
    )


def report(comparison, test, out):
    """The table, two pictures, two artifacts, and the proof that both artifacts agree with the model."""
    print(f"\n{comparison}\n")
    model = comparison.model
    print("learning curves  ", kmtl.evidence.plot_curves(comparison, out / "digit_poses_curves.png"))
    print("samples          ", kmtl.evidence.plot_samples(model, test, out / "digit_poses_samples.png"))
    saved = kmtl.export.saved_model(model, out / "digit_poses")
    lite = kmtl.export.litert(model, out / "digit_poses.tflite")
    images = next(iter(test))[0].numpy()
    for artifact in (saved, lite):
        print(f"\n{artifact}: reloaded in a fresh process, largest difference from the Keras model")
        print(kmtl.export.check(model, artifact, images, tolerance=1e-3))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="a few batches, to see that everything runs")
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each model")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("saved_models"), help="where results go")
    options = parser.parse_args()
    print("Preparing digit_poses from scikit-learn's handwritten digits (kept for the next run)")
    sets = data(options.smoke)
    tasks = kmtl.data.tasks("digit_poses")
    comparison = train(sets, tasks, 1 if options.smoke else EPOCHS, options.seeds)
    report(comparison, sets[2], options.out)


if __name__ == "__main__":
    main()
