"""A model with all that TensorFlow Serving needs beside it: the configuration, the command, and ready requests.

    python examples/serve.py                                     # trains first: about a minute on two cores
    python examples/serve.py --model saved_models/digit_poses    # serves what the quickstart exported
    python examples/serve.py --smoke                             # seconds; the numbers mean nothing

It starts no server: it prints the command that starts the official container, which is not run in CI.
"""

import argparse
import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before TensorFlow is imported

import keras

import kmtl

ABOUT = {
    "Data": "Handwritten digits of scikit-learn, turned, scaled and placed on a canvas of 32 x 32 pixels.",
    "Limits": "Grey images of one light digit on black.",
}


def trained(sets, epochs):
    """A convolutional trunk with a head for digit, angle and position."""
    train, validation, _ = sets
    image = keras.Input((32, 32, 1), name="image")
    features = kmtl.trunks.convnet(image, widths=(32, 64, 128))
    model = kmtl.MultiTaskModel.from_features(image, features, kmtl.data.tasks("digit_poses"))
    model.compile(keras.optimizers.Adam(2e-3))
    model.fit(train, validation_data=validation, epochs=epochs, verbose=2)
    return model


def exported(model, test, folder):
    """A version that takes arrays or image files, gives raw or decoded outputs, and warms itself up."""
    return kmtl.export.saved_model(
        model,
        folder,
        decode=True,
        images=kmtl.export.Images(),
        warmup=next(iter(test))[0][:8].numpy(),
        metrics=model.evaluate(test, return_dict=True, verbose=0),
        about=ABOUT,
    )


def newest(folder):
    """The version that a server takes."""
    return max((path for path in folder.iterdir() if path.name.isdecimal()), key=lambda path: int(path.name))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path, help="folder of versions of a digit_poses model; none trains one")
    parser.add_argument("--smoke", action="store_true", help="a few batches, to see that everything runs")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("saved_models"), help="where results go")
    options = parser.parse_args()
    splits = ("train[:128]", "validation[:64]", "test[:64]") if options.smoke else None
    sets = kmtl.data.load("digit_poses", splits=splits)
    folder = options.model or options.out / "digit_poses"
    if options.model is None:
        exported(trained(sets, epochs=1 if options.smoke else 6), sets[2], folder)
    server = kmtl.export.serving_config(folder, options.out / "server")
    images = next(iter(sets[2]))[0].numpy()
    requests = kmtl.export.request_examples(newest(folder), images, options.out / "requests")
    print(f"\nStart the server (this script does not):\n\n{server}\n")
    print(f"Ask it:\n\n{requests / 'curl.sh'}\n\nWhat it answers: {requests / 'replies'}")


if __name__ == "__main__":
    main()
