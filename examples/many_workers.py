"""One training over several workers, which may be killed and started again.

    python -m kmtl.distribution --workers 2 examples/many_workers.py    # two processes on this machine
    python examples/many_workers.py                                     # one process: its GPUs, or its CPU
    python examples/many_workers.py --smoke                             # seconds; the numbers mean nothing

Kill it and start it again with the same `--out`: it goes on from its last backup, to the same weights. On a cluster,
start it once a machine with `TF_CONFIG` set (`kmtl.distribution.from_hosts`, `from_slurm`, `from_kubernetes`), and
`--out` on a disk that all machines share.
"""

import argparse
import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before TensorFlow is imported

import keras

import kmtl


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="a few batches, to see that everything runs")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("saved_models"))
    given = parser.parse_args()
    strategy = kmtl.distribution.strategy("auto")  # before anything else: workers meet here
    splits = ("train[:128]", "validation[:64]", "test[:64]") if given.smoke else None
    # Batches of 64 examples for all replicas together, half of the labels missing.
    train, validation, test = kmtl.data.load("digit_poses", splits=splits, hide=0.5)
    with strategy.scope():
        keras.utils.set_random_seed(1)
        image = keras.Input((32, 32, 1), name="image")
        features = kmtl.trunks.convnet(image, widths=(32, 64, 128))
        model = kmtl.MultiTaskModel.from_features(image, features, kmtl.data.tasks("digit_poses"))
        balancer = kmtl.balancers.UPGrad(level="features")  # only a 3 x 3 matrix more crosses the workers
        model.compile(keras.optimizers.Adam(2e-3), balancer=balancer)
    backup = kmtl.callbacks.BackupAndRestore(given.out / "backups", save_freq=50)
    model.fit(train, validation_data=validation, epochs=1 if given.smoke else 4, callbacks=[backup], verbose=2)
    logs = model.evaluate(test, verbose=0, return_dict=True)
    for name in ("digit_accuracy", "angle_mae", "position_mae"):
        print(f"{strategy.num_replicas_in_sync} replicas, {name}: {logs[name]:.4f}")


if __name__ == "__main__":
    main()
