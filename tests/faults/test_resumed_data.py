"""Every kind of data and of step goes on where it stood; what cannot is refused before the first step."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import cases
from faults.interrupting import (
    BATCH,
    ROWS,
    STEPS,
    Interrupted,
    X,
    Y,
    assert_goes_on,
    different,
    interrupted,
    model,
    tasks,
    train,
)

import kmtl
from kmtl.callbacks import BackupAndRestore


class Batches(keras.utils.PyDataset):
    """Batches by index; the last one is smaller."""

    def __len__(self):
        return math.ceil(ROWS / BATCH)

    def __getitem__(self, index):
        rows = slice(index * BATCH, (index + 1) * BATCH)
        return X[rows], {name: labels[rows] for name, labels in Y.items()}


class Hooked(Batches):
    def on_epoch_end(self):
        raise AssertionError("it must not come to this")


def generator():
    number = 0
    while True:
        rows = np.arange(number * BATCH, (number + 1) * BATCH) % ROWS
        yield X[rows], {name: labels[rows] for name, labels in Y.items()}
        number += 1


def plain(**options):
    return tf.data.Dataset.from_tensor_slices((X, Y)).shuffle(ROWS, seed=3).batch(BATCH, **options)


def uncounted():
    return tf.data.Dataset.from_tensor_slices((X, Y)).filter(lambda x, y: True).batch(BATCH)


def own():
    return kmtl.data.from_arrays(X, Y, tasks(), batch_size=BATCH, shuffle=True, seed=1)


DATA = {
    "arrays in executions of three": {"made": lambda: model(steps_per_execution=3), "moments": ((1, 3),)},
    "shuffled tf.data": {"data": plain},
    "generator": {"data": generator, "steps_per_epoch": STEPS},
    "PyDataset": {"data": Batches},
    "tf.data of unknown length": {"data": uncounted},
    "arrays, uneven last batch": {"batch_size": 9},
    "dataset of kmtl, class weights": {"data": own, "class_weight": {"kind": {0: 2.0, 1: 0.5}}},
    "dataset of kmtl, changed": {"data": lambda: own().map(lambda x, y: (-x, y)).prefetch(2)},
    "PyDataset with threads": {"data": lambda: Batches(workers=2)},
    "later first epoch": {"initial_epoch": 1},
    "split": {"validation_split": 0.2, "moments": ((1, 2), (2, 3))},
}


# Arrays, which kmtl orders itself, in executions that a backup falls into; a set that is read up to the batch.
@pytest.mark.long
@pytest.mark.parametrize("name", cases(DATA, "arrays in executions of three", "shuffled tf.data", others="slow"))
def test_it_goes_on(tmp_path, name):
    assert_goes_on(tmp_path, **{"moments": ((1, 2),), **DATA[name]})


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What a training of arrays comes to."""
    return train(tmp_path_factory.mktemp("whole"))


@pytest.mark.long
def test_the_newest_is_damaged(whole, tmp_path):
    assert interrupted(tmp_path / "parts", [(2, 3)]) == 1
    newest = sorted((tmp_path / "parts" / "backups").iterdir())[-1]
    (newest / "state.npz").write_bytes(b"")
    with pytest.warns(RuntimeWarning, match=f"{newest.name}: state.npz has 0 bytes"):
        parts = train(tmp_path / "parts")
    assert all(np.array_equal(whole[key], parts[key], equal_nan=True) for key in whole)


@pytest.mark.long
def test_executions_of_another_length_go_on(whole, tmp_path):
    assert interrupted(tmp_path / "parts", [(1, 4)], save_freq=1) == 1
    assert different(whole, train(tmp_path / "parts", made=lambda: model(steps_per_execution=3))) == []


