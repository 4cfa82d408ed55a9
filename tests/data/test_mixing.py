"""Mixed streams: what they hold, how often, and that they go on where they stood."""

import numpy as np
import pytest
import tensorflow as tf
from cases import cases
from scipy import stats

from kmtl.data import from_arrays
from kmtl.data.mixing.mix import mix, steps_per_epoch
from kmtl.tasks import BinaryClassification, Classification, MultiLabel, Regression

TASKS = [
    Regression("weight"),
    Classification("digit", classes=10),
    MultiLabel("findings", labels=3),
    Regression("angle", shape=(2,)),
]


def slices(x, labels):
    return tf.data.Dataset.from_tensor_slices((np.asarray(x, np.float32)[:, None], labels))


def sources():
    """Three sources of different size whose inputs say where they come from: 100s, 200s, 300s."""
    rng = np.random.default_rng(0)
    poses = {"angle": rng.normal(size=(5, 2)).astype("float32"), "weight": np.arange(5, dtype="float32")}
    return {
        "digit": slices(100 + np.arange(13), np.arange(13) % 10),
        ("weight", "angle"): slices(200 + np.arange(5), poses),
        "findings": slices(300 + np.arange(7), rng.integers(0, 2, (7, 3))),
    }


def uncounted(dataset):
    return dataset.filter(lambda *_: True)


def listed(stream, number):
    return [tf.nest.map_structure(lambda part: part.numpy().tobytes(), element) for element in stream.take(number)]


