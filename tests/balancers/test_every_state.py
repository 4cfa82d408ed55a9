"""The conformance table: how every balancer runs, counts, remembers, is saved, and takes its options."""

import inspect

import keras
import numpy as np
import pytest
from balancers.conformance import SIZE, Bench, bench, case, cases, partly, prepared, tasks_of, weighted
from balancers.tables import TABLE, rows

from kmtl import balancers

ONE, OTHER = np.eye(2, SIZE)
LIKE = cases(3, 1, seed=3)[0].gradients
#: What a training may bring; the names are those of the gradients.
HOSTILE = {
    "nan": case([ONE, np.nan * ONE, OTHER], [1.0, np.nan, 1.0]),
    "nan loss": case(LIKE, [1.0, np.nan, 2.0]),
    "infinite": case([ONE, np.full(SIZE, np.inf), OTHER], [1.0, np.inf, 1.0]),
    "all nan": case(np.full((3, SIZE), np.nan), [np.nan] * 3),
    "zeros": case(np.zeros((3, SIZE)), [0.0] * 3),
    "one zero": case([ONE, 0 * ONE, OTHER], [1.0, 0.0, 2.0]),
    "tiny": case(1e-30 * LIKE, [1e-30] * 3),
    "huge": case(1e30 * LIKE, [1e30] * 3),
    "small": case(1e-10 * LIKE, [1e-10] * 3),
    "large": case(1e10 * LIKE, [1e10] * 3),
    "unlike": case(LIKE * [[1e-10], [1.0], [1e10]], [1e-10, 1.0, 1e10]),
    "opposite": case([ONE, -ONE, OTHER]),
    "stationary": case([ONE, OTHER, -ONE - OTHER]),
    "identical": case([ONE] * 3),
    "collinear": case([ONE, 2 * ONE, -3 * ONE]),
    "nearly": case([ONE, ONE + 1e-6 * OTHER, 2 * ONE]),
    "of one rank": case([ONE, OTHER, ONE + OTHER]),
    "negative losses": case(LIKE, [-1.0, -2.0, 0.5]),
}


def own(ready):
    """A bench's state less what counts steps or draws numbers."""
    left_out = ("seed_generator_state", "/step", "/failures", "/excluded")
    return {path: value for path, value in ready.state().items() if not path.endswith(left_out)}


@pytest.mark.parametrize("name", rows("long"))
def test_hostile_input_leaves_everything_finite_and_is_counted(name):
    ready, calm = bench(name), cases(3, 2)
    first, _ = ready.run(calm[:1])
    assert float(ready.balancer.failures) == 0
    started = [variable.numpy() for variable in ready.balancer.variables]
    for title, hostile in HOSTILE.items():
        for variable, value in zip(ready.balancer.variables, started, strict=True):
            variable.assign(value)
        weights, directions = ready.go_on([hostile] * 2)
        assert np.isfinite(directions).all(), title
        assert all(np.isfinite(value).all() for value in ready.state().values()), title
        assert ready.balancer.excluded.numpy().tolist() == (2.0 * ~sound(hostile, ready.balancer)).tolist(), title
        if float(ready.balancer.failures) == 2 and weighted(name):
            np.testing.assert_allclose(weights, [kept(first[0], hostile, ready.balancer)] * 2, rtol=1e-4, err_msg=title)
        assert np.isfinite(ready.go_on(calm[1:])[1]).all(), title


def sound(each, balancer):
    """Which tasks bring finite numbers, of those that the balancer reads."""
    losses = np.isfinite(each.losses.astype("float32"))
    return losses if balancer.needs == "losses" else losses & np.isfinite(squares(each))


def squares(each):
    """Squared lengths of the gradients in float32."""
    with np.errstate(all="ignore"):
        return np.diag(each.gram).astype("float32")


def kept(weights, each, balancer):
    """The last good weights, of the tasks that take part."""
    here = sound(each, balancer) if balancer.needs == "losses" else sound(each, balancer) & (squares(each) != 0)
    left = np.where(here, weights, 0.0)
    return left * here.sum() / max(np.abs(left).sum(), 1e-30)


