"""The verdict on planted data: scales, conflicts, both, neither; dead and unlearned tasks, the user's own weights."""

import keras
import numpy as np
import pandas as pd
import pytest

import kmtl
from kmtl.evidence import advise
from kmtl.evidence.diagnosis.verdict import verdict

X = np.random.default_rng(0).normal(size=(96, 4)).astype("float32")


def model_of(names):
    keras.utils.set_random_seed(0)
    image = keras.Input((4,))
    features = keras.layers.Dense(6)(image)
    model = kmtl.MultiTaskModel.from_features(
        image, features, [kmtl.Regression(name, standardize=False) for name in names]
    )
    # One head for all, so that only the labels tell the gradients apart.
    model.compile("sgd")
    kernel = model.get_layer(names[0]).kernel.numpy()
    for name in names:
        model.get_layer(name).kernel.assign(kernel)
    return model


CASES = {
    "equal": {"zebra": 10 * X[:, 0], "ant": 10 * X[:, 0] + X[:, 1]},
    "unit": {"zebra": 1000 * X[:, 0], "ant": 10 * X[:, 0]},
    "upgrad": {"zebra": 10 * X[:, 0], "ant": -10 * X[:, 0]},
    "nash": {"zebra": 1000 * X[:, 0], "ant": -10 * X[:, 0]},
}


@pytest.mark.parametrize("balancer", CASES)
def test_planted_data_gets_its_verdict(balancer):
    model = model_of(["zebra", "ant"])
    model.optimizer.iterations.assign(1)
    before = model.get_weights()
    advice = advise(model, X, CASES[balancer], batches=3)
    assert "kmtl.evidence.diagnose" in advice.verdict
    assert advice.balancer == balancer
    assert balancer in advice.verdict
    assert list(advice.tasks.index) == ["zebra", "ant"]
    assert advice.tasks["batches"].tolist() == [3, 3]
    assert advice.tasks["share"].sum() == pytest.approx(1)
    assert "zebra" in str(advice)
    assert advice.pairs["overlap"].tolist() == [1.0]
    # Two gradients of norms a and b at a cosine c: similarity 2ab / (a^2 + b^2).
    one, other = advice.tasks["gradient_norm"]
    assert advice.pairs["norm_similarity"][0] == pytest.approx(2 * one * other / (one**2 + other**2), rel=0.2)
    assert (advice.pairs["cosine"][0] < -0.5) == (balancer in ("upgrad", "nash"))
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)


def test_no_conflict_is_told_of_a_model_that_no_step_was_taken_with():
    advice = advise(model_of(["zebra", "ant"]), X, CASES["upgrad"], batches=3)
    assert advice.balancer == "equal"
    assert "Of an untrained model the heads' random start decides" in advice.verdict
    assert "'zebra' and 'ant' (mean cosine -" in advice.verdict


def table(lengths, weights=(1.0, 1.0)):
    """Figures of two tasks, whose gradients have these lengths in each batch."""
    rows = {"loss": 0.1, "guessing": 1.0, "batches": len(lengths[0]), "is_dead": False}
    columns = {"gradient_norm": [np.median(values) for values in lengths], "loss_weight": weights}
    tasks = pd.DataFrame({**columns, **{key: [value] * 2 for key, value in rows.items()}}, index=["zebra", "ant"])
    return tasks, dict(zip(tasks.index, np.asarray(lengths, float), strict=True))


def pairs_of(cosine, half):
    values = {"task": "zebra", "other": "ant", "cosine": cosine, "cosine_interval": half, "is_measurable": True}
    return pd.DataFrame([values])


@pytest.mark.parametrize(
    ("ratios", "balancer", "said"),
    [
        ([30, 31, 29, 30], "unit", "Scales differ: the gradient of 'zebra' is 30 times"),
        ([2, 2.1, 1.9, 2], "equal", "The largest gradient is 2.0 times the smallest"),
        ([9.9, 8, 12, 10], "equal", "Undecided, whether scales differ: the gradient of 'zebra' is 9.9 times"),
        ([11, 60, 14, 5], "equal", "Undecided, whether scales differ"),
    ],
)
def test_no_verdict_on_scales_on_a_knife_s_edge(ratios, balancer, said):
    tasks, norms = table([ratios, [1.0] * 4])
    found, words = verdict(tasks, pairs_of(0.1, 0.05), norms, 4, is_trained=True)
    assert found == balancer
    assert said in words
    assert "'uncertainty'" not in words