def origins(stream, number):
    """Which of the three sources each example comes from."""
    return np.concatenate([x.numpy()[:, 0] // 100 for x, *_ in stream.batch(number // 4).take(4)]).astype(int)


def test_every_example_has_every_label_in_task_order():
    stream = mix(sources(), tasks=TASKS)
    expected = {
        "weight": tf.TensorSpec((), tf.float32),
        "digit": tf.TensorSpec((), tf.int32),
        "findings": tf.TensorSpec((3,), tf.int32),
        "angle": tf.TensorSpec((2,), tf.float32),
    }
    assert stream.element_spec == (tf.TensorSpec((1,), tf.float32), expected)
    assert list(stream.element_spec[1]) == list(expected)
    assert stream.cardinality() == tf.data.INFINITE_CARDINALITY


def test_labels_of_other_sources_are_missing_and_the_own_ones_stay():
    given = {
        float(x[0]): labels if isinstance(labels, dict) else {key: labels}
        for key, source in sources().items()
        for x, labels in source
    }
    seen = set()
    for x, labels in mix(sources(), tasks=TASKS, sampling="uniform").take(80):
        own = given[float(x[0])]
        seen.add(float(x[0]))
        for task in TASKS:
            expected = own.get(task.name, np.full(task.label_shape, task.missing))
            np.testing.assert_array_equal(labels[task.name], np.asarray(expected, task.label_dtype))
    assert seen == set(given)


def test_forms_without_tasks():
    images = np.zeros((2, 4, 4, 1), np.float32)
    flags = tf.data.Dataset.from_tensor_slices((images, [True, False]))
    poses = tf.data.Dataset.from_tensor_slices((images, {"pose": np.zeros((2, 3)), "kind": np.array([1, 2], np.uint8)}))
    stream = mix({"flag": flags, ("pose", "kind"): poses})
    assert stream.element_spec[0].shape == (4, 4, 1)
    assert stream.element_spec[1] == {
        "flag": tf.TensorSpec((), tf.int32),
        "pose": tf.TensorSpec((3,), tf.float32),
        "kind": tf.TensorSpec((), tf.int32),
    }
    flags_seen = {int(labels["flag"]) for _, labels in stream.take(30)}
    assert flags_seen == {-1, 0, 1}


def test_inputs_may_be_dicts_and_whole_numbers():
    def source(first, label):
        x = {"words": tf.constant([[first, 2]], tf.int64), "name": tf.constant(["é"])}
        return tf.data.Dataset.from_tensor_slices((x, [label]))

    stream = mix({"digit": source(1, 4), "angle": source(9, 0.5)}, sampling="uniform")
    words = {tuple(x["words"].numpy().tolist()) for x, _ in stream.take(20)}
    assert words == {(1, 2), (9, 2)}
    assert stream.element_spec[0]["words"].dtype == tf.int64
    assert {x["name"].numpy().decode() for x, _ in stream.take(3)} == {"é"}


@pytest.mark.parametrize("shuffle", [0, 4])
def test_each_source_is_seen_once_a_pass(shuffle):
    stream = mix(sources(), tasks=TASKS, sampling="uniform", shuffle=shuffle)
    values = np.array([float(x[0]) for x, _ in stream.take(120)])
    for first, size in ((100, 13), (200, 5), (300, 7)):
        own = values[values // 100 == first // 100]
        whole = own[: len(own) // size * size].reshape(-1, size)
        np.testing.assert_array_equal(np.sort(whole, axis=1), np.tile(first + np.arange(size), (len(whole), 1)))
        in_order = all((row == first + np.arange(size)).all() for row in whole)
        assert in_order == (shuffle == 0)


SAMPLINGS = {
    "proportional": ({"sampling": "proportional"}, [13, 5, 7]),
    "square_root": ({"sampling": "proportional", "exponent": 0.5}, np.sqrt([13, 5, 7])),
    "uniform": ({"sampling": "uniform"}, [1, 1, 1]),
    "weights": ({"sampling": {"findings": 5, "digit": 1, ("weight", "angle"): 2}}, [1, 2, 5]),
}


@pytest.mark.parametrize("name", cases(SAMPLINGS, "proportional", "weights"))
def test_sources_are_drawn_as_often_as_asked(name):
    options, weights = SAMPLINGS[name]
    counts = np.bincount(origins(mix(sources(), tasks=TASKS, seed=1, **options), 3000), minlength=4)[1:]
    expected = np.asarray(weights) / np.sum(weights) * 3000
    assert stats.chisquare(counts, expected).pvalue > 1e-3


def test_a_weight_of_zero_leaves_a_source_out():
    sampling = {"digit": 1.0, ("weight", "angle"): 0.0, "findings": 1.0}
    assert set(origins(mix(sources(), tasks=TASKS, sampling=sampling), 200)) == {1, 3}


def test_annealed_probabilities_move_with_the_epochs():
    pair = {"big": slices(100 + np.zeros(500), np.zeros(500)), "small": slices([200], [0.0])}
    stream = mix(pair, sampling="annealed", epochs=3, steps_per_epoch=100, batch_size=10, seed=2)
    small = np.array([np.sum(x.numpy() == 200) for x, _ in stream.take(400)]).reshape(4, 100).sum(axis=1)
    for epoch, alpha in enumerate([1.0, 0.6, 0.2, 0.2]):
        share = 1 / (1 + 500**alpha)
        assert stats.binomtest(int(small[epoch]), 1000, share).pvalue > 1e-3


# Each half of what the others have.
HALVES = [(37, True, 4), (37, False, 0)]


def test_an_annealed_epoch_defaults_to_every_example_once():
    options = {"tasks": TASKS, "sampling": "annealed", "epochs": 4, "batch_size": 4, "seed": 3}
    implied, told = mix(sources(), **options), mix(sources(), steps_per_epoch=7, **options)
    assert listed(implied, 40) == listed(told, 40)
    assert listed(implied, 40) != listed(mix(sources(), steps_per_epoch=3, **options), 40)


# Within the first pass and behind it; in the second block of choices.
@pytest.mark.long
@pytest.mark.parametrize(
    ("start", "counted", "shuffle"),
    [(1, True, 0), (37, False, 4), (4100, True, 4), *(pytest.param(*case, marks=pytest.mark.slow) for case in HALVES)],
)
def test_a_stream_goes_on_exactly_where_it_stood(start, counted, shuffle):
    def stream(**where):
        parts = sources() if counted else {key: uncounted(source) for key, source in sources().items()}
        return mix(parts, tasks=TASKS, sampling="uniform", seed=5, shuffle=shuffle, **where)

    assert listed(stream().skip(start), 40) == listed(stream(start=start), 40)


def test_a_batched_annealed_stream_goes_on_in_the_middle_of_an_epoch():
    def stream(**where):
        return mix(sources(), tasks=TASKS, sampling="annealed", epochs=3, batch_size=4, shuffle=6, **where)

    assert listed(stream().skip(9), 15) == listed(stream(start=9 * 4), 15)


def test_two_iterations_of_one_stream_are_equal():
    stream = mix(sources(), tasks=TASKS, shuffle=5, batch_size=3)
    assert listed(stream, 20) == listed(stream, 20)


def test_seeds():
    def stream(seed):
        return listed(mix(sources(), tasks=TASKS, seed=seed, shuffle=5), 60)

    first = stream(7)
    assert first == stream(7)
    assert first != stream(8)


def test_batched_sources_are_those_of_single_examples():
    """What `from_arrays` gives as it stands, in a stream that begins anywhere; others too."""

    def drawn(batch_size, **where):
        rows = np.arange(10)
        options = {"batch_size": batch_size, "shuffle": True, "seed": 3}
        digits = from_arrays(rows[:, None] * 1.0, {"digit": rows % 10}, [TASKS[1]], **options)
        marks = slices(np.arange(7), np.ones((7, 3), int))
        given = {"digit": digits, "findings": marks if batch_size is None else marks.batch(5)}
        return mix(given, tasks=[TASKS[1], TASKS[2]], batch_size=None if batch_size else 4, seed=1, **where)

    for start in (0, 29):
        assert listed(drawn(4, start=start), 8) == listed(drawn(None, start=start), 8)
    pair = {"digit": slices(np.arange(13), np.arange(13) % 10).batch(4), "weight": slices([1], [0.5])}
    assert steps_per_epoch(pair, batch_size=7) == 2
    assert next(iter(mix(pair)))[0].shape == (4, 1)


def test_batches_mix_tasks_and_have_a_static_size():
    stream = mix(sources(), tasks=TASKS, sampling="uniform", batch_size=32)
    assert stream.element_spec[0].shape == (32, 1)
    assert stream.element_spec[1]["angle"].shape == (32, 2)
    x, labels = next(iter(stream))
    assert set((x.numpy() // 100).ravel()) == {1, 2, 3}
    np.testing.assert_array_equal(labels["digit"].numpy() >= 0, x.numpy().ravel() // 100 == 1)
    np.testing.assert_array_equal(np.isnan(labels["angle"].numpy()).all(axis=1), x.numpy().ravel() // 100 != 2)


def test_two_sources_may_carry_one_task():
    parts = {"digit": slices([100, 101], [1, 2]), ("digit", "weight"): slices([200], {"digit": [3], "weight": [0.5]})}
    labels = {int(x[0]): (int(y["digit"]), float(y["weight"])) for x, y in mix(parts, sampling="uniform").take(20)}
    assert labels[200] == (3, 0.5)
    assert (labels[100][0], labels[101][0]) == (1, 2)
    assert np.isnan(labels[100][1])


def test_weights_reach_the_tasks_of_their_source_and_are_one_elsewhere():
    x = np.zeros((1, 1), np.float32)
    scalar = tf.data.Dataset.from_tensor_slices((x + 100, {"a": [1.0], "b": [2.0]}, [0.25]))
    by_task = tf.data.Dataset.from_tensor_slices((x + 200, {"b": [3.0], "c": [4.0]}, {"c": [0.5]}))
    plain = tf.data.Dataset.from_tensor_slices((x + 300, [5.0]))
    stream = mix({("a", "b"): scalar, ("b", "c"): by_task, "c": plain}, sampling="uniform")
    weights = {int(x[0]): {k: float(v) for k, v in weight.items()} for x, _, weight in stream.take(40)}
    assert weights == {
        100: {"a": 0.25, "b": 0.25, "c": 1.0},
        200: {"a": 1.0, "b": 1.0, "c": 0.5},
        300: {"a": 1.0, "b": 1.0, "c": 1.0},
    }


def test_whole_number_labels_may_train_a_regression():
    stream = mix({"weight": slices([1], np.array([7], np.int64))}, tasks=[Regression("weight")])
    label = next(iter(stream))[1]["weight"]
    assert (label.dtype, float(label)) == (tf.float32, 7.0)


def test_steps_per_epoch():
    assert steps_per_epoch(sources(), batch_size=5) == 5
    assert steps_per_epoch(sources(), batch_size=6) == 5
    assert steps_per_epoch(sources(), batch_size=26) == 1


ONE = {"digit": slices([1, 2], [3, 4])}
PAIR = {**ONE, "weight": slices([1], [0.5])}
DIGIT = [Classification("digit", classes=10)]
REFUSED = {
    "no datasets": (({},), {}, "`datasets` must map tasks to datasets"),
    "a list": (([ONE["digit"]],), {}, "`datasets` must map tasks to datasets, got list"),
    "misspelt key": (({"digt": ONE["digit"]},), {"tasks": DIGIT}, "got 'digt'. Did you mean 'digit'?"),
    "a number as key": (({3: ONE["digit"]},), {}, "a task's name or a tuple of different names as key, got 3"),
    "an empty key": (({(): ONE["digit"]},), {}, "must hold labels for exactly []"),
    "no labels at all": (({(): tf.data.Dataset.range(3)},), {}, "`datasets` must carry labels, got [()]"),
    "one name twice": (({("a", "a"): ONE["digit"]},), {}, "a tuple of different names as key, got ('a', 'a')"),
    "no dataset": (({"digit": np.zeros(3)},), {}, "`datasets['digit']` must be a tf.data.Dataset, got ndarray"),
    "inputs alone": (({"digit": tf.data.Dataset.range(3)},), {}, "must hold (x, label) or (x, label, weight)"),
    "empty": (({"digit": ONE["digit"].take(0)},), {}, "must hold at least one example, got 0"),
    "empty, unknown": (({"digit": ONE["digit"].filter(lambda *_: False)},), {}, "must hold at least one example"),
    "labels of another task": (
        ({("digit", "angle"): slices([1], {"digit": [1], "angel": [2.0]})},),
        {},
        "must hold labels for exactly ['digit', 'angle'], as (x, {task: label}), got ['digit', 'angel']",
    ),
    "one label for two tasks": (({("a", "b"): ONE["digit"]},), {}, "must hold labels for exactly ['a', 'b']"),
    "text labels": (({"digit": slices([1], ["seven"])},), {}, "must hold numbers as label of 'digit'"),
    "batched twice": (({"digit": ONE["digit"].batch(2).batch(2)},), {"tasks": DIGIT}, "call .unbatch() first."),
    "float classes": (
        ({"digit": slices([1], [3.0])},),
        {"tasks": DIGIT},
        "`datasets['digit']['digit']` must be integers: it is a classification, got float32",
    ),
    "a task without data": (
        (ONE,),
        {"tasks": [*DIGIT, BinaryClassification("even")]},
        "`tasks` must each have a dataset that carries its label, got 'even'",
    ),
    "a task twice": ((ONE,), {"tasks": DIGIT * 2}, "`tasks` must have different names, got 'digit'"),
    "names as tasks": ((ONE,), {"tasks": ["digit"]}, "`tasks` must hold kmtl tasks, got 'digit'"),
    "other inputs": (
        ({**ONE, "angle": tf.data.Dataset.from_tensor_slices((np.zeros((1, 3), "f"), [0.5]))},),
        {},
        "`datasets['angle']` must hold inputs like those of 'digit'",
    ),
    "other form": (
        ({**ONE, ("digit", "b"): slices([1], {"digit": [[1, 2]], "b": [0.5]})},),
        {},
        "must hold labels of 'digit' as another dataset does",
    ),
    "unknown rule": ((ONE,), {"sampling": "proportionate"}, "`sampling` must be one of ['proportional', 'uniform'"),
    "unknown weight": ((ONE,), {"sampling": {"digit": 1, "angle": 1}}, "must use the keys of `datasets`, got 'angle'"),
    "partial weights": ((PAIR,), {"sampling": {"digit": 1}}, "must hold a weight for every dataset, got ['digit']"),
    "negative weight": ((ONE,), {"sampling": {"digit": -1}}, "`sampling['digit']` must be a finite number of at"),
    "zero weights": ((PAIR,), {"sampling": {"digit": 0, "weight": 0.0}}, "must hold at least one weight above 0"),
    "unknown size": (
        ({"digit": uncounted(ONE["digit"])},),
        {},
        "must have a known number of examples, got 'unknown'. dataset.apply(tf.data.experimental.assert_cardinality",
    ),
    "endless": (({"digit": ONE["digit"].repeat()},), {}, "must have a known number of examples, got 'infinite'"),
    "annealed without epochs": ((ONE,), {"sampling": "annealed"}, "`epochs` must be a whole number of at least 1"),
    "epochs without annealing": ((ONE,), {"epochs": 3}, "`epochs` must be left out unless sampling is 'annealed'"),
    "exponent elsewhere": (
        (ONE,),
        {"sampling": "uniform", "exponent": 0.5},
        "`exponent` must be left out unless sampling is 'proportional'",
    ),
    "negative exponent": ((ONE,), {"exponent": -1}, "`exponent` must be a finite number of at least 0, got -1"),
    "shuffle as a flag": ((ONE,), {"shuffle": True}, "`shuffle` must be a whole number of at least 0, got True"),
    "negative start": ((ONE,), {"start": -1}, "`start` must be a whole number of at least 0, got -1"),
    "batch size": ((ONE,), {"batch_size": 0}, "`batch_size` must be a whole number of at least 1, or None, got 0"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name):
    arguments, options, message = REFUSED[name]
    with pytest.raises(ValueError, match=r"^mix: `") as caught:
        mix(*arguments, **options)
    assert message in str(caught.value)


def test_all_offenders_are_told_at_once():
    with pytest.raises(ValueError, match="mix") as caught:
        mix({"digit": ONE["digit"].take(0), "angle": 3})
    assert len(str(caught.value).splitlines()) == 2


def test_steps_per_epoch_refuses_what_it_cannot_count():
    with pytest.raises(ValueError, match="known number of examples, got 'infinite'"):
        steps_per_epoch({"digit": ONE["digit"].repeat()}, batch_size=2)
    with pytest.raises(ValueError, match="`batch_size` must be a whole number of at least 1"):
        steps_per_epoch(ONE, batch_size=0)
