"""The private names of TensorFlow that the distribution uses are there and mean what they meant."""

import inspect

import pytest
import tensorflow as tf
from tensorflow.python.distribute import collective_all_reduce_strategy
from tensorflow.python.eager import context

from kmtl.distribution import Cluster
from kmtl.distribution._tensorflow_private import has_started, watch


@pytest.fixture
def configured():
    """The settings that `watch` makes, taken back afterwards."""
    own = context.context()
    before = own._coordination_service_config
    yield lambda: own.coordination_service
    own._coordination_service_config = before


def test_devices_tell_that_tensorflow_has_started():
    assert tf.config.list_logical_devices()
    assert has_started()


@pytest.mark.parametrize("has_chief", [False, True])
def test_watch_sets_what_the_strategy_would_and_how_long(configured, has_chief):
    watch(Cluster(("a:1", "b:1", "c:1"), 1, has_chief), silence=7.5, start=60.0)
    made = configured()
    assert made.service_type == "standalone"
    assert made.service_leader == f"/job:{'chief' if has_chief else 'worker'}/replica:0/task:0"
    assert (made.heartbeat_timeout_in_ms, made.cluster_register_timeout_in_ms) == (7500, 60000)
    jobs = {job.name: job.num_tasks for job in made.coordinated_job_list}
    assert jobs == ({"chief": 1, "worker": 2} if has_chief else {"worker": 3})


def test_the_strategy_leaves_a_configured_service_alone():
    source = inspect.getsource(collective_all_reduce_strategy.CollectiveAllReduceExtended._initialize_multi_worker)
    assert "context.context().coordination_service is None" in source
    assert 'service_type="standalone"' in source
