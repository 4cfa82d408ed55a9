"""A deep model and classical predictors: the two ends of the mixture, what out of fold means, refusals, files."""

import keras
import numpy as np
import pytest
import recipe_rows
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

import kmtl
from kmtl.sharing import GatedMixture, StackedMixture
from kmtl.training import DecisionForest, Heterogeneous, MixedModel
from kmtl.training.classical import Classical, out_of_fold
from kmtl.training.decision_forests import FittedForest
from kmtl.training.latency import latency
from kmtl.training.mixed_graph import MixedGraph
from kmtl.training.mixed_model import flat

TREES = recipe_rows.TREES
KIND = recipe_rows.TASKS[0]


@pytest.fixture(scope="module")
def trained():
    """Trees for both tasks."""
    return recipe_rows.train(Heterogeneous(TREES, folds=3, mixing=0.5), epochs=1, batch_size=12, validation=None)


@pytest.fixture(scope="module")
def noisy():
    """Deep outputs of a joint model, out-of-fold outputs of a memory, and labels that both guess by half."""
    joint = recipe_rows.build(recipe_rows.TASKS)
    x, y = recipe_rows.rows(300)
    joint.adapt(x, y)
    random = np.random.default_rng(2)
    labels = np.where(random.random(300) < 0.5, y["kind"], random.integers(0, 3, 300)).astype("int32")
    return joint, x, labels


def log_loss(labels, outputs):
    there = labels >= 0
    return -np.log(np.clip(outputs[there, labels[there]], 1e-7, 1)).mean()


@pytest.mark.parametrize("mixture", [GatedMixture, StackedMixture])
def test_the_trained_mix_is_no_worse_than_either_and_a_memory_does_not_take_all(noisy, mixture):
    joint, x, labels = noisy
    layer = mixture("softmax", name="kind_mixed")
    graph = MixedGraph("Heterogeneous", joint, {"kind": layer})
    deep = graph.deep().predict(x, verbose=0)
    memory = KNeighborsClassifier(1)
    read = x.reshape(300, -1)
    outside = out_of_fold(KIND, memory, read, labels, folds=5, seed=0)
    # In-sample it is right on every row: what a mixture that was trained on that would trust alone.
    assert log_loss(labels, Classical.fitted(KIND, memory, read, labels).outputs(read)) < 1e-6
    model = graph.mixing()
    model.compile(keras.optimizers.Adam(0.05))
    given = {"features": deep["features"], "kind_deep": deep["kind"], "kind_classical": outside}
    often = {name: np.tile(values, (40, 1)) for name, values in given.items()}
    model.fit(often, {"kind": np.tile(labels, 40)}, batch_size=300, shuffle=False, verbose=0)
    mixed = log_loss(labels, model.predict(given, verbose=0)["kind"])
    assert mixed < min(log_loss(labels, deep["kind"]), log_loss(labels, outside)) + 0.01
    if mixture is GatedMixture:
        assert graph.mean_gate("kind", given) > 0.5


def test_an_open_gate_is_the_deep_model_a_shut_one_the_trees(trained):
    mixed, (x, _) = trained.model, recipe_rows.rows(seed=1)
    kept = {name: mixed.model.get_layer(f"{name}_mixed").last for name in mixed.tasks}
    biases = {name: last.bias.numpy() for name, last in kept.items()}
    read = x.reshape(len(x), -1)
    trees = {name: one.outputs(read) for name, one in mixed.classical.items()}
    for last in kept.values():
        last.bias.assign([-200.0])
    for name, values in mixed.predict(x, verbose=0).items():
        np.testing.assert_allclose(values, trees[name], rtol=1e-5)
    for last in kept.values():
        last.bias.assign([200.0])
    # Of the deep model nothing is left of the trees: other ones change nothing.
    given = mixed.with_classical(x)
    other = {**given, "kind_classical": given["kind_classical"][::-1], "speed_classical": 3 - given["speed_classical"]}
    one, again = (mixed.model.predict(values, verbose=0) for values in (given, other))
    for name in mixed.tasks:
        np.testing.assert_array_equal(one[name], again[name])
        kept[name].bias.assign(biases[name])
    part = keras.Model(mixed.model.inputs, mixed.model.get_layer("kind").output)
    np.testing.assert_array_equal(one["kind"], part.predict(given, verbose=0))


