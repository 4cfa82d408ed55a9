"""A key that no batch has: refused as a mistake, or with `check=False` a head that stays as it is."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from toys import compiled, examples

X, Y = examples(12)
SOME = {name: Y[name] for name in ("age", "alive")}
FORMS = {"arrays": (X, SOME), "dataset": (tf.data.Dataset.from_tensor_slices((X, SOME)).batch(4),)}


@pytest.fixture(params=FORMS)
def data(request):
    """A fresh model, and data of two of its four tasks."""
    return compiled(run_eagerly=True), FORMS[request.param]


def test_the_refusal_names_a_way_out_that_works(data):
    model, given = data
    with pytest.raises(ValueError, match=r"missing: \['species', 'box'\].*`check=False`.*model\.adapt") as caught:
        model.fit(*given, verbose=0)
    assert caught.type is ValueError
    heads = {name: [v.numpy() for v in model.task_variables(name)] for name in model.tasks}
    if len(given) == 1:
        model.adapt(*given)
    logs = model.fit(*given, check=False, verbose=0).history
    np.testing.assert_allclose(np.ravel(model.scalers["age"].mean), Y["age"].mean(), rtol=1e-6)
    assert not model.scalers["box"].is_learned
    for name, old in heads.items():
        same = all(map(np.array_equal, old, [v.numpy() for v in model.task_variables(name)]))
        assert same == (name not in SOME), name
    assert np.isnan([logs["species_loss"], logs["box_loss"]]).all()
    found = model.evaluate(*given, verbose=0, return_dict=True)
    assert found["loss"] == pytest.approx(found["age_loss"] + found["alive_loss"], rel=1e-6)


def test_the_scale_of_an_absent_task_is_learned_once_it_comes():
    model = compiled(run_eagerly=True)
    model.fit(X, SOME, check=False, verbose=0)
    model.fit(X, Y, verbose=0)
    np.testing.assert_allclose(model.scalers["box"].mean, Y["box"].mean(axis=0), rtol=1e-6)


def test_validation_labels_of_an_unknown_scale_are_refused():
    model = compiled(run_eagerly=True)
    with pytest.raises(ValueError, match=r"fit\(validation_data\): `tasks` must have learned .* none for \['box'\]"):
        model.fit(X, SOME, validation_data=(X, Y), check=False, verbose=0)
    model.fit(X, SOME, validation_data=(X, SOME), check=False, verbose=0)


def test_a_batch_may_lack_a_task_whose_scale_is_unknown():
    model = compiled(run_eagerly=True)
    model.adapt(X, SOME)
    found = model.train_on_batch(X, SOME, return_dict=True)
    assert found["age_loss"] > 0


class Batches(keras.utils.PyDataset):
    """Batches of four, from a table of labels."""

    def __init__(self, labels=SOME):
        super().__init__()
        self.labels = labels

    @property
    def num_batches(self):
        return 3

    def __getitem__(self, index):
        rows = slice(4 * index, 4 * index + 4)
        return X[rows], {name: label[rows] for name, label in self.labels.items()}


def generated(labels=SOME):
    given = Batches(labels)
    return (given[index] for index in range(3))


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
@pytest.mark.parametrize("stream", [Batches, generated])
def test_a_stream_of_python_may_lack_a_standardised_task_throughout(stream):
    """The way that the refusal names is gone to its end."""
    model = compiled(run_eagerly=True)
    with pytest.raises(ValueError, match=r"`check=False`"):
        model.fit(stream(), verbose=0)
    with pytest.raises(ValueError, match=r"^fit: `tasks` must have learned .*none for \['age'\]\. Call model\.adapt"):
        model.fit(stream(), check=False, verbose=0)
    model.adapt(stream())
    logs = model.fit(stream(), check=False, verbose=0).history
    np.testing.assert_allclose(np.ravel(model.scalers["age"].mean), Y["age"].mean(), rtol=1e-6)
    assert not model.scalers["box"].is_learned
    assert np.isnan([logs["species_loss"], logs["box_loss"]]).all()
    found = model.evaluate(stream(), verbose=0, return_dict=True)
    assert found["loss"] == pytest.approx(found["age_loss"] + found["alive_loss"], rel=1e-6)


def test_labels_that_come_later_than_their_scale_are_refused():
    model = compiled(run_eagerly=True)
    model.adapt(X, SOME)

    def batches():
        for place in range(20):
            yield X, (Y if place == 18 else SOME)

    told = r"^fit: `y\['box'\]` must have learned the labels' mean and scale, got labels in a batch.* model\.adapt"
    with pytest.raises(ValueError, match=told):
        model.fit(batches(), check=False, verbose=0)


def test_labels_that_are_all_missing_leave_a_head_as_it_is():
    model = compiled(run_eagerly=True)
    none = {**Y, "box": Y["box"] * np.nan}
    with pytest.raises(ValueError, match=r"`y\['box'\]` must have a label somewhere.* its head as it is: `check=F"):
        model.fit(X, none, verbose=0)
    logs = model.fit(X, none, check=False, verbose=0).history
    assert np.isnan(logs["box_loss"]).all()
    assert not model.scalers["box"].is_learned
