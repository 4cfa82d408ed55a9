"""Which source is drawn: probabilities by closed form, choices by their frequencies."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from kmtl.data.mixing.choices import choices, count_choices, shuffled_passes
from kmtl.data.mixing.proportions import annealed, probabilities, proportional


def taken(dataset, number):
    return np.array([int(value) for value in dataset.take(number)])


def test_proportional_closed_form():
    np.testing.assert_allclose(proportional([1, 4, 16], exponent=0.5), np.array([1, 2, 4]) / 7)
    np.testing.assert_allclose(proportional([3, 5], exponent=0), [0.5, 0.5])


def test_a_large_exponent_does_not_overflow():
    np.testing.assert_allclose(proportional([10**9, 10**3], exponent=100.0), [1, 0], atol=1e-300)


def test_annealed_runs_from_size_to_its_fifth_root():
    sizes = np.array([10, 1000])
    rows = annealed(sizes, epochs=5)
    assert rows.shape == (5, 2)
    np.testing.assert_allclose(rows[0], sizes / sizes.sum())
    np.testing.assert_allclose(rows[-1], sizes**0.2 / (sizes**0.2).sum())
    np.testing.assert_allclose(rows[2], sizes**0.6 / (sizes**0.6).sum())


def test_one_annealed_epoch_is_proportional():
    np.testing.assert_array_equal(annealed([10, 1000], epochs=1), [proportional([10, 1000])])


@pytest.mark.parametrize("seed", [0, 1, 2**40])
def test_frequencies(seed):
    probabilities = np.array([0.1, 0.25, 0.65])
    counts = np.bincount(taken(choices([probabilities], seed), 6000), minlength=3)
    assert stats.chisquare(counts, probabilities * 6000).pvalue > 1e-3


def test_choices_are_independent_of_the_one_before():
    drawn = taken(choices([[0.4, 0.6]], seed=5), 8000)
    table = stats.contingency.crosstab(drawn[:-1], drawn[1:]).count
    assert stats.chi2_contingency(table).pvalue > 1e-3


@pytest.mark.parametrize("probabilities", [[0.0, 0.3, 0.7], [0.5, 0.0, 0.5], [0.3, 0.7, 0.0]])
def test_probability_zero_is_never_drawn(probabilities):
    counts = count_choices([probabilities], seed=1, start=100_000)
    assert [count == 0 for count in counts] == [p == 0 for p in probabilities]


def test_each_epoch_has_its_own_row():
    drawn = taken(choices([[1.0, 0.0], [0.0, 1.0]], seed=0, examples_per_epoch=5), 12)
    np.testing.assert_array_equal(drawn, [0] * 5 + [1] * 7)


# Choices are made in blocks of 4096.
@pytest.mark.parametrize("start", [1, 4096, 9000])
def test_choices_resume_and_are_counted(start):
    table = annealed([1, 10, 100], epochs=4)
    whole = taken(choices(table, seed=3, examples_per_epoch=2000), start + 50)
    later = taken(choices(table, seed=3, start=start, examples_per_epoch=2000), 50)
    np.testing.assert_array_equal(whole[start:], later)
    counts = count_choices(table, seed=3, start=start, examples_per_epoch=2000)
    assert counts == np.bincount(whole[:start], minlength=3).tolist()


def test_no_example_before_the_first():
    assert count_choices([[0.5, 0.5]], seed=3, start=0) == [0, 0]


def test_shuffled_passes_each_hold_everything_in_an_order_of_their_own():
    passes = taken(shuffled_passes(tf.data.Dataset.range(20), 20, seed=4, number=0, first_pass=0), 60).reshape(3, 20)
    np.testing.assert_array_equal(np.sort(passes, axis=1), [np.arange(20)] * 3)
    assert len({tuple(one) for one in passes}) == 3


def test_shuffled_passes_depend_on_seed_and_source_and_nothing_else():
    source = tf.data.Dataset.range(20)

    def order(seed, number, global_seed):
        tf.random.set_seed(global_seed)
        return tuple(taken(shuffled_passes(source, 8, seed, number, first_pass=2), 20))

    assert order(4, 0, 1) == order(4, 0, 2)
    assert len({order(4, 0, 1), order(5, 0, 1), order(4, 1, 1)}) == 3


def test_shuffled_passes_leave_the_global_seed_alone():
    tf.random.set_seed(9)
    first = float(tf.random.uniform([]))
    tf.random.set_seed(9)
    taken(shuffled_passes(tf.data.Dataset.range(5), 5, seed=1, number=0, first_pass=0), 5)
    assert float(tf.random.uniform([])) == first


def test_a_seed_means_the_same_stream_in_every_release():
    assert taken(choices([[0.2, 0.3, 0.5]], seed=7), 12).tolist() == [2, 1, 2, 2, 2, 0, 1, 0, 1, 2, 2, 1]


SIZES = {"big": tf.data.Dataset.range(75), "small": tf.data.Dataset.range(25)}


@pytest.mark.parametrize(
    ("sampling", "options", "expected"),
    [
        ("proportional", {}, [[0.75, 0.25]]),
        ("proportional", {"exponent": 0.5}, [np.sqrt([3, 1]) / np.sqrt([3, 1]).sum()]),
        ("uniform", {}, [[0.5, 0.5]]),
        ({"small": 4, "big": 1}, {}, [[0.2, 0.8]]),
        ("annealed", {"epochs": 2}, [[0.75, 0.25], np.array([3, 1]) ** 0.2 / (3**0.2 + 1)]),
    ],
)
def test_a_rule_gives_its_probabilities(sampling, options, expected):
    given = {"exponent": 1.0, "epochs": None, **options}
    np.testing.assert_allclose(probabilities(SIZES, sampling, steps=None, **given), expected)
