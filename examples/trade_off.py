"""One training that holds every trade-off between three tasks, and plain models out of it.

python examples/trade_off.py            # about two minutes on two cores
python examples/trade_off.py --smoke    # seconds; the numbers mean nothing
"""

import argparse
import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before TensorFlow is imported: its converter tells every step

import keras
import numpy as np

import kmtl


def builder(steps):
    """Returns the build function: a fresh, compiled model each time."""

    def build(tasks):
        image = keras.Input((32, 32, 1), name="image")
        features = kmtl.trunks.convnet(image, widths=(32, 64, 128))
        model = kmtl.MultiTaskModel.from_features(image, features, tasks)
        model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(3e-3, steps)))
        return model

    return build


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="a few batches, to see that everything runs")
    parser.add_argument(
        "--out", type=pathlib.Path, default=pathlib.Path("saved_models/trade_off"), help="where files go"
    )
    options = parser.parse_args()
    splits = ("train[:128]", "validation[:64]", "test[:64]") if options.smoke else None
    train, validation, test = kmtl.data.load("digit_poses", fresh=True, splits=splits)
    epochs = 1 if options.smoke else 12
    keras.utils.set_random_seed(0)
    tasks, build = kmtl.data.tasks("digit_poses"), builder(epochs * len(train))
    found = kmtl.front.train(build, tasks, train, validation, epochs=epochs, verbose=2)
    print(f"\n{found}\n")
    print("picture", kmtl.front.plot_front(found, options.out / "front.png"))

    point = found.select(knee=True)
    plain = found.model(point)
    print(f"\nknee: {dict(zip(plain.tasks, np.round(point.preference, 2).tolist(), strict=True))}, on the test set:")
    for name, value in plain.evaluate(test, verbose=0, return_dict=True).items():
        print(f"  {name:18} {value:.4f}")
    images = next(iter(test))[0].numpy()
    small = kmtl.export.saved_model(plain, options.out / "knee")
    print(f"\nthe plain model at the knee\n{kmtl.export.check(plain, small, images, tolerance=1e-5)}")
    whole = kmtl.export.saved_model(found.conditioned, options.out / "any_preference")
    given = {"image": images, "preference": np.tile(np.float32(point.preference), (len(images), 1))}
    print(
        f"\nthe model that takes a preference with each request\n{kmtl.export.check(found.conditioned, whole, given)}"
    )


if __name__ == "__main__":
    main()