def test_a_mixed_model_takes_datasets_and_arrays_and_tells_what_it_is(trained, tmp_path, capsys):
    mixed, (x, y) = trained.model, recipe_rows.rows(seed=1)
    data = kmtl.data.from_arrays(x, y, recipe_rows.TASKS, batch_size=14, shuffle=False)
    by_array = mixed.evaluate(x, y, verbose=0, return_dict=True)
    by_set = mixed.evaluate(data, verbose=0, return_dict=True)
    assert by_set == pytest.approx(by_array, rel=1e-5)
    for name, values in mixed.predict(data, verbose=0).items():
        np.testing.assert_allclose(values, mixed.predict(x, verbose=0)[name], rtol=1e-5)
    assert latency(mixed, x) > 0
    assert not capsys.readouterr().out
    assert "DecisionTreeClassifier of 'kind'" in repr(mixed)
    assert set(trained.notes["classical"]) == set(trained.notes["gate"]) == {"kind", "speed"}
    with pytest.raises(ValueError, match=r"in_one: `classical` must be one graph.*DecisionForest"):
        mixed.in_one()
    with pytest.raises(ValueError, match="must be one graph of TensorFlow, got a MixedModel with DecisionTreeClass"):
        kmtl.export.saved_model(mixed, tmp_path / "served")
    with pytest.raises(ValueError, match="a file form other than pickle"):
        mixed.save(tmp_path / "model.keras")


