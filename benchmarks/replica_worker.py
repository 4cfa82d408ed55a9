"""Trains one balancer after another and writes the weights that came out; `replicas.py` runs it as a process."""

import argparse
import pathlib

import keras
import numpy as np

import kmtl

BATCH, SIZE = 32, 16
#: Name of the case and what it is made of.
CASES = {
    "equal": ("equal", {}),
    "uncertainty": ("uncertainty", {}),
    "famo": ("famo", {}),
    **{
        f"{name} {level}": (name, {"level": level, **options})
        for name, options in (("pcgrad", {"seed": 1}), ("upgrad", {}), ("nash", {}), ("gradnorm", {}))
        for level in ("parameters", "features")
    },
}


def examples(steps):
    """Noisy stripes at an angle, three labels; half of them missing, and more so in one half of every batch."""
    generator = np.random.default_rng(0)
    count = steps * BATCH
    angle = generator.uniform(-1, 1, count).astype("float32")
    kind = generator.integers(0, 4, count).astype("int32")
    grid = np.arange(SIZE) / SIZE
    phase = grid[:, None] * np.cos(angle)[:, None, None] + grid[None, :] * np.sin(angle)[:, None, None]
    images = np.sin((2 + kind)[:, None, None] * 4 * phase) + generator.normal(0, 0.3, (count, SIZE, SIZE))
    labels = {"kind": kind, "angle": 50 * angle, "slope": np.stack([np.cos(angle), np.sin(angle)], axis=1)}
    # The first half of a batch goes to the first replica: there 9 of 10 labels of `kind` and `slope` are missing.
    first = np.arange(count) % BATCH < BATCH // 2
    for name, share in (("kind", (0.9, 0.1)), ("angle", (0.05, 0.95)), ("slope", (0.9, 0.1))):
        gone = generator.random(count) < np.where(first, *share)
        # And some batches have no label of `angle` at all.
        gone |= (name == "angle") & (np.arange(count) // BATCH % 7 == 3)
        labels[name][gone] = -1 if name == "kind" else np.nan
    return images[..., None].astype("float32"), labels


def model_of(name, options):
    """A small convolutional network with three heads; smooth, for at a kink a difference in rounding grows."""
    keras.utils.set_random_seed(5)
    tasks = [
        kmtl.Regression("slope", shape=(2,)),
        kmtl.Classification("kind", classes=4),
        kmtl.Regression("angle", unit="deg"),
    ]
    image = keras.Input((SIZE, SIZE, 1), name="image")
    features = image
    for width in (8, 16):
        features = keras.layers.Conv2D(width, 3, strides=2, use_bias=False, name=f"conv{width}")(features)
        norm = keras.layers.BatchNormalization(momentum=0.9, synchronized=True, name=f"norm{width}")
        features = keras.layers.Activation("tanh")(norm(features))
    features = keras.layers.Dense(24, activation="tanh", name="dense")(keras.layers.Flatten()(features))
    model = kmtl.MultiTaskModel.from_features(image, features, tasks)
    optimizer = keras.optimizers.SGD(0.01, momentum=0.9, global_clipnorm=5.0)
    weights = {"slope": 2.0, "kind": 0.5, "angle": 1.0}
    model.compile(optimizer, loss_weights=weights, balancer=type(kmtl.balancers.get(name))(**options))
    return model


def strategy_of(mode):
    """One device, two logical ones, or this worker of several."""
    if mode == "devices":
        kmtl.distribution.logical_devices(2)
        return kmtl.distribution.strategy("mirrored")
    return kmtl.distribution.strategy("multi_worker" if mode == "workers" else None)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mode", choices=("one", "reversed", "devices", "workers"))
    parser.add_argument("directory", type=pathlib.Path)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--only", nargs="*", default=list(CASES))
    given = parser.parse_args()
    strategy = strategy_of(given.mode)
    x, y = examples(given.steps)
    if given.mode == "reversed":
        order = np.arange(len(x)).reshape(-1, BATCH)[:, ::-1].ravel()
        x, y = x[order], {name: label[order] for name, label in y.items()}
    for case in given.only:
        with strategy.scope():
            model = model_of(*CASES[case])
        model.fit(x, y, batch_size=BATCH, epochs=1, shuffle=False, verbose=0)
        if strategy.cluster_resolver is None or strategy.cluster_resolver.task_id == 0:
            weights = {f"{place:03} {v.path}": v.numpy() for place, v in enumerate(model.variables)}
            np.savez(given.directory / f"{given.mode} {case}.npz", **weights)


if __name__ == "__main__":
    main()
