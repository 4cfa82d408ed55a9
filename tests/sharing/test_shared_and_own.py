"""Joint logistic regression with shared and own parts, against Newton's method in float64."""

import keras
import numpy as np
import pytest

import kmtl
from kmtl.sharing import shared_and_own_heads

RANDOM = np.random.default_rng(11)
WIDTH, TASKS = 3, ["bundle", "personal"]
X = RANDOM.normal(size=(60, WIDTH)).astype("float32")
TRUE = np.array([[1.0, -1.0, 0.5], [1.4, -0.6, -0.5]])
Y = {
    name: (RANDOM.random(60) < 1 / (1 + np.exp(-X @ weights + 0.3))).astype("int32")
    for name, weights in zip(TASKS, TRUE, strict=True)
}
Y["bundle"][::5] = -1
Y["personal"][1::3] = -1


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def newton(rows, penalties):
    """Minimises the sum of mean cross-entropies plus the penalties: `[(features, label, weight)]` in one design."""
    design, labels, weights = (np.concatenate(parts).astype("float64") for parts in zip(*rows, strict=True))
    w = np.zeros(design.shape[1])
    for _ in range(60):
        p = sigmoid(design @ w)
        slope = design.T @ (weights * (p - labels)) + 2 * penalties * w
        curve = (design * (weights * p * (1 - p))[:, None]).T @ design + 2 * np.diag(penalties)
        w -= np.linalg.solve(curve + 1e-12 * np.eye(len(w)), slope)
    return w


def augmented(shared, own):
    """Daume's copies of the features: one shared, one a task, and a bias a task."""
    rows = []
    for place, name in enumerate(TASKS):
        there = Y[name] >= 0
        x, zero, one = X[there], np.zeros_like(X[there]), np.ones((there.sum(), 1))
        blocks = [x, *(x if other == place else zero for other in range(2))]
        blocks += [one if other == place else 0 * one for other in range(2)]
        rows.append((np.concatenate(blocks, axis=1), Y[name][there], np.full(there.sum(), 1 / there.sum())))
    return newton(rows, np.array([shared] * WIDTH + [own] * 2 * WIDTH + [0.0] * 2))


def alone(names, penalty):
    """One logistic model of some tasks, with a bias a task."""
    rows = []
    for name in names:
        there = Y[name] >= 0
        flags = np.tile(np.array([float(name == other) for other in names]), (there.sum(), 1))
        rows.append((np.concatenate([X[there], flags], 1), Y[name][there], np.full(there.sum(), 1 / there.sum())))
    return newton(rows, np.array([penalty] * WIDTH + [0.0] * len(names)))


def build(shared, own, **options):
    keras.utils.set_random_seed(4)
    x = keras.Input((WIDTH,), name="x")
    tasks = [kmtl.BinaryClassification(name) for name in TASKS]
    outputs = shared_and_own_heads(x, tasks, shared_l2=shared, own_l2=own)
    model = kmtl.MultiTaskModel(x, outputs, tasks=tasks)
    model.compile(keras.optimizers.SGD(1.0), run_eagerly=True, **options)
    return model


def weights_of(model):
    """Shared weights, those of each task, and the biases, in the order of the augmented design."""
    own = [model.get_layer(f"{name}_own") for name in TASKS]
    parts = [model.get_layer("shared_part").kernel, *(layer.kernel for layer in own), *(layer.bias for layer in own)]
    return np.concatenate([np.ravel(part) for part in parts])


def assign(model, w):
    own = [model.get_layer(f"{name}_own") for name in TASKS]
    kernels = [model.get_layer("shared_part").kernel, *(layer.kernel for layer in own)]
    for place, kernel in enumerate(kernels):
        kernel.assign(w[place * WIDTH : (place + 1) * WIDTH, None])
    for place, layer in enumerate(own):
        layer.bias.assign(w[3 * WIDTH + place : 3 * WIDTH + place + 1])


def slope(model):
    """What a step of SGD with rate 1 takes off each weight."""
    before = weights_of(model)
    model.train_on_batch(X, Y)
    return before - weights_of(model)


def test_the_gradient_is_that_of_the_formula():
    shared, own = 0.02, 0.3
    model = build(shared, own)
    w = weights_of(model).astype("float64")
    expected = np.zeros_like(w)
    expected[:WIDTH] = 2 * shared * w[:WIDTH]
    for place, name in enumerate(TASKS):
        there = Y[name] >= 0
        block = slice((place + 1) * WIDTH, (place + 2) * WIDTH)
        logits = X[there] @ (w[:WIDTH] + w[block]) + w[3 * WIDTH + place]
        row = (sigmoid(logits) - Y[name][there]) / there.sum()
        expected[:WIDTH] += X[there].T @ row
        expected[block] = X[there].T @ row + 2 * own * w[block]
        # A bias is not penalised.
        expected[3 * WIDTH + place] = row.sum()
    np.testing.assert_allclose(slope(model), expected, rtol=1e-4, atol=1e-6)