def refused(tmp_path, kind, words, made=None, data=None, backups=(), **options):
    """Nothing is trained, nothing is deleted."""
    made, given = made or model(), (X, Y) if data is None else (data,)
    before = [path.name for path in tmp_path.rglob("*")]
    callbacks = [BackupAndRestore(tmp_path / "backups"), *backups]
    with pytest.raises(kind, match=words):
        made.fit(*given, epochs=3, verbose=0, callbacks=callbacks, **options)
    assert made.optimizer.iterations == 0
    assert [path.name for path in tmp_path.rglob("*")] == before


def test_what_cannot_go_on_is_refused(tmp_path):
    (tmp_path / "backups").mkdir()
    two = [BackupAndRestore(tmp_path / "other")]
    refused(tmp_path, ValueError, "`callbacks` must hold one BackupAndRestore at most, got 2", backups=two)
    refused(tmp_path, ValueError, "`steps_per_epoch` must be given for data of unknown length", data=generator())
    rule = "must make every batch out of its index alone .* got Hooked with on_epoch_end"
    refused(tmp_path, ValueError, rule, data=Hooked())
    learned = model()
    learned.adapt(X, Y)
    refused(tmp_path, ValueError, "`steps_per_epoch` must be given", made=learned, data=uncounted(), check=False)


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "backups").write_text("a file")
    refused(tmp_path, OSError, "must be a folder that can be written")


def wider():
    keras.utils.set_random_seed(1)
    given = keras.Input((6,), name="x")
    made = kmtl.MultiTaskModel.from_features(given, keras.layers.Dense(9)(given), tasks())
    made.compile(keras.optimizers.Adam(0.01))
    return made


def test_a_backup_of_another_training_is_refused(tmp_path):
    with pytest.raises(Interrupted):
        train(tmp_path, (1, 2))
    options = {"batch_size": BATCH}
    refused(tmp_path, ValueError, r"variables \['kernel float32 \(6, 8\)'.* there and .*\(6, 9\)", wider(), **options)
    refused(tmp_path, ValueError, "steps_per_epoch 5 there and 4 here", steps_per_epoch=4, **options)
    refused(tmp_path, ValueError, "optimizer 'Adam' there and 'SGD' here", model("sgd"), **options)
    refused(tmp_path, ValueError, "balancer 'Equal' there and 'FAMO' here", model(balancer="famo"), **options)
    older = "must hold no backup from before `initial_epoch` 2, got backup-00000000000006 of epoch 1"
    refused(tmp_path, ValueError, older, initial_epoch=2, **options)
    for path in (tmp_path / "backups").glob("*/manifest.json"):
        path.unlink()
    refused(tmp_path, OSError, "must hold at least one undamaged backup", **options)


def test_a_model_of_keras_is_refused(tmp_path):
    made = keras.Sequential([keras.Input((6,)), keras.layers.Dense(1)])
    made.compile("sgd", "mse")
    with pytest.raises(TypeError, match=r"`model` must be a kmtl.MultiTaskModel in its `fit`, got Sequential"):
        made.fit(X, Y["width"], verbose=0, callbacks=[BackupAndRestore(tmp_path)])


@pytest.mark.long
@pytest.mark.parametrize("steps_per_execution", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_backups_change_no_number(tmp_path, steps_per_execution):
    def made():
        return model(steps_per_execution=steps_per_execution)

    kept = {"batch_size": 9, "epochs": 2, "verbose": 0, "shuffle": False}
    plain, backed = made(), made()
    first = plain.fit(X, Y, **kept).history
    second = backed.fit(X, Y, callbacks=[BackupAndRestore(tmp_path / "backups", save_freq=2)], **kept).history
    assert all(np.array_equal(*pair) for pair in zip(plain.get_weights(), backed.get_weights(), strict=True))
    assert first == second


def test_a_list_of_callbacks_of_keras(tmp_path):
    made = model()
    callbacks = [BackupAndRestore(tmp_path / "backups"), keras.callbacks.EarlyStopping("loss")]
    listed = keras.callbacks.CallbackList(callbacks, add_history=True, model=made)
    history = made.fit(X, Y, epochs=2, verbose=0, callbacks=listed)
    assert len(history.history["loss"]) == 2
