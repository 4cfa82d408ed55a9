"""Every form of data that fit takes, as one dataset: the same batches, complete, in an order of its own or not."""

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import kmtl
from kmtl._checks import Refusals
from kmtl.feeding import as_dataset, resume

X = np.arange(20, dtype="float32").reshape(10, 2)
Y = {"zoo": X[:, 0].copy(), "ant": np.arange(10) % 3}
TASKS = {"zoo": kmtl.Regression("zoo"), "ant": kmtl.Classification("ant", 3)}


class Rows(keras.utils.PyDataset):
    """Two batches of the arrays, without weights."""

    def __len__(self):
        return 2

    def __getitem__(self, index):
        part = slice(4 * index, 4 * index + 4)
        return X[part], {name: label[part] for name, label in Y.items()}


FORMS = {
    "arrays": (X, Y),
    "list": [X, Y],
    "a dict": ({"row": X}, {name: label.tolist() for name, label in Y.items()}),
    "frames": (pd.DataFrame(X), pd.DataFrame(Y)),
    "dataset": tf.data.Dataset.from_tensor_slices((X, Y)).batch(4),
    "PyDataset": Rows(),
}


def read(data):
    """Rows, labels and weights of one pass."""
    return [keras.tree.map_structure(np.asarray, batch) for batch in data.as_numpy_iterator()]


@pytest.mark.parametrize("name", FORMS)
def test_every_form_gives_the_same_batches(name):
    batches = read(as_dataset(Refusals("compare"), "train", FORMS[name], TASKS, batch_size=4))
    rows = np.concatenate([keras.tree.flatten(batch[0])[0] for batch in batches])
    count = 8 if name == "PyDataset" else 10
    np.testing.assert_array_equal(rows, X[:count])
    assert [len(batch[1]["ant"]) for batch in batches] == [4, 4, 2][: len(batches)]
    for label in TASKS:
        np.testing.assert_array_equal(np.concatenate([batch[1][label] for batch in batches]), Y[label][:count])


def test_a_list_of_inputs_stays_one_of_several():
    data = as_dataset(Refusals("compare"), "train", ([X, X[:, :1]], Y), TASKS, batch_size=4)
    assert [[one.shape for one in batch[0]] for batch in read(data)] == [[(4, 2), (4, 1)]] * 2 + [[(2, 2), (2, 1)]]


def test_the_training_comes_in_another_order_each_pass_and_folds_in_one():
    passes = {}
    for is_reshuffled in (True, False):
        options = {"batch_size": 4, "shuffle": True, "is_reshuffled": is_reshuffled}
        data = as_dataset(Refusals("compare"), "train", (X, Y), TASKS, **options)
        passes[is_reshuffled] = [np.concatenate([batch[0][:, 0] for batch in read(data)]).tolist() for _ in range(2)]
        assert all(sorted(found) == X[:, 0].tolist() for found in passes[is_reshuffled])
        assert all(found != X[:, 0].tolist() for found in passes[is_reshuffled])
    assert passes[True][0] != passes[True][1]
    assert passes[False][0] == passes[False][1]
    assert data.cardinality() == 3
    assert resume.restart_of(data) is not None


def test_weights_and_labels_that_are_not_there_are_kept():
    weights = np.linspace(0, 1, 10)
    ((_, labels, given),) = read(as_dataset(Refusals("c"), "train", (X, {"ant": Y["ant"]}, weights), TASKS))
    assert np.isnan(labels["zoo"]).all()
    np.testing.assert_allclose(given["ant"], weights)


def test_what_cannot_be_gone_through_again_is_refused_by_name():
    refusals = Refusals("compare")
    for wrong in (iter([FORMS["arrays"]]), 7, X, (iter([X]), Y), None):
        assert as_dataset(refusals, "train", wrong, TASKS) is None
    assert ["a generator" in message for message in refusals.messages] == [True, False, False, True, False]
    assert all(message.startswith("compare: `train` must be what fit takes: ") for message in refusals.messages)
    with pytest.raises(ValueError, match=r"compare\(train\): `y\['ant'\]` must hold 10 labels"):
        as_dataset(refusals, "train", (X, {"ant": Y["ant"][:5]}), TASKS)
    # What is evaluated after the trainings is refused before them.
    for wrong, words in (
        ((X, {"ant": Y["ant"] + 1}), r"`y\['ant'\]` must lie in 0\.\.2"),
        ((np.where(X == 3, np.inf, X), Y), "`x` must be finite"),
        ((X[:0], {"ant": Y["ant"][:0]}), "`x` must hold at least one example"),
    ):
        with pytest.raises(ValueError, match=rf"^compare\(test\): {words}"):
            as_dataset(refusals, "test", wrong, TASKS)
