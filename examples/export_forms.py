"""Trains one model, exports it in every form, and proves that each gives what the model gives.

python examples/export_forms.py            # about two minutes on two cores
python examples/export_forms.py --smoke    # seconds; the numbers mean nothing
"""

import argparse
import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before TensorFlow is imported: its converter tells every step

import keras
import numpy as np
import tensorflow as tf

import kmtl

# None is float32. Each costs a little accuracy and saves bytes; int8 needs samples to measure ranges on.
QUANTIZED = (None, "float16", "dynamic", "int8", "int8_io")


def trained(smoke):
    """The model, and the test set as arrays."""
    splits = ("train[:128]", "validation[:64]", "test[:64]") if smoke else None
    train, validation, test = kmtl.data.load("digit_poses", splits=splits)
    image = keras.Input((32, 32, 1), name="image")
    features = kmtl.trunks.convnet(image, widths=(32, 64, 128))
    model = kmtl.MultiTaskModel.from_features(image, features, kmtl.data.tasks("digit_poses"))
    epochs = 1 if smoke else 8
    schedule = keras.optimizers.schedules.CosineDecay(3e-3, epochs * len(train))
    model.compile(keras.optimizers.Adam(schedule), loss_weights={"angle": 2.0, "position": 2.0})
    model.fit(train, validation_data=validation, epochs=epochs, verbose=2)
    return model, train, test


def exported(model, train, test, out, modes):
    """Writes every form and yields its path; a quantised file that is worse than 1 % is refused, which is told."""
    metrics = model.evaluate(test, return_dict=True, verbose=0)
    images = np.concatenate([batch.numpy() for batch, _ in train.take(8)])
    yield kmtl.export.saved_model(
        model,
        out / "digit_poses",
        decode=True,
        images=kmtl.export.Images(),
        warmup=images[:8],
        metrics=metrics,
        about={"Data": "Handwritten digits of scikit-learn, turned, scaled and placed on a canvas of 32 x 32 pixels."},
    )
    for mode in modes:
        path = out / f"digit_poses_{mode or 'float32'}.tflite"
        data = {"calibration": images} if mode in ("int8", "int8_io") else {}
        data |= {"validation": test} if mode else {}
        try:
            yield kmtl.export.litert(model, path, quantize=mode, metrics=metrics, **data)
        except ValueError as refusal:
            print(f"\n{path.name} was not written:\n{refusal}")
    yield kmtl.export.onnx(model, out / "digit_poses.onnx", metrics=metrics)


def asked_by_files(version, test):
    """What the SavedModel alone says of image files."""
    images, labels = next(iter(test))
    files = [tf.io.encode_jpeg(tf.cast(tf.round(image * 255), tf.uint8), quality=95) for image in images[:4]]
    answers = tf.saved_model.load(str(version)).signatures["image_bytes"](image=tf.stack(files))
    print("\nJPEG files in, labels out:")
    for place in range(len(files)):
        told = {name: np.round(values[place].numpy(), 2).tolist() for name, values in answers.items()}
        print(f"  {told}, labelled {labels['digit'][place].numpy()}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="a few batches, to see that everything runs")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("saved_models/forms"), help="where files go")
    options = parser.parse_args()
    model, train, test = trained(options.smoke)
    modes = (None, "int8") if options.smoke else QUANTIZED
    artifacts = list(exported(model, train, test, options.out, modes))
    samples = next(iter(test))[0].numpy()
    for artifact in artifacts:
        print(f"\n{kmtl.export.check(model, artifact, samples)}")
    asked_by_files(artifacts[0], test)
    print(f"\n{kmtl.export.inspect(artifacts[0])}")


if __name__ == "__main__":
    main()
