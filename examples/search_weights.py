"""A search of loss weights, and whether what it found holds in a training of its own.

python examples/search_weights.py            # some minutes on two cores; goes on where it stood if it is stopped
python examples/search_weights.py --smoke    # seconds; the numbers mean nothing
"""

import argparse
import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before TensorFlow is imported

import keras

import kmtl


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="a few batches, to see that everything runs")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("saved_models/search"), help="where files go")
    options = parser.parse_args()
    splits = ("train[:64]", "validation[:32]", "test[:32]") if options.smoke else None
    train, validation, test = kmtl.data.load("digit_poses", splits=splits)
    tasks, epochs, candidates = kmtl.data.tasks("digit_poses"), 3 if options.smoke else 6, 3 if options.smoke else 20

    def build(tasks):  # With a second parameter `hp`, what it draws is searched, too: hp.Choice("width", [16, 32]).
        image = keras.Input((32, 32, 1), name="image")
        features = kmtl.trunks.convnet(image, widths=(8, 16, 32))
        model = kmtl.MultiTaskModel.from_features(image, features, tasks)
        model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(3e-3, epochs * len(train))))
        return model

    result = kmtl.search.weights(
        build,
        tasks,
        train,
        validation,
        epochs=epochs,
        max_trials=candidates,
        tuner="halving",  # Most candidates get an epoch, the best of them all.
        directory=options.out / "weights",
        verbose=0,
    )
    print(result)
    print("picture", result.plot(options.out / "trials.png"))

    print("\nOn the test set, each trained anew; delta_m against single-task models, negative is better:")
    recipes = {"joint": kmtl.training.Joint()}
    comparison = kmtl.evidence.compare(build, tasks, train, test, epochs=epochs, seeds=[1], recipes=recipes, verbose=0)
    print(f"  equal weights  {comparison.delta_m['joint'][0]:+7.2f} %")
    for name, weights in {"uncertainty": {}, "found weights": result.best_weights}.items():
        keras.utils.set_random_seed(1)
        model = build(tasks)
        if name == "uncertainty":
            model.compile(model.optimizer, balancer="uncertainty")
        model.set_loss_weights(weights)
        model.fit(train, epochs=epochs, verbose=0)
        logs = model.evaluate(test, verbose=0, return_dict=True)
        scores = {name: {key: logs[f"{name}_{key}"] for key in row} for name, row in comparison.baselines.items()}
        print(f"  {name:14} {kmtl.metrics.delta_m(scores, comparison.baselines, tasks):+7.2f} %")


if __name__ == "__main__":
    main()