@pytest.mark.parametrize(
    ("cosine", "half", "balancer", "said"),
    [
        (-0.5, 0.1, "upgrad", "Gradients conflict: 'zebra' and 'ant' (mean cosine -0.50 ± 0.10)"),
        (-0.15, 0.1, "equal", "Undecided, whether gradients conflict: 'zebra' and 'ant' (mean cosine -0.15 ± 0.10)"),
        (-0.05, 0.01, "equal", "no pair is seen to conflict"),
    ],
)
def test_a_conflict_needs_an_interval_below_the_threshold(cosine, half, balancer, said):
    tasks, norms = table([[1.0] * 4] * 2)
    found, words = verdict(tasks, pairs_of(cosine, half), norms, 4, is_trained=True)
    assert found == balancer
    assert said in words


def test_a_task_without_labels_and_a_model_that_shares_nothing():
    model = model_of(["zebra", "ant", "bee"])
    labels = {**CASES["equal"], "bee": np.full(96, np.nan, "float32")}
    assert advise(model, X, labels, batches=2).tasks.loc["bee", "batches"] == 0
    lone = kmtl.MultiTaskModel.from_features(
        image := keras.Input((4,)), keras.layers.Dense(3)(image), [kmtl.Regression("zebra")]
    )
    with pytest.raises(ValueError, match=r"advise: `model` must be compiled"):
        advise(lone, X, {"zebra": X[:, 0]})
    lone.compile("sgd")
    with pytest.raises(ValueError, match=r"must have trainable weights that tasks share"):
        advise(lone, X, {"zebra": X[:, 0]})
    with pytest.raises(ValueError, match=r"advise: `batches` must be a whole number of at least 1"):
        advise(model, X, labels, batches=0)


DIGITS = np.tile(np.arange(4), 24).astype("int32")


def two_kinds(*, stop=False, weights=None):
    """A classification, behind a stopped gradient if wanted, beside a regression."""
    keras.utils.set_random_seed(0)
    row = keras.Input((4,))
    features = keras.layers.Dense(6)(row)
    stopped = keras.ops.stop_gradient(features) if stop else features
    tasks = [kmtl.Classification("zebra", 4), kmtl.Regression("ant")]
    model = kmtl.MultiTaskModel.from_features(row, {"zebra": stopped, "ant": features}, tasks)
    model.compile("sgd", loss_weights=weights, run_eagerly=True)
    return model


def test_a_dead_task_is_named_and_no_balancer_is_advised():
    advice = advise(two_kinds(stop=True), X, {"zebra": DIGITS, "ant": X[:, 0]}, batches=2)
    assert advice.tasks["is_dead"].tolist() == [True, False]
    assert advice.tasks.loc["zebra", "gradient_norm"] == 0
    assert "Dead: no gradient of 'zebra' reaches the shared weights" in advice.verdict
    assert "nothing to balance" in advice.verdict
    assert advice.balancer == "equal"
    assert not advise(two_kinds(), X, {"zebra": DIGITS, "ant": X[:, 0]}, batches=2).tasks["is_dead"].any()


def test_tasks_that_are_all_dead_are_named():
    row = keras.Input((4,))
    tasks = [kmtl.Classification("zebra", 4), kmtl.Regression("ant")]
    model = kmtl.MultiTaskModel.from_features(row, keras.ops.stop_gradient(keras.layers.Dense(6)(row)), tasks)
    model.compile("sgd", run_eagerly=True)
    advice = advise(model, X, {"zebra": DIGITS, "ant": X[:, 0]}, batches=1)
    assert "Dead: no gradient of 'zebra', 'ant' reaches the shared weights" in advice.verdict
    assert np.isnan(advice.pairs["norm_similarity"][0])


def test_the_level_of_guessing_is_the_loss_of_the_best_constant_output():
    model = two_kinds(weights={"zebra": 0.5, "ant": 2.0})
    classes = np.random.default_rng(1).permutation(np.repeat([0, 1, 2, 2], 24)).astype("int32")
    labels = {"zebra": classes, "ant": X[:, 0].copy()}
    labels["ant"][::3] = np.nan
    found = advise(model, X, labels, batches=3).tasks
    shares = np.array([0.25, 0.25, 0.5])
    assert found.loc["zebra", "guessing"] == pytest.approx(-(shares * np.log(shares)).sum(), rel=1e-5)
    # A standardised squared error from the mean is 1.
    assert found.loc["ant", "guessing"] == pytest.approx(1.0, abs=0.02)
    # Losses are told at weight 1.
    logs = model.evaluate(X, labels, verbose=0, return_dict=True)
    assert found["loss"].tolist() == pytest.approx([logs["zebra_loss"], logs["ant_loss"]], rel=0.02)
    assert found["loss_weight"].tolist() == [0.5, 2.0]


