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


def test_a_batch_may_lack_a_task_whose_scale_is_unknown():
    model = compiled(run_eagerly=True)
    model.adapt(X, SOME)
    found = model.train_on_batch(X, SOME, return_dict=True)
    assert found["age_loss"] > 0


class Rows(keras.utils.PyDataset):
    """Batches of the first rows, with these labels one after the other."""

    def __init__(self, *labels):
        super().__init__()
        self.labels = labels

    @property
    def num_batches(self):
        return len(self.labels)

    def __getitem__(self, index):
        return X[:4], {name: value[:4] for name, value in self.labels[index].items()}


STREAMS = {"generator": lambda *labels: (Rows(*labels)[place] for place in range(len(labels))), "PyDataset": Rows}


@pytest.mark.parametrize("form", STREAMS)
def test_batches_that_python_makes_lack_a_task_as_other_data_does(form):
    stream, model = STREAMS[form], compiled(run_eagerly=True)
    model.adapt(stream(SOME, SOME))
    logs = model.fit(stream(SOME, SOME), steps_per_epoch=2, check=False, verbose=0).history
    np.testing.assert_allclose(np.ravel(model.scalers["age"].mean), Y["age"][:4].mean(), rtol=1e-6)
    assert not model.scalers["box"].is_learned
    assert np.isnan([logs["species_loss"][0], logs["box_loss"][0]]).all()
    found = model.evaluate(stream(SOME), steps=1, verbose=0, return_dict=True)
    assert found["loss"] == pytest.approx(found["age_loss"] + found["alive_loss"], rel=1e-6)
    with pytest.raises(ValueError, match=r"^fit: `y\['box'\]` must be in the first batch, or have a scale that was"):
        model.fit(stream(SOME, Y), steps_per_epoch=2, check=False, verbose=0)


def test_labels_that_are_all_missing_are_as_good_as_none():
    model = compiled(run_eagerly=True)
    nothing = {**Y, "box": np.full_like(Y["box"], np.nan)}
    logs = model.fit(X, nothing, check=False, verbose=0, validation_data=(X, nothing)).history
    assert not model.scalers["box"].is_learned
    assert np.isnan([logs["box_loss"][0], logs["val_box_loss"][0]]).all()
    with pytest.raises(ValueError, match=r"fit\(validation_data\): `tasks` must have learned .* none for \['box'\]"):
        model.fit(X, nothing, check=False, verbose=0, validation_data=(X, Y))