@pytest.mark.long
def test_estimators_may_read_features_and_some_tasks_may_have_none():
    recipe = Heterogeneous({"kind": LogisticRegression()}, reads="features", folds=2, mixing=0.5)
    found = recipe_rows.train(recipe, epochs=1, batch_size=24, validation=None)
    x, _ = recipe_rows.rows(seed=1)
    assert list(found.model.tasks) == ["kind", "speed"]
    assert [one.name for one in found.model.inputs] == ["image"]
    assert np.isfinite(found.model.predict(x, verbose=0)["speed"]).all()
    # The trunk stands still: what estimators read is what they were fitted on.
    alone = recipe_rows.train(kmtl.training.Joint(), epochs=1, batch_size=24, validation=None)
    for layer in ("Dense", "BatchNormalization"):
        one, other = (
            next(part for part in model.layers if type(part).__name__ == layer)
            for model in (found.model.get_layer("mixed"), alone.model)
        )
        for left, right in zip(one.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_array_equal(left, right)


def test_columns_name_numbers():
    named = {"a": np.ones((2, 2)), "b": np.zeros((2, 1))}
    assert flat(named, ["b"]).tolist() == [[0.0], [0.0]]
    x = recipe_rows.rows()[0]
    with pytest.raises(
        ValueError, match=r"`columns` must name inputs of the model, got 'imagee'. Did you mean 'image'?"
    ):
        recipe_rows.train(Heterogeneous(TREES, columns="imagee"), train=(x, recipe_rows.rows()[1]))


REFUSALS = {
    "no probabilities": ({"kind": LinearSVC()}, r"\['kind'\]` must have predict_proba.*CalibratedClassifierCV"),
    "a machine without probabilities": ({"kind": SVC()}, "must have predict_proba for a task of classes"),
    "a regressor for classes": ({"kind": LinearRegression()}, "must have predict_proba .* Give a classifier"),
    "a classifier for values": (DecisionTreeClassifier(), r"\['speed'\]` must predict values"),
    "no estimator": ({"kind": 3}, "must be an estimator with fit and predict"),
    "no task": ({"kinds": DecisionTreeClassifier()}, "task names as keys, got 'kinds'. Did you mean 'kind'?"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_cannot_be_fitted_is_refused_before_anything_is_trained(name):
    given, message = REFUSALS[name]
    with pytest.raises(ValueError, match=message):
        recipe_rows.train(Heterogeneous(given), build=lambda _: pytest.fail("built"))


def test_weights_reach_estimators_and_are_refused_where_none_can_be():
    x, y = np.zeros((4, 1)), np.array([0, 2, 2, -1])
    heavy = np.array([6.0, 1.0, 1.0, 5.0])
    found = Classical.fitted(KIND, DecisionTreeClassifier(), x, y, weights=heavy).outputs(x[:1])
    np.testing.assert_allclose(found, [[0.75, 0, 0.25]])
    (x, y), weights = recipe_rows.rows(), np.ones(24, "float32")
    data = kmtl.data.from_arrays(x, y, recipe_rows.TASKS, batch_size=8, sample_weight=weights)
    with pytest.raises(ValueError, match="`estimators` must have a fit with sample_weight, as the rows of 'kind'"):
        recipe_rows.train(Heterogeneous({"kind": KNeighborsClassifier()}), train=data)


def test_options_out_of_range_are_refused():
    tree = DecisionTreeClassifier()
    for options in ({"mix": "gates"}, {"reads": "feature"}, {"folds": 1}, {"rate": 0}, {"columns": 3}):
        with pytest.raises(ValueError, match=f"^Heterogeneous: `{next(iter(options))}` must"):
            Heterogeneous(tree, **options)
    with pytest.raises(ValueError, match="`columns` must be None with reads='features'"):
        Heterogeneous(tree, reads="features", columns="image")
    with pytest.raises(ValueError, match="`folds` must be no more than the labels of 'kind', 16"):
        recipe_rows.train(Heterogeneous({"kind": tree}, folds=17))
    with pytest.raises(ValueError, match="`estimators` must hold"):
        Heterogeneous({})
    with pytest.raises(ValueError, match=r"`kind` must be one of .* Did you mean 'forest'?"):
        DecisionForest("forests")


def test_settings_of_estimators_are_part_of_the_configuration():
    one, other = (Heterogeneous(DecisionTreeRegressor(max_depth=depth)) for depth in (2, 3))
    assert one.configuration() != other.configuration()
    forest = Heterogeneous({"kind": DecisionForest("forest", num_trees=3)})
    assert forest.configuration()["estimators"] == {"kind": ["DecisionForest", {"kind": "forest", "num_trees": 3}]}


def test_trees_of_ydf_serve_every_kind_and_come_back_from_their_folder(tmp_path):
    pytest.importorskip("ydf")
    random = np.random.default_rng(0)
    x = random.random((200, 4)).astype("float32")
    kind = kmtl.Classification("kind", 4)
    y = np.where(x[:, 0] > 0.5, 3, 1).astype("int32")
    forest = DecisionForest("boosted", num_trees=10)
    fitted = Classical.fitted(kind, forest, x, y)
    assert (fitted.outputs(x).argmax(-1) == y).mean() > 0.95
    assert not fitted.outputs(x)[:, [0, 2]].any()
    speed = Classical.fitted(kmtl.Regression("speed"), forest, x, 100 * x[:, 1])
    assert np.abs(speed.outputs(x)[:, 0] - 100 * x[:, 1]).mean() < 25
    fitted.estimators[0].save(tmp_path / "forest")
    again = Classical(kind, [FittedForest.load(tmp_path / "forest")])
    np.testing.assert_array_equal(again.outputs(x), fitted.outputs(x))


@pytest.mark.long
def test_trees_of_ydf_are_saved_beside_the_network_and_served_with_it(tmp_path):
    pytest.importorskip("ydf_tf")
    import tensorflow as tf

    recipe = Heterogeneous(DecisionForest("boosted", num_trees=5), folds=2, mixing=0.5)
    mixed = recipe_rows.train(recipe, epochs=1, train=recipe_rows.rows(90), batch_size=90, validation=None).model
    x, y = recipe_rows.rows(seed=1)
    mixed.save(tmp_path / "mixed")
    again, wanted = MixedModel.load(tmp_path / "mixed"), mixed.predict(x, verbose=0)
    for name, values in again.predict(x, verbose=0).items():
        np.testing.assert_allclose(values, wanted[name], rtol=1e-5)
    assert again.evaluate(x, y, verbose=0, return_dict=True) == pytest.approx(
        mixed.evaluate(x, y, verbose=0, return_dict=True), rel=1e-5
    )
    whole = mixed.in_one()
    path = kmtl.export.saved_model(whole, tmp_path / "served")
    served = tf.saved_model.load(str(path)).signatures["serving_default"](image=tf.constant(x))
    for name, values in served.items():
        np.testing.assert_allclose(values.numpy(), wanted[name], rtol=1e-4)
    with pytest.raises(NotImplementedError, match=r"must hold layers that a .keras file can hold"):
        whole.save(tmp_path / "whole.keras")
