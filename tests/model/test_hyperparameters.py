"""What trackers see of a model: a flat dict of what decides the training, and its summary."""

import keras
import pytest

import kmtl


@pytest.fixture(scope="module")
def model():
    given = keras.Input((3,), name="given")
    tasks = [kmtl.Classification("kind", 3), kmtl.Regression("width")]
    return kmtl.MultiTaskModel.from_features(given, keras.layers.Dense(4)(given), tasks)


def lines(model):
    told = []
    model.summary(print_fn=lambda line, *_, **__: told.append(line))
    return told[-1].splitlines()


def test_an_uncompiled_model_tells_its_tasks_alone(model):
    assert lines(model)[0].split() == ["task", "kind", "output"]
    assert lines(model)[1].split() == ["kind", "Classification", "(3,)"]
    with pytest.raises(ValueError, match="must be compiled"):
        model.hyperparameters()


def test_a_compiled_model_tells_balancer_optimizer_and_weights_as_they_are_now(model):
    balancer = kmtl.balancers.CAGrad(radius=0.3)
    model.compile(
        keras.optimizers.SGD(0.25),
        loss_weights={"width": 0.5},
        balancer=balancer,
        learning_rate_multipliers={"width": 0.1},
    )
    model.set_loss_weights({"kind": 2.0})
    told = model.hyperparameters()
    assert {key: told[key] for key in ("tasks", "loss_weight_kind", "loss_weight_width", "balancer_radius")} == {
        "tasks": "kind, width",
        "loss_weight_kind": 2.0,
        "loss_weight_width": 0.5,
        "balancer_radius": 0.3,
    }
    assert told["optimizer_learning_rate"] == pytest.approx(0.25)
    assert told["learning_rate_multiplier_width"] == 0.1
    assert all(isinstance(value, str | int | float) for value in told.values())
    assert [line.split()[-1] for line in lines(model)[1:3]] == ["2", "0.5"]
    assert lines(model)[-1] == "balancer: CAGrad, optimizer: SGD"


def test_the_optimizer_of_each_part_and_its_schedule_are_told(model):
    rate = keras.optimizers.schedules.ExponentialDecay(0.25, 10, 0.5)
    model.compile(optimizer={"shared": "adam", "width": keras.optimizers.SGD(rate)})
    told = model.hyperparameters()
    names = ("shared", "width", "width_learning_rate", "width_learning_rate_decay_rate")
    assert [told[f"optimizer_{name}"] for name in names] == ["Adam", "SGD", "ExponentialDecay", 0.5]
    assert told["optimizer_shared_learning_rate"] == pytest.approx(1e-3)
    assert all(isinstance(value, str | int | float) for value in told.values())