def test_it_stands_still_at_the_solution_of_newtons_method():
    model = build(0.01, 0.05)
    solution = augmented(0.01, 0.05)
    assign(model, solution)
    np.testing.assert_allclose(slope(model), 0.0, atol=1e-6)
    logs = model.test_on_batch(X, Y, return_dict=True)
    penalty = 0.01 * (solution[:WIDTH] ** 2).sum() + 0.05 * (solution[WIDTH : 3 * WIDTH] ** 2).sum()
    assert logs["regularization"] == pytest.approx(penalty, rel=1e-5)
    # Where w_0 and u_t are both free, each is the other's in proportion: lam0 w_0 = lam1 sum_t u_t.
    own = solution[WIDTH : 2 * WIDTH] + solution[2 * WIDTH : 3 * WIDTH]
    np.testing.assert_allclose(0.01 * solution[:WIDTH], 0.05 * own, rtol=1e-6)


def test_one_task_is_the_logistic_regression_of_scikit_learn():
    from sklearn.linear_model import LogisticRegression

    there = Y["bundle"] >= 0
    lam = 0.05
    found = LogisticRegression(C=1 / (2 * lam * there.sum()), tol=1e-10, max_iter=1000).fit(
        X[there], Y["bundle"][there]
    )
    solution = np.concatenate([found.coef_[0], found.intercept_])
    np.testing.assert_allclose(alone(["bundle"], lam), solution, rtol=1e-4, atol=1e-6)


def test_heavy_own_parts_give_the_pooled_model_and_heavy_shared_ones_separate_models():
    pooled = alone(TASKS, 0.03)
    found = augmented(0.03, 1e7)
    np.testing.assert_allclose(found[:WIDTH], pooled[:WIDTH], rtol=1e-4)
    np.testing.assert_allclose(found[3 * WIDTH :], pooled[WIDTH:], rtol=1e-4)
    for heavy, light, solution in ((1e7, 0.03, augmented(1e7, 0.03)), (0.03, 1e7, found)):
        model = build(heavy, light)
        assign(model, solution)
        np.testing.assert_allclose(slope(model)[[-2, -1]], 0.0, atol=1e-6)
    separate = augmented(1e7, 0.03)
    for place, name in enumerate(TASKS):
        expected = alone([name], 0.03)
        block = slice((place + 1) * WIDTH, (place + 2) * WIDTH)
        np.testing.assert_allclose(separate[block], expected[:WIDTH], rtol=1e-4)
        assert separate[3 * WIDTH + place] == pytest.approx(expected[WIDTH], rel=1e-4)
    assert np.abs(separate[:WIDTH]).max() < 1e-6


def test_features_of_each_task_and_other_kinds_of_head_and_a_file(tmp_path):
    left, right = keras.Input((3,), name="left"), keras.Input((2,), name="right")
    tasks = [kmtl.Regression("length", hidden=4), kmtl.Regression("width", hidden=4)]
    outputs = shared_and_own_heads({"length": left, "width": right}, tasks, own_l2=0.1)
    model = kmtl.MultiTaskModel([left, right], outputs, tasks=tasks)
    model.compile("sgd", run_eagerly=True)
    rows = [RANDOM.normal(size=(6, 3)).astype("float32"), RANDOM.normal(size=(6, 2)).astype("float32")]
    labels = {"length": np.arange(6.0), "width": np.where(np.arange(6) < 3, np.nan, np.arange(6.0))}
    model.fit(rows, labels, batch_size=6, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    for name, output in model.predict_on_batch(rows).items():
        np.testing.assert_array_equal(again.predict_on_batch(rows)[name], output)
    assert {variable.path.split("/")[0] for variable in model.shared_variables} == {"shared_part"}


@pytest.mark.parametrize(
    ("tasks", "features", "options", "message"),
    [
        (
            [kmtl.BinaryClassification("a"), kmtl.Classification("b", 3)],
            3,
            {},
            "must have heads of one width and one",
        ),
        ([kmtl.Segmentation("a", 2, shape=(4, 4))], 3, {}, "must have dense heads on vectors"),
        ([kmtl.BinaryClassification("a")], 3, {"own_l2": -1}, "`own_l2` must be a finite number of at least 0, got -1"),
        ([], 3, {}, "`tasks` must not be empty"),
        ([kmtl.Regression("a"), kmtl.Regression("b")], (3, 2), {}, "`features` must have one width for all tasks"),
    ],
)
def test_heads_that_share_no_part_are_refused(tasks, features, options, message):
    widths = features if isinstance(features, tuple) else (features,) * len(tasks)
    given = {task.name: keras.Input((width,)) for task, width in zip(tasks, widths, strict=False)}
    with pytest.raises(ValueError, match=message):
        shared_and_own_heads(given, tasks, **options)
