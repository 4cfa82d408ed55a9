"""Which tasks belong together: every kind finds a planted pair, conflicts are flagged; what cannot be is refused."""

import keras
import numpy as np
import pages
import pytest

import kmtl
from kmtl.evidence import Affinity, affinity
from kmtl.evidence.affinities.matrix_intervals import student

NAMES = ("one", "two", "noise")
TASKS = [kmtl.Regression(name) for name in NAMES]
MODES = {
    "label": ("label", {}),
    "gradient": ("gradient", {}),
    "lookahead": ("lookahead", {}),
    "output": ("output", {}),
    "cka": ("representation", {"measure": "cka"}),
    "rsa": ("representation", {"measure": "rsa"}),
    "surrogate": ("surrogate", {"rows": 128}),
}


# Of a joint model that has learned all, a surrogate sees nothing to be gained.
EPOCHS = {"gradient": 4, "lookahead": 4, "surrogate": 1}


# With fewer, features are still what they were drawn as.
EPOCHS_ALONE = 16


def planted(seed, rows=600):
    """Two tasks of one hidden cause, and one of noise."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, 10)).astype("float32")
    cause = np.tanh(x[:, 0] + x[:, 1])
    noise = random.normal(size=(3, rows)).astype("float32")
    return x, {"one": cause + 0.3 * noise[0], "two": 2 * cause + 0.6 * noise[1], "noise": noise[2]}


def build(tasks):
    row = keras.Input((10,), name="row")
    features = keras.layers.Dense(12, activation="tanh")(row)
    model = kmtl.MultiTaskModel.from_features(row, features, tasks)
    model.compile(keras.optimizers.Adam(0.01))
    return model


def opposed():
    """Two outputs that are one shared number, which their labels pull apart, and one that goes along with the first."""
    row = keras.Input((4,), name="row")
    place = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros", name="place")(row)
    tasks = [kmtl.Regression(name, standardize=False) for name in ("up", "down", "also_up")]
    outputs = {task.name: keras.layers.Identity(name=task.name)(place) for task in tasks}
    model = kmtl.MultiTaskModel(row, outputs, tasks=tasks)
    model.compile(keras.optimizers.SGD(0.01))
    x = np.random.default_rng(0).normal(size=(160, 4)).astype("float32")
    y = x[:, 0]
    return model, x, {"up": y, "down": -y, "also_up": y + 0.1 * x[:, 1]}


def single_models(x, y):
    """A short training of each task alone."""
    models = {}
    for place, task in enumerate(TASKS):
        # Of its own weights: that features agree must come from what was learned.
        keras.utils.set_random_seed(place)
        models[task.name] = build([task])
        models[task.name].fit(x, {task.name: y[task.name]}, epochs=EPOCHS_ALONE, verbose=0)
    return models


@pytest.fixture(scope="module")
def trained():
    """Models of single tasks, of the data that seed 0 gives."""
    return single_models(*planted(0))


@pytest.fixture
def eager():
    """Without graphs, for a few looks; what is ranked above is looked at in one."""
    with pages.eagerly():
        yield


CASES = [(mode, seed) for mode in MODES for seed in range(10)]


@pytest.mark.parametrize(
    ("mode", "seed"), [pytest.param(*case, marks=pytest.mark.slow if case[1] else []) for case in CASES]
)
def test_every_kind_ranks_the_planted_pair_first(mode, seed, trained):
    kind, options = MODES[mode]
    x, y = planted(seed)
    if kind == "label":
        found = affinity(TASKS, x, y, kind=kind)
    elif kind in ("output", "representation"):
        found = affinity(trained if seed == 0 else single_models(x, y), x, y, kind=kind, **options)
    else:
        found = affinity(build, x, y, tasks=TASKS, kind=kind, epochs=EPOCHS[kind], seeds=[seed], verbose=0, **options)
        assert found.trainings == 1
    assert found.ranked()[0] == ("one", "two"), found
    assert found.names == NAMES
    assert found.measurable.all()
    assert np.array_equal(found.values, found.values.T) != found.is_directed


@pytest.mark.usefixtures("eager")
def test_each_task_is_trained_alone():
    x, y = planted(0, rows=64)
    found = affinity(build, x, y, tasks=TASKS, kind="output", epochs=1, batch_size=64, verbose=0)
    assert (found.trainings, found.over) == (3, "groups of rows")
    assert found.measurable.all()


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("kind", ["gradient", "lookahead"])
def test_a_planted_conflict_is_negative_and_flagged(kind):
    model, x, y = opposed()
    before = [variable.numpy().copy() for variable in model.training_state]
    found = affinity(model, x, y, kind=kind, batches=5)
    for variable, value in zip(model.training_state, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)
    assert found.over == "batches"
    assert (found.counts == 5).all()
    assert found.values[0, 1] < 0 < found.values[0, 2]
    assert (np.diagonal(found.values) > 0).all()
    named = {frozenset(pair) for pair in found.conflicts}
    assert named == {frozenset(("up", "down")), frozenset(("down", "also_up"))}
    assert "In conflict" in str(found)
    if kind == "gradient":
        np.testing.assert_allclose(found.values[0, 1], -1.0, atol=1e-6)
        np.testing.assert_allclose(found.shares, [[0, 1, 0], [1, 0, 1], [0, 1, 0]])


@pytest.mark.usefixtures("eager")
def test_lookahead_is_the_loss_behind_a_step_of_the_shared_weights():
    model, x, y = opposed()
    first = {name: values[:32] for name, values in y.items()}
    found = affinity(model, x[:32], first, kind="lookahead", rate=0.05)
    rows, labels = x[:32].astype("float64"), {name: values.astype("float64") for name, values in first.items()}
    gradients = {name: -2 * rows.T @ value / 32 for name, value in labels.items()}
    for i, one in enumerate(labels):
        for j, other in enumerate(labels):
            after = np.mean((rows @ (-0.05 * gradients[one]) - labels[other]) ** 2)
            expected = 1 - after / np.mean(labels[other] ** 2)
            np.testing.assert_allclose(found.values[i, j], expected, rtol=1e-4)


def test_flags_of_pairs_without_any_affinity_stay_at_the_level():
    random, flagged = np.random.default_rng(0), 0
    for _ in range(400):
        looks = random.normal(size=(4, 4, 4))
        values, halves, counts = student(looks + looks.transpose(0, 2, 1))
        found = Affinity("gradient", tuple("abcd"), values, halves, np.isfinite(values), counts, "seeds")
        flagged += bool(found.conflicts)
    # 20 expected; 35 is beyond three and a half deviations.
    assert 5 <= flagged <= 35


@pytest.mark.parametrize("runs", [1, pytest.param(100, marks=pytest.mark.slow)])
def test_flags_under_random_labels_stay_at_the_level(runs):
    flagged = 0
    for run in range(runs):
        random = np.random.default_rng(run)
        x = random.normal(size=(64, 10)).astype("float32")
        y = {name: random.normal(size=64) for name in NAMES}
        seeds = [4 * run + place for place in range(4)]
        found = affinity(build, x, y, tasks=TASKS, epochs=1, batches=2, seeds=seeds, verbose=0)
        assert found.over == "seeds"
        assert (found.counts == 4).all()
        flagged += bool(found.conflicts)
    assert flagged <= max(1, 0.12 * runs)


@pytest.mark.usefixtures("eager")
def test_pairs_are_measured_on_rows_that_carry_both_labels():
    model, x, y = opposed()
    # Where both labels are there, they agree; on the other rows "down" alone pulls away.
    both = np.arange(160) % 2 == 0
    y["down"] = np.where(both, y["up"], -10 * y["up"]).astype("float32")
    y["up"] = np.where(both, y["up"], np.nan)
    found = affinity(model, x, y, batches=5)
    assert found.values[0, 1] > 0.99
    ahead = affinity(model, x, y, kind="lookahead", batches=5)
    assert ahead.values[0, 1] > 0
    y["up"] = np.where(np.arange(160) % 5 == 0, x[:, 0], np.nan)
    sparse = affinity(model, x, y, batches=5)
    assert not sparse.measurable[0, 1]
    assert np.isnan(sparse.values[0, 1])
    assert "Not measurable: up and down" in str(sparse)


def test_models_with_the_same_weights_say_and_represent_the_same(trained):
    x, y = planted(0, rows=120)
    twin = build([TASKS[1]])
    twin.set_weights(trained["one"].get_weights())
    twins = {**trained, "two": twin}
    for kind in ("output", "representation"):
        found = affinity(twins, x, y, kind=kind)
        np.testing.assert_allclose(found.values[0, 1], 1.0, atol=1e-5)
        assert found.values[0, 2] < 0.999
        assert (found.trainings, found.over) == (0, "groups of rows")


def test_too_few_common_labels_are_not_measurable():
    x, y = planted(0, rows=100)
    y["noise"] = np.where(np.arange(100) < 30, y["noise"], np.nan)
    found = affinity(TASKS, x, y, kind="label")
    assert found.measurable.tolist() == [[True, True, False], [True, True, False], [False, False, True]]
    assert "Not measurable: one and noise; two and noise" in str(found)


def test_a_surrogate_of_forty_tasks_is_affordable():
    from kmtl.evidence.affinities.surrogate import sampled_subsets, surrogate_affinity

    random = np.random.default_rng(0)
    subsets = sampled_subsets(40, 1000, 0)
    assert subsets.sum(axis=1).max() == 3
    assert len(subsets) == 1000
    found = surrogate_affinity(random.random((64, 40)), random.normal(size=(64, 40, 16)), subsets)
    assert np.isfinite(found).all()


X, Y = planted(0, rows=60)
BOXES = [kmtl.Regression("one"), kmtl.Detection("boxes", 2, grid=2)]
REFUSED = {
    "kind": (lambda: affinity(TASKS, X, Y, kind="labels"), "`kind` must be known, got 'labels'. Did you mean 'label'"),
    "measure": (lambda: affinity(TASKS, X, Y, kind="label", measure="ckaa"), "`measure` must be known.* 'cka'"),
    "one task": (lambda: affinity(TASKS[:1], X, Y, kind="label"), "`tasks` must be 2 or more"),
    "no association": (
        lambda: affinity(BOXES, X, Y, kind="label"),
        r"`tasks` must have labels whose association is defined, got Detection\('boxes'\). Leave 'boxes' out",
    ),
    "few labels": (
        lambda: affinity(TASKS, X[:30], {name: values[:30] for name, values in Y.items()}, kind="label"),
        "`data` must hold, of some pair, 40 rows with both labels that vary, got none",
    ),
    "source": (lambda: affinity(TASKS, X, Y), "`source` must be, of kind='gradient', a compiled .*, got the tasks"),
    "tasks": (lambda: affinity(opposed()[0], X, Y, tasks=TASKS), "`tasks` must be left out"),
    "no tasks": (lambda: affinity(build, X, Y), "`tasks` must hold kmtl tasks, got NoneType"),
    "seeds": (lambda: affinity(opposed()[0], X, Y, seeds=3), "`seeds` must be left out: nothing is trained"),
    "same seeds": (lambda: affinity(build, X, Y, tasks=TASKS, seeds=[1, 1]), "`seeds` must be different"),
    "epochs": (lambda: affinity(build, X, Y, tasks=TASKS, epochs=0), "`epochs` must be a whole number of at least 1"),
    "rate": (lambda: affinity(build, X, Y, tasks=TASKS, rate=0.1), "`rate` must be left out but for kind='lookahead'"),
    "no rate": (lambda: affinity(build, X, Y, tasks=TASKS, kind="lookahead", rate=0), "`rate` must be a finite number"),
    "endless": (
        lambda: affinity(build, kmtl.data.from_arrays(X, Y, TASKS).repeat(), tasks=TASKS),
        "`data` must have an end, got an endless set",
    ),
    "models": (
        lambda: affinity({"one": keras.Sequential(), "two": None}, X, Y, kind="output"),
        "`source` must hold for 'one' a kmtl.MultiTaskModel of it",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case):
    call, text = REFUSED[case]
    with pytest.raises(ValueError, match=f"affinity: {text}"):
        call()


@pytest.mark.parametrize("kind", ["gradient", "lookahead", "surrogate"])
def test_a_model_that_shares_nothing_is_refused(kind):
    def apart(tasks):
        row = keras.Input((10,), name="row")
        outputs = {task.name: keras.layers.Dense(1, name=task.name)(row) for task in tasks}
        model = kmtl.MultiTaskModel(row, outputs, tasks=tasks)
        model.compile("adam")
        return model

    tasks = [kmtl.Regression(name, standardize=False) for name in NAMES]
    with pytest.raises(ValueError, match="affinity: `source` must have trainable weights that tasks share, got none"):
        affinity(apart, X, Y, tasks=tasks, kind=kind, verbose=0)


def test_the_result_tells_its_pairs_and_draws_them():
    values = np.array([[1.0, 0.5, np.nan], [-0.25, 1.0, 0.125], [np.nan, 0.0, 1.0]])
    counts = np.full((3, 3), 5)
    found = Affinity("lookahead", NAMES, values, np.abs(values) / 4, np.isfinite(values), counts, "seeds")
    np.testing.assert_array_equal(found.symmetric()[0, 1], 0.125)
    assert found.ranked() == [("one", "two"), ("two", "noise")]
    assert found.conflicts == [("two", "one")]
    assert found.table().loc["two", "one"] == -0.25
    frame = found.pair_table()
    assert len(frame) == 6
    assert frame.set_index(["task", "other"]).loc[("two", "one"), "affinity"] == -0.25
    (picture,) = found.pictures()
    texts = {text.get_text() for text in picture.figure.axes[0].texts}
    assert {"0.50\n±0.12", "-0.25\n±0.06", "not\nmeasured"} <= texts
    assert "two hurts one" in picture.description
    low, high = picture.figure.axes[0].images[0].get_clim()
    assert low == -high


def of_text(tasks):
    """Text in arrays, an adapted vocabulary, and heads that bear no task's name."""
    words = keras.layers.TextVectorization(8, output_sequence_length=4)
    words.adapt(WORDS)
    text = keras.Input((), dtype="string", name="text")
    features = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(8, 4)(words(text)))
    outputs = {task.name: keras.layers.Dense(1)(features) for task in tasks}
    model = kmtl.MultiTaskModel(text, outputs, tasks=tasks)
    model.compile("adam", run_eagerly=True)
    return model


WORDS = ["red", "blue", "hot", "cold"]


@pytest.mark.parametrize("kind", ["gradient", "output", "representation", "label"])
def test_arrays_of_text_and_heads_of_the_users(kind):
    random = np.random.default_rng(0)
    tasks = [kmtl.Regression(name, standardize=False) for name in ("one", "two")]
    text = np.array([" ".join(random.choice(WORDS, 3)) for _ in range(64)])
    warm = np.array([row.count("red") + row.count("hot") for row in text], "float32")
    labels = {"one": warm, "two": 2 * warm + random.normal(size=64).astype("float32")}
    options = {} if kind == "label" else {"tasks": tasks, "epochs": 1, "seeds": 1, "batches": 2}
    found = affinity(tasks if kind == "label" else of_text, (text, labels), kind=kind, verbose=0, **options)
    assert np.isfinite(found.values).all()
