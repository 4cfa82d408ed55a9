"""A key that no batch has: refused as a mistake, or with `check=False` a head that stays as it is."""

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
