"""Options that hold one value a task come back from a saved config."""

import json

import keras
import pytest

from kmtl.balancers.by_losses import DTP, DWA, SI, STCH, LabelCount
from kmtl.balancers.fixed import Static
from kmtl.balancers.random import RLW


@pytest.mark.parametrize(
    "balancer",
    [
        Static(weights=(1, 2.5)),
        Static(weights={"ant": 2.0}),
        SI(lower_bounds=(0.0, -1.0)),
        STCH(preference={"ant": 3}, logarithmic=False, smoothness=0.2),
        STCH(preference=(1, 2), warmup=2),
        DTP(kpi={"ant": "loss"}, gamma=2.0, kpi_smoothing=0.5),
        DWA(window=25, temperature=1.0),
        LabelCount(counts=(3, 4), exponent=-1.0),
        RLW(distribution="dirichlet", seed=4),
    ],
    ids=lambda balancer: type(balancer).__name__,
)
def test_every_option_comes_back_through_json(balancer):
    stored = json.dumps(keras.saving.serialize_keras_object(balancer))
    again = keras.saving.deserialize_keras_object(json.loads(stored))
    assert type(again) is type(balancer)
    assert again.get_config() == balancer.get_config()
