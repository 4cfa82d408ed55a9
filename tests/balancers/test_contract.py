"""What a balancer is found by, and what one must implement."""

import keras
import numpy as np
import pytest
from keras import ops

from kmtl import balancers


class Largest(balancers.Balancer):
    """Needs the gradients themselves."""

    needs = "gradients"

    def transform(self, gradients, signals):
        del signals
        return ops.max(gradients, axis=0), None


class ByLoss(balancers.Balancer):
    """Divides by the loss."""

    def task_weights(self, signals):
        return 1.0 / signals.losses


class Negative(balancers.Balancer):
    """Weights without a positive sum."""

    needs = "gram"

    def task_weights(self, signals):
        return -ops.diagonal(signals.gram)


def test_found_by_name_object_and_config():
    chosen = balancers.PCGrad(seed=3, scale="paper")
    assert balancers.get(chosen) is chosen
    assert balancers.get("pcgrad").get_config()["scale"] == "sum"
    assert balancers.get("pcgrad") is not balancers.get("pcgrad")
    assert balancers.get(keras.saving.serialize_keras_object(chosen)).get_config() == chosen.get_config()


def test_unknown_balancers_are_refused():
    with pytest.raises(
        ValueError, match=r"^compile: `balancer` must be known, got 'pcgrat'\. Did you mean 'pcgrad'\?$"
    ):
        balancers.get("pcgrat")
    dense = keras.saving.serialize_keras_object(keras.layers.Dense(3))
    for identifier in (3, None, balancers.PCGrad, ["equal"], dense):
        with pytest.raises(
            TypeError, match=r"^compile: `balancer` must be a name or a kmtl\.balancers\.Balancer, got "
        ):
            balancers.get(identifier)


def test_a_name_is_given_once():
    with pytest.raises(ValueError, match=r"^register: `name` must be new, got 'equal'"):
        balancers.register("equal")(Largest)


def test_gradients_of_absent_tasks_are_zero_to_a_balancer_of_gradients():
    gradients = ops.array([[1.0, -2.0], [np.nan, 9.0], [-1.0, -3.0]])
    found = Largest().combine(gradients, present=ops.array([True, False, True]))
    assert np.asarray(found).tolist() == [1.0, 0.0]
    assert np.asarray(Largest().combine(gradients[::2])).tolist() == [1.0, -2.0]


def test_dividing_by_the_loss_of_an_absent_task_harms_nobody():
    weights = ByLoss().weigh(losses=ops.array([2.0, 0.0, 1.0]), present=ops.array([True, False, True]))
    np.testing.assert_allclose(weights, [2 / 3, 0.0, 4 / 3], rtol=1e-6)


def test_weights_below_zero_are_rescaled_by_their_sizes():
    gram = ops.array([[4.0, 0.0], [0.0, 1.0]])
    assert np.asarray(Negative().weigh(gram=gram)).tolist() == pytest.approx([-1.6, -0.4])


def test_what_a_balancer_does_not_do_is_said():
    with pytest.raises(NotImplementedError, match="Largest has no `task_weights`: its `needs` is 'gradients'"):
        Largest().weigh(gram=ops.eye(2))
    with pytest.raises(NotImplementedError, match="Equal has no `combine`: its `needs` is 'losses'"):
        balancers.Equal().combine(ops.ones((2, 3)))
    with pytest.raises(NotImplementedError, match="PCGrad has no `transform`: its `needs` is 'gram'"):
        balancers.PCGrad().transform(ops.ones((2, 3)), None)


def test_a_need_that_does_not_exist_is_refused():
    class Odd(balancers.Balancer):
        needs = "gramm"

    with pytest.raises(
        ValueError, match=r"`needs` must name what the balancer needs, got .gramm.\. Did you mean .gram"
    ):
        Odd()


class Unsure(balancers.Balancer):
    """Has no answer where the first loss is 13."""

    def task_weights(self, signals):
        return ops.where(signals.losses[0] == 13.0, float("nan"), signals.losses)


class UnsureOfGradients(Unsure):
    """The same, of gradients."""

    needs = "gradients"

    def transform(self, gradients, signals):
        return gradients, self.task_weights(signals)


def weights_of(balancer, losses, present=(True, True, True)):
    losses, present = ops.array(losses, "float32"), ops.array(present)
    if balancer.needs == "losses":
        return np.asarray(balancer.weigh(losses=losses, present=present))
    return np.asarray(balancer.combine(ops.eye(3), losses=losses, present=present))


@pytest.mark.parametrize("make", [Unsure, UnsureOfGradients])
def test_without_an_answer_the_last_good_weights_stay_and_it_is_counted(make):
    balancer = make()
    np.testing.assert_allclose(weights_of(balancer, [13.0, 2.0, 2.0]), 1.0)
    good = weights_of(balancer, [1.0, 2.0, 3.0])
    np.testing.assert_allclose(good, [0.5, 1.0, 1.5], rtol=1e-6)
    np.testing.assert_allclose(weights_of(balancer, [13.0, 5.0, 1.0]), good, rtol=1e-6)
    np.testing.assert_allclose(weights_of(balancer, [13.0, 5.0, 1.0], [True, False, True]), [0.5, 0.0, 1.5], rtol=1e-6)
    assert float(balancer.failures) == 3
    np.testing.assert_allclose(weights_of(balancer, [1.0, 2.0, 3.0]), good, rtol=1e-6)
    assert float(balancer.failures) == 3


def test_a_failure_is_smoothed_as_the_weights_that_stay():
    balancer = Unsure(smoothing=0.5)
    weights_of(balancer, [1.0, 2.0, 3.0])
    second = weights_of(balancer, [3.0, 2.0, 1.0])
    np.testing.assert_allclose(second, 1.0, rtol=1e-6)
    np.testing.assert_allclose(weights_of(balancer, [13.0, 2.0, 1.0]), second, rtol=1e-6)
    assert float(balancer.failures) == 1


def test_every_third_step_is_due():
    balancer = Unsure(update_every=3)
    losses, there = ops.array([1.0, 2.0, 3.0]), ops.array([True, True, True])
    due = []
    for step in range(7):
        due.append(bool(balancer.due) if step else True)
        balancer.weigh(losses=losses) if due[-1] else balancer.keep(losses, there)
    assert due == [True, False, False, True, False, False, True]


@pytest.mark.parametrize("normalize", ["l2", "loss", "loss+"])
def test_normalisers_divide_by_lengths_and_losses(normalize):
    gram, losses = np.diag([4.0, 9.0]).astype("float32"), np.array([0.5, 8.0], "float32")
    lengths = {"l2": [2.0, 3.0], "loss": losses, "loss+": [1.0, 24.0]}[normalize]
    # The inverse squared length of each divided gradient, of the gradients themselves.
    found = balancers.MGDA(normalize=normalize, scale="paper").weigh(losses=losses, gram=gram)
    units = np.diag(gram) / np.square(lengths)
    np.testing.assert_allclose(found, 1 / units / np.sum(1 / units) / lengths, rtol=1e-5)
