"""Two labels on features of each, with their marginals as tasks of their own."""

import keras
import numpy as np
import pytest

import kmtl
from kmtl.sharing import TwoLabelHead
from kmtl.tasks import TwoLabels

RANDOM = np.random.default_rng(2)
USER, ITEM = RANDOM.normal(size=(9, 3)).astype("float32"), RANDOM.normal(size=(9, 2)).astype("float32")
X = {"user": USER, "item": ITEM}
LABELS = RANDOM.integers(-1, 2, (9, 2))
Y = {"order": LABELS, "clicked": LABELS[:, 0], "bought": LABELS[:, 1]}
OFF = {"clicked": 0.0, "bought": 0.0}


def tasks():
    return [TwoLabels("order"), kmtl.BinaryClassification("clicked"), kmtl.BinaryClassification("bought")]


def build(coupling="features", marginals=True):
    keras.utils.set_random_seed(3)
    user, item = keras.Input((3,), name="user"), keras.Input((2,), name="item")
    given = tasks() if marginals else tasks()[:1]
    outputs = TwoLabelHead(coupling)(user, item, given)
    model = kmtl.MultiTaskModel({"user": user, "item": item}, outputs, tasks=given)
    model.compile(keras.optimizers.SGD(0.5), run_eagerly=True, loss_weights=OFF if marginals else None)
    return model


@pytest.fixture(scope="module")
def model():
    return build()


def test_marginals_are_sums_of_states_and_their_losses_are_taken_of_logits(model):
    found = model.predict_on_batch(X)
    states = found["order"]
    np.testing.assert_allclose(found["clicked"][:, 0], states[:, 2:].sum(axis=1), rtol=1e-5)
    np.testing.assert_allclose(found["bought"][:, 0], states[:, 1::2].sum(axis=1), rtol=1e-5)
    far = build()
    far.get_layer("order_1").bias.assign([200.0])
    logs = far.test_on_batch(X, {**Y, "clicked": np.zeros(9, "int32")}, return_dict=True)
    # From the probability alone Keras would cut the loss off at 16.
    assert logs["clicked_loss"] > 150


def test_marginals_change_nothing_of_the_training():
    with_them, alone = build(), build(marginals=False)
    for _ in range(3):
        with_them.train_on_batch(X, Y)
        alone.train_on_batch(X, {"order": LABELS})
    for one, other in zip(with_them.trainable_variables, alone.trainable_variables, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_a_constant_coupling_is_the_log_odds_ratio_where_the_likelihood_is_largest():
    model = build("constant", marginals=False)
    counts = {(0, 0): 6, (0, 1): 2, (1, 0): 1, (1, 1): 3}
    labels = np.array([state for state, count in counts.items() for _ in range(count)])
    rows = {"user": np.zeros((12, 3), "float32"), "item": np.zeros((12, 2), "float32")}
    solution = {"order_1": np.log([1 / 6]), "order_2": np.log([2 / 6]), "order": np.log(6 * 3 / (2 * 1))}
    moved = [model.get_layer(name).coupling if name == "order" else model.get_layer(name).bias for name in solution]
    for variable, value in zip(moved, solution.values(), strict=True):
        variable.assign(value)
    np.testing.assert_allclose(model.predict_on_batch(rows)["order"][0], np.array([6, 2, 1, 3]) / 12, rtol=1e-5)
    model.train_on_batch(rows, {"order": labels})
    for variable, value in zip(moved, solution.values(), strict=True):
        np.testing.assert_allclose(variable, value, rtol=1e-6)


def test_it_comes_back_from_a_file_and_its_thresholds_are_chosen(model, tmp_path):
    whole = {**Y, "order": np.array([[0, 1], [1, 0], [1, 1]] * 3), "clicked": np.arange(9) % 2}
    found = kmtl.evidence.calibrate(model, X, whole, thresholds="f1")
    assert [row.task for row in found.rows] == ["order", "clicked", "bought"]
    assert isinstance(model.tasks["order"].threshold, tuple)
    model.save(tmp_path / "pair.keras")
    again = keras.saving.load_model(tmp_path / "pair.keras")
    assert again.tasks == model.tasks
    for name, output in model.predict_on_batch(X).items():
        np.testing.assert_array_equal(again.predict_on_batch(X)[name], output)


def test_what_is_no_such_head_is_refused():
    with pytest.raises(ValueError, match=r"TwoLabelHead: `coupling` must be a kind of coupling, got 'constnat'. Did"):
        TwoLabelHead("constnat")
    given = keras.Input((3,))
    for wrong in (tasks()[1:], tasks()[:2], [TwoLabels("a"), kmtl.Classification("b", 3), kmtl.Regression("c")]):
        with pytest.raises(
            ValueError, match=r"TwoLabelHead: `tasks` must be one kmtl.tasks.TwoLabels, alone or with two"
        ):
            TwoLabelHead()(given, given, wrong)


def test_features_of_two_labels_may_be_one_tensor():
    given = keras.Input((3,))
    found = TwoLabelHead()(given, given, [TwoLabels("order", hidden=4, l2=0.1)])
    # One hidden kernel and three parameters' are penalised.
    assert len(keras.Model(given, found).losses) == 4
    apart = TwoLabelHead()(given, keras.Input((2,)), [TwoLabels("order", hidden=4)])
    assert apart["order"].shape == (None, 4)