def test_a_task_that_learned_nothing_is_told_from_one_that_did():
    model = two_kinds()
    labels = {"zebra": DIGITS, "ant": X[:, 0] + 0.5 * X[:, 1]}
    assert "Not trained yet" in advise(model, X, labels, batches=3).verdict
    model.fit(X, labels, epochs=6, verbose=0)
    advice = advise(model, X, labels, batches=3)
    loss, guess = advice.tasks.loc["zebra", ["loss", "guessing"]]
    # Labels that do not follow from the inputs: four classes as often as each other.
    assert guess == pytest.approx(np.log(4), rel=1e-5)
    assert (
        f"No better than guessing, a constant output: 'zebra' (loss {loss:.4g}, guessing {guess:.4g})."
        in advice.verdict
    )
    assert "'ant' (loss" not in advice.verdict


@pytest.mark.parametrize("weight", [1e-4, 0.0])
def test_weights_of_the_user_s_own_are_not_taken_for_the_tasks_scale(weight):
    model = model_of(["zebra", "ant"])
    model.set_loss_weights({"ant": weight})
    advice = advise(model, X, CASES["equal"], batches=3)
    assert advice.balancer == "equal"
    assert "Scales differ" not in advice.verdict
    said = "Your own loss_weights ('zebra': 1, 'ant': 0.0001)" if weight else "a loss weight of 0: 'ant'"
    assert said in advice.verdict


def test_weights_that_even_out_scales_are_to_be_kept():
    model = model_of(["zebra", "ant"])
    model.set_loss_weights({"zebra": 1e-2, "ant": 1.0})
    advice = advise(model, X, CASES["unit"], batches=2)
    assert advice.balancer == "equal"
    assert "at equal weights: keep them" in advice.verdict


def test_cosines_are_of_the_rows_that_both_tasks_label():
    """The tasks agree where both are labelled, and fight in the rows that one alone has."""
    model = model_of(["zebra", "ant"])
    zebra, ant = 10 * X[:, 0].copy(), 10 * X[:, 0].copy()
    places = np.arange(96)
    # Of each batch of 32 the first 16 rows are labelled for both; then come eight for each alone.
    zebra[places % 32 >= 24] = np.nan
    ant[(places % 32 >= 16) & (places % 32 < 24)] = np.nan
    ant[places % 32 >= 24] *= -9
    advice = advise(model, X, {"zebra": zebra, "ant": ant}, batches=3)
    whole = model.gramians(X, {"zebra": zebra, "ant": ant}, batches=3).cosines[:, 0, 1]
    assert advice.pairs["overlap"].tolist() == [0.5]
    assert advice.pairs["cosine"][0] > 0.99 > 0 > whole.mean()
    by_hand = model.gramians(X[:16], {"zebra": zebra[:16], "ant": ant[:16]}, batches=1).cosines[0, 0, 1]
    first = advise(model, X[:32], {"zebra": zebra[:32], "ant": ant[:32]}, batches=1).pairs["cosine"][0]
    assert first == pytest.approx(by_hand, abs=1e-5)


def test_a_pair_with_few_rows_in_common_is_not_measurable():
    model = model_of(["zebra", "ant"])
    labels = {name: value.copy() for name, value in CASES["upgrad"].items()}
    labels["zebra"][:60] = np.nan
    labels["ant"][80:] = np.nan
    advice = advise(model, X, labels, batches=3)
    assert advice.pairs["overlap"][0] == pytest.approx(20 / 96)
    assert np.isnan(advice.pairs["cosine"][0])
    assert "Not measurable, for want of rows labelled for both: the direction of 'zebra' and 'ant'" in advice.verdict
    assert "not measurable" in str(advice)
    assert advice.balancer == "equal"


def test_arrays_come_in_a_tuple_too_with_their_weights():
    model = model_of(["zebra", "ant"])
    expected = advise(model, X, CASES["equal"], batches=2)
    assert advise(model, (X, CASES["equal"]), batches=2).tasks.equals(expected.tasks)
    halves = advise(model, (X, CASES["equal"], np.full(96, 0.5)), batches=2)
    assert halves.tasks["loss"].tolist() == pytest.approx((expected.tasks["loss"] / 2).tolist())
    assert halves.tasks["guessing"].tolist() == pytest.approx((expected.tasks["guessing"] / 2).tolist())
