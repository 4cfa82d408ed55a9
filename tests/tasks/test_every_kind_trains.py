"""Every kind of task in a model: one row of the table in tests/kinds.py a kind, and nothing else.

The model has the kind and a companion behind one small trunk, which gives a vector, a map and a sequence.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import cases
from kinds import KINDS, TOLD_ELSEWHERE
from kinds_model import COUNT, NAMES, by_numpy, compiled, examples

from kmtl.tasks import Task


def rows(*default, long=()):
    """All rows; those that are like another one are slow."""
    marks = {name: pytest.mark.long if name in long else pytest.mark.slow for name in NAMES if name not in default}
    return [pytest.param(name, marks=marks.get(name, ())) for name in NAMES]


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def fitted():
    """One model a kind, fitted in a graph on arrays with missing labels and sample weights."""
    made = {}

    def get(name):
        if name not in made:
            x, y, weights = examples(name)
            model = compiled(name, balancer="uncertainty", run_eagerly=False)
            before = [weight.numpy() for weight in model.trainable_variables]
            logs = model.fit(x, y, sample_weight=weights, batch_size=8, epochs=1, shuffle=False, verbose=0).history
            made[name] = model, logs, before
        return made[name]

    return get


def test_every_class_of_kmtl_has_a_row():
    classes = {kind for kind in Task.__subclasses__() if kind.__module__.startswith("kmtl.")}
    assert {type(KINDS[name].make("zebra")) for name in NAMES} == classes - TOLD_ELSEWHERE


@pytest.mark.parametrize("name", rows("ordinal", "segmentation", "detection", long=["tagging"]))
def test_it_trains_under_a_loss_balancer_and_its_metrics_are_those_of_numpy(fitted, name):
    model, logs, before = fitted(name)
    moved = [np.abs(new.numpy() - old).max() for new, old in zip(model.trainable_variables, before, strict=True)]
    assert min(moved) > 0
    ratio = logs["zebra_weight"][0] / logs["ant_weight"][0]
    assert ratio == pytest.approx(model.tasks["zebra"].uncertainty_factor / 0.5, rel=0.05)
    assert np.isfinite(logs["zebra_loss"][0])
    x, y, weights = examples(name)
    found = model.evaluate(x, y, sample_weight=weights, batch_size=8, verbose=0, return_dict=True)
    outputs = keras.ops.convert_to_numpy(model(x)["zebra"])
    for key, value in by_numpy(model.tasks["zebra"], y["zebra"], outputs).items():
        assert found[f"zebra_{key}"] == pytest.approx(value, rel=1e-4), key
    for key, value in by_numpy(model.tasks["zebra"], y["zebra"], outputs, weights["zebra"]).items():
        assert found[f"zebra_weighted_{key}"] == pytest.approx(value, rel=1e-4), key


@pytest.mark.long
@pytest.mark.parametrize("name", rows("ordinal", "segmentation", "detection", long=["tagging"]))
def test_a_saved_model_predicts_the_same_and_trains_on_alike(fitted, name, tmp_path):
    model, _, _ = fitted(name)
    x, y, weights = examples(name)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.tasks == model.tasks
    np.testing.assert_array_equal(again(x)["zebra"], model(x)["zebra"])
    state = [variable.numpy() for variable in model.variables]
    model.run_eagerly = again.run_eagerly = True
    for one in (model, again):
        one.train_on_batch(x, y, sample_weight=weights)
    for one, other in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)
    for variable, value in zip(model.variables, state, strict=True):
        variable.assign(value)
    model.run_eagerly = False


def test_examples_without_its_label_reach_nothing_of_it(name):
    """Whatever the inputs and weights of the examples without any label, every weight of the model is the same."""
    x, y, weights = examples(name)
    task = KINDS[name].make("zebra")
    y["zebra"][:3], y["ant"][:3] = task.missing, np.nan
    other, strange = x.copy(), {key: value.copy() for key, value in weights.items()}
    other[:3] = 1 - 7 * other[:3]
    strange["zebra"][:3], strange["ant"][:3] = np.nan, -1.0
    models = [compiled(name) for _ in range(2)]
    for model, inputs, weight in zip(models, (x, other), (weights, strange), strict=True):
        # Its labels have another mean and scale from one set of arrays to the next, unless they are learned once.
        model.adapt(x, y)
        model.train_on_batch(inputs, y, sample_weight=weight)
    for one, two in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_array_equal(one, two)


def test_without_any_label_its_head_stands_still(name):
    x, y, weights = examples(name)
    model = compiled(name, optimizer="sgd")
    model.adapt(x, y)
    head = [variable.numpy() for variable in model.task_variables("zebra")]
    del y["zebra"], weights["zebra"]
    logs = model.train_on_batch(x, y, sample_weight=weights, return_dict=True)
    assert np.isnan(logs["zebra_loss"])
    for variable, value in zip(model.task_variables("zebra"), head, strict=True):
        np.testing.assert_array_equal(variable, value)


@pytest.mark.parametrize("name", rows("ordinal", "segmentation", "detection"))
def test_class_weights_are_the_sample_weights_that_they_stand_for(name):
    x, y, _ = examples(name)
    task = KINDS[name].make("zebra")
    table = {0: 0.25, 1: 3.0}
    by_class = compiled(name)
    by_class.adapt(x, y)
    if not task.weighs_classes:
        with pytest.raises(ValueError, match=r"`class_weight\['zebra'\]` must belong to a classification"):
            by_class.train_on_batch(x, y, class_weight={"zebra": table})
        return
    by_class.train_on_batch(x, y, class_weight={"zebra": table})
    by_hand = compiled(name)
    by_hand.adapt(x, y)
    weight = np.select([y["zebra"] == 0, y["zebra"] == 1], [0.25, 3.0], 1.0)
    by_hand.train_on_batch(x, y, sample_weight={"zebra": weight})
    for one, two in zip(by_class.get_weights(), by_hand.get_weights(), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", rows("ordinal", "segmentation", "detection"))
def test_a_gramian_balancer_weighs_it_too(name):
    x, y, weights = examples(name)
    model = compiled(name, balancer="upgrad")
    model.adapt(x, y)
    logs = model.train_on_batch(x, y, sample_weight=weights, return_dict=True)
    trained = model.balancer.last.numpy()
    assert np.isfinite(trained).all()
    assert trained.sum() == pytest.approx(2, rel=1e-4)
    assert np.isfinite(logs["zebra_loss"])


# Of a class, of yes or no, and of numbers tests/feeding/test_feeds.py tells it.
@pytest.mark.parametrize(
    "name",
    [
        "segmentation",
        "detection",
        *cases(["ordinal"]),
        *cases(["classification", "binary", "multilabel", "vector", "tagging", "dense_regression"], others="slow"),
        *cases(["poisson", "quantiles", "heteroscedastic"], others="slow"),
    ],
)
def test_streams_train_as_arrays_do(name):
    """Batches of a dataset and of a generator, with class weights where it has classes."""
    x, y, weights = examples(name)
    task = KINDS[name].make("zebra")
    options = {"class_weight": {"zebra": {0: 0.5, 1: 2.0}}} if task.weighs_classes else {}
    data = tf.data.Dataset.from_tensor_slices((x, y, weights)).batch(COUNT)
    whole, stream, python = (compiled(name) for _ in range(3))
    for model in (whole, stream, python):
        model.adapt(x, y)
    whole.fit(x, y, sample_weight=weights, batch_size=COUNT, verbose=0, **options)
    stream.fit(data, verbose=0, **options)
    python.fit(iter([(x, y, weights)]), steps_per_epoch=1, verbose=0, **options)
    for other in (stream, python):
        for one, two in zip(whole.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-6, atol=1e-7)