#: One of each way to solve: none, eigenvectors, projections in turn, every support, and a loop until it has settled.
SOLVED = ["famo", "aligned", "gradvac", "upgrad", "nash"]


@pytest.mark.long
@pytest.mark.parametrize(
    "name", [name if name in SOLVED else pytest.param(name, marks=pytest.mark.slow) for name in TABLE]
)
def test_xla_agrees_with_the_graph(name):
    # XLA draws its random numbers by another algorithm.
    kinds = "r" * min(3, TABLE[name].settled)
    found = partly(cases(len(kinds), 4))
    expected = bench(name, kinds).run(found)
    for one, other in zip(bench(name, kinds, "xla").run(found), expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5 * max(1.0, np.abs(other).max()))


def chosen(name):
    """Options unlike the defaults, of those that the balancer has a use for."""
    kind = type(balancers.get(name))
    options = {"scale": "paper", "normalize": "initial", "name": "chosen"}
    if kind.needs != "gradients":
        options["update_every"] = 3
    return options | ({"smoothing": 0.25} if weighted(name) else {})


@pytest.mark.parametrize("name", TABLE)
def test_a_config_holds_every_option_and_makes_the_same_balancer(name):
    balancer = TABLE[name].make(**chosen(name))
    config = balancer.get_config()
    asked = {
        option
        for kind in type(balancer).__mro__
        if issubclass(kind, balancers.Balancer)
        for option, given in inspect.signature(kind.__init__).parameters.items()
        if given.kind is inspect.Parameter.KEYWORD_ONLY
    }
    assert asked == set(config)
    assert chosen(name).items() <= config.items()
    again = balancers.get(keras.saving.serialize_keras_object(balancer))
    assert type(again) is type(balancer)
    assert again.get_config() == config


@pytest.mark.parametrize("name", TABLE)
def test_an_unknown_option_is_refused(name):
    with pytest.raises(TypeError, match=r": `smoothin` is no option of this method, got 0\.5\. Did you mean 'smooth"):
        TABLE[name].make(smoothin=0.5)
    with pytest.raises(ValueError, match=r"`scale` must be 'sum' or 'paper', got 'summ'\. Did you mean 'sum'\?"):
        TABLE[name].make(scale="summ")


@pytest.mark.parametrize("name", rows("slow"))
def test_restored_state_goes_on_where_it_stopped(name):
    ready, found = bench(name), partly(cases(3, 6))
    ready.run(found[:3])
    store = {}
    ready.balancer.save_own_variables(store)
    store = {key: variable.numpy() for key, variable in store.items()}
    # Keras's files leave random generators out; `kmtl.model.saved_state.RandomState` saves them.
    seeds = [variable for variable in ready.balancer.variables if variable.name == "seed_generator_state"]
    drawn = [variable.numpy() for variable in seeds]
    expected, _ = ready.go_on(found[3:])
    ready.run(found[4:])
    ready.balancer.load_own_variables(store)
    for variable, value in zip(seeds, drawn, strict=True):
        variable.assign(value)
    again, _ = ready.go_on(found[3:])
    np.testing.assert_array_equal(again, expected)


@pytest.mark.parametrize("name", rows("slow"))
def test_a_task_that_vanishes_for_some_steps_comes_back_as_it_was(name):
    ready, found = bench(name), cases(3, 9)
    ready.run(found[:3])
    before = own(ready)
    ready.go_on([each._replace(present=np.array([True, False, True])) for each in found[3:8]])
    after = own(ready)
    for path, value in before.items():
        if value.shape[:1] == (3,):
            np.testing.assert_array_equal(after[path][1], value[1], err_msg=path)
        if value.shape == (3, 3):
            np.testing.assert_array_equal(after[path][:, 1], value[:, 1], err_msg=path)
    assert np.isfinite(ready.go_on(found[8:])[1]).all()


@pytest.mark.parametrize("name", rows("slow"))
def test_a_batch_without_any_label_moves_no_state_of_a_task(name):
    ready, found = bench(name), cases(3, 2)
    ready.run(found[:1])
    before = own(ready)
    weights, directions = ready.go_on([found[1]._replace(present=np.zeros(3, bool))] * 2)
    assert not weights.any()
    assert not directions.any()
    for path, value in own(ready).items():
        np.testing.assert_array_equal(value, before[path], err_msg=path)


