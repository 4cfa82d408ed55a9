"""One training in three experiment trackers: TensorBoard, Weights & Biases and MLflow, without a network.

    python examples/trackers.py                # a minute on two cores; what is not installed is left out, and told
    python examples/trackers.py --smoke        # seconds; the numbers mean nothing
    pip install tensorboard wandb mlflow       # all three

TensorBoard gets its charts by task from `kmtl.callbacks.TensorBoard`. The other two have callbacks of their own for
Keras, which take kmtl's log names as they are: `digit_loss`, `val_digit_accuracy`, `digit_weight`. They know nothing of
balancers and loss weights: `model.hyperparameters()` tells them.
"""

import argparse
import contextlib
import importlib.util
import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras

import kmtl


def trained_model(steps):
    """A convolutional trunk with three heads, compiled with a balancer; the logs tell of conflicts."""
    tasks = [
        kmtl.Classification("digit", classes=10),
        kmtl.Regression("angle", unit="deg"),
        kmtl.Regression("position", shape=(2,), unit="px"),
    ]
    image = keras.Input((32, 32, 1), name="image")
    features = kmtl.trunks.convnet(image, widths=(16, 32), units=32, pool_first=True)
    model = kmtl.MultiTaskModel.from_features(image, features, tasks)
    schedule = keras.optimizers.schedules.CosineDecay(3e-3, steps)
    model.compile(keras.optimizers.Adam(schedule), balancer="dwa", track_conflicts=True)
    return model


@contextlib.contextmanager
def tensorboard(model, validation, out):
    """Charts, histograms of the weights, samples and confusion matrices, a section a task."""
    del model
    yield kmtl.callbacks.TensorBoard(out, data=validation, histogram_freq=1)
    print(f"TensorBoard       tensorboard --logdir {out}")


@contextlib.contextmanager
def wandb(model, validation, out):
    """Each log key under `epoch/`; the run stays on the disk until it is sent."""
    import wandb as tracker
    from wandb.integration.keras import WandbMetricsLogger

    del validation
    out.mkdir(parents=True, exist_ok=True)
    options = {"mode": "offline", "dir": out, "settings": tracker.Settings(silent=True)}
    with tracker.init(project="digit_poses", config=model.hyperparameters(), **options) as run:
        yield WandbMetricsLogger()
        print(f"Weights & Biases  wandb sync {pathlib.Path(run.dir).parent}")


@contextlib.contextmanager
def mlflow(model, validation, out):
    """Each log key as a metric, in a database in the folder."""
    import mlflow as tracker

    del validation
    out.mkdir(parents=True, exist_ok=True)
    store = f"sqlite:///{out / 'runs.db'}"
    tracker.set_tracking_uri(store)
    if tracker.get_experiment_by_name("digit_poses") is None:
        tracker.create_experiment("digit_poses", artifact_location=(out / "artifacts").resolve().as_uri())
    tracker.set_experiment("digit_poses")
    with tracker.start_run():
        # Its callback writes down the options of the optimizer itself, and stops at a name that is taken.
        settings = model.hyperparameters().items()
        tracker.log_params({key: value for key, value in settings if not key.startswith("optimizer_")})
        yield tracker.keras.MlflowCallback()
    print(f"MLflow            mlflow ui --backend-store-uri {store}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="a few batches, to see that it runs")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("logs"), help="where the trackers write")
    options = parser.parse_args()
    splits = ("train[:64]", "validation[:32]", "test[:32]") if options.smoke else None
    train, validation, _ = kmtl.data.load("digit_poses", splits=splits)
    epochs = 2 if options.smoke else 8
    model = trained_model(epochs * len(train))
    with contextlib.ExitStack() as stack:
        callbacks = []
        for tracker in (tensorboard, wandb, mlflow):
            name = tracker.__name__
            if importlib.util.find_spec(name) is None:
                print(f"{name} is not installed: pip install {name}")
            else:
                callbacks.append(stack.enter_context(tracker(model, validation, options.out / name)))
        history = model.fit(train, validation_data=validation, epochs=epochs, verbose=0, callbacks=callbacks).history
    print(f"each has {len(history)} values of {epochs} epochs: {', '.join(sorted(history)[:6])} ...")


if __name__ == "__main__":
    main()
