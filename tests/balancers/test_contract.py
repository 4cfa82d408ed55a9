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