@pytest.mark.parametrize("name", rows("slow"))
def test_what_an_absent_task_brings_reaches_neither_weights_nor_state(name):
    ready, there = bench(name), np.array([True, False, True])
    first, second, third = cases(3, 3)
    outcomes = []
    for garbage in (0.0, np.nan, np.inf, 1e30):
        soiled = second._replace(losses=second.losses.copy(), gradients=second.gradients.copy(), present=there)
        soiled.losses[1] = soiled.gradients[1] = garbage
        outcomes.append((*ready.run([first, soiled, third]), *ready.state().values()))
    for outcome in outcomes[1:]:
        for one, other in zip(outcome, outcomes[0], strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", [name for name in TABLE if balancers.get(name).needs != "gradients"])
def test_steps_between_updates_keep_the_weights_of_the_tasks_that_are_there(name):
    ready, (first, second) = bench(name), cases(3, 2)
    last, _ = ready.run([first])
    before, there = own(ready), np.array([True, False, True])
    losses = np.where(there, second.losses, np.nan).astype("float32")
    found = np.asarray(ready.balancer.keep(losses, there))
    np.testing.assert_allclose(found, kept(last[0], second._replace(losses=losses), bench("equal").balancer), rtol=1e-5)
    assert int(ready.balancer.step) == 2
    for path, value in own(ready).items():
        np.testing.assert_array_equal(value, before[path], err_msg=path)


def assert_divided(name, found, divisors, smoothing=0.0, normalize=None):
    """Compares with the method on losses and gradients that are divided first, smoothed where that is asked for."""
    plain, ready = (
        bench(name),
        Bench(name, "rrr", "eager", normalize=normalize, **({"smoothing": smoothing} if smoothing else {})),
    )
    raw, along = plain.run([each.times(1 / by) for each, by in zip(found, divisors, strict=True)])
    weights, directions = ready.run(found)
    if plain.balancer.needs == "gradients" and not smoothing:
        np.testing.assert_allclose(directions, along, rtol=1e-3, atol=1e-4 * np.abs(along).max())
        return
    # A balancer of gradients weighs the divided ones.
    raw = raw / (1.0 if plain.balancer.needs == "gradients" else np.stack(divisors))
    raw = raw * 3 / np.abs(raw).sum(axis=1, keepdims=True)
    expected = raw[0]
    for weight, now in zip(weights, raw, strict=True):
        mixed = smoothing * expected + (1 - smoothing) * now
        expected = mixed * 3 / np.abs(mixed).sum()
        np.testing.assert_allclose(weight, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", rows("slow"))
def test_smoothing_is_a_moving_average_of_the_weights_under_losses_relative_to_the_first(name):
    found = cases(3, 3)
    divisors = [np.mean([old.losses for old in found[: step + 1]], axis=0) for step in range(3)]
    assert_divided(name, found, divisors, normalize="initial", smoothing=0.6 if weighted(name) else 0.0)


@pytest.mark.parametrize("name", rows("slow"))
def test_a_normaliser_is_the_method_on_divided_losses_and_gradients(name):
    if balancers.get(name).needs == "losses":
        with pytest.raises(ValueError, match=r"`normalize` must be None or of \('initial',\), got "):
            TABLE[name].make(normalize="loss+")
        return
    found = cases(3, 1)
    divisors = [np.linalg.norm(each.gradients, axis=1) * each.losses for each in found]
    assert_divided(name, found, divisors, normalize="loss+")


@pytest.mark.parametrize("name", TABLE)
def test_a_balancer_brings_nothing_to_train_and_keeps_its_tasks(name):
    balancer = prepared(name, "rrr")
    assert balancer.trainable_variables == []
    assert all(variable.aggregation == "only_first_replica" for variable in balancer.weights)
    balancer.prepare(tasks_of("rrr"))
    with pytest.raises(ValueError, match=r"`tasks` must be 3 again, got 2\. Make a new one"):
        balancer.prepare(tasks_of("rr"))
