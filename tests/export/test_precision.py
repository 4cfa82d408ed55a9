import keras
import numpy as np
import pytest

from kmtl.export import precision


@keras.saving.register_keras_serializable("tests.export")
class Pair(keras.layers.Layer):
    """Builds a layer of its own, which takes the global policy."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.inner = keras.layers.Dense(units)

    def build(self, shape):
        self.inner.build(shape)
        super().build(shape)

    def call(self, inputs):
        return self.inner(inputs) * 2.0

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def build():
    """A model with a nested model used twice, a shared layer, wrapped layers and plain operations."""
    steps, row = keras.Input((3, 4), name="steps"), keras.Input((4,), name="row")
    inner = keras.Input((4,))
    nested = keras.Model(inner, keras.Sequential([keras.layers.Dense(4), Pair(4)])(inner))
    shared = keras.layers.Dense(4)
    hidden = keras.layers.TimeDistributed(keras.layers.Dense(4))(steps)
    hidden = shared(keras.layers.Bidirectional(keras.layers.GRU(2))(hidden))
    hidden = keras.ops.cast(nested(hidden) + shared(nested(row)), keras.config.dtype_policy().compute_dtype)
    outputs = {"sort": keras.layers.Dense(3)(hidden), "angle": keras.layers.Dense(1)(hidden)}
    return keras.Model([steps, row], outputs)


@pytest.fixture
def policy(request):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy(before)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16"], indirect=True)
def test_the_copy_computes_in_float32_with_the_same_weights(policy):
    low = build()
    copy = precision.in_float32(low)
    assert keras.config.dtype_policy().name == policy
    keras.config.set_dtype_policy("float32")
    twin = build()
    twin.set_weights(low.get_weights())
    generator = np.random.default_rng(4)
    inputs = [generator.normal(size=(5, 3, 4)), generator.normal(size=(5, 4))]
    found, expected = copy(inputs), twin(inputs)
    assert list(found) == ["sort", "angle"]
    for task in expected:
        assert keras.backend.standardize_dtype(found[task].dtype) == "float32"
        np.testing.assert_allclose(found[task], expected[task], rtol=1e-5, atol=1e-6)


def test_a_float32_model_is_taken_as_it_is():
    model = build()
    assert precision.in_float32(model) is model


def test_only_dtypes_change_in_a_config():
    policy = {"class_name": "DTypePolicy", "config": {"name": "mixed_bfloat16"}}
    config = {
        "name": "float16",
        "vocabulary": ["float16"],
        "cell": [{"dtype": policy}],
        "dtype": "float16",
        "axis": (1,),
    }
    full = {"class_name": "DTypePolicy", "config": {"name": "float32"}}
    assert precision.to_float32(config) == {
        "name": "float16",
        "vocabulary": ["float16"],
        "cell": [{"dtype": full}],
        "dtype": "float32",
        "axis": (1,),
    }
    assert precision.to_float32({"dtype": "int32"}) == {"dtype": "int32"}
