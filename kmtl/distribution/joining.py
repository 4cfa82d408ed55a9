"""One worker joins its cluster: all meet, then TensorFlow starts on the same ports."""

import importlib.metadata
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf

from kmtl._checks import refusal
from kmtl.distribution._tensorflow_private import has_started, watch
from kmtl.distribution.clusters import Cluster
from kmtl.distribution.failures import worker_failure
from kmtl.distribution.rendezvous import meet
from kmtl.distribution.watchdog import time_limit

_OWNER = "strategy"
# Seconds that TensorFlow may take to start once all workers have met; it needs about one.
_START = 60.0


def join(cluster: Cluster, timeout: float, health_check: float, pack: int) -> Any:
    """Makes the strategy of one worker, together with all others.

    Args:
        cluster: The workers, and which one this is.
        timeout: Seconds that workers wait for each other.
        health_check: Seconds of silence after which a worker counts as dead.
        pack: Bytes a pack of gradients.

    Returns:
        A `tf.distribute.MultiWorkerMirroredStrategy`.

    Raises:
        RuntimeError: If TensorFlow has started already, the workers do not fit each other, or one dies meanwhile.
        TimeoutError: If not all workers are there in time.
        OSError: If this worker's port cannot be opened.
    """
    _check_start()
    meet(cluster, _facts(), timeout)
    watch(cluster, health_check, start=_START)
    message = (
        f"strategy: TensorFlow has not started within {_START:g} s after all workers had met: one of them died "
        f"meanwhile. {cluster.name(cluster.rank)} is ended, since TensorFlow would hold it. Restart all workers."
    )
    try:
        with time_limit(_START + 10.0, message), _own_signals():
            return _tensorflow_strategy(cluster, pack)
    except tf.errors.OpError as error:
        reason = worker_failure(error, cluster) or RuntimeError(
            f"strategy: TensorFlow could not join the cluster: {error}"
        )
        raise reason from error


def _check_start() -> None:
    """Refuses what TensorFlow would refuse after all workers have met."""
    if has_started():
        rule = "must be made before TensorFlow has made its devices"
        fix = "Call it first in the program, before any tensor, layer, seed or list of logical devices."
        raise RuntimeError(refusal(_OWNER, "kind", rule, "multi_worker", fix))


def _facts() -> dict[str, str]:
    """What must be the same on every worker."""
    try:
        own = importlib.metadata.version("kmtl")
    except importlib.metadata.PackageNotFoundError:
        own = "not installed"
    return {
        "python": ".".join(map(str, sys.version_info[:2])),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "kmtl": own,
        "GPUs": str(len(tf.config.get_visible_devices("GPU"))),
    }


def _tensorflow_strategy(cluster: Cluster, pack: int) -> Any:
    """TensorFlow's own strategy, with all workers waiting for it."""
    job, index = cluster.task(cluster.rank)
    gpus = len(tf.config.get_visible_devices("GPU"))
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec(cluster.jobs), task_type=job, task_id=index, num_accelerators={"GPU": gpus}
    )
    how = tf.distribute.experimental.CommunicationImplementation
    options = tf.distribute.experimental.CommunicationOptions(
        bytes_per_pack=pack, implementation=how.AUTO if gpus else how.RING
    )
    return tf.distribute.MultiWorkerMirroredStrategy(resolver, options)


@contextmanager
def _own_signals() -> Iterator[None]:
    """Gives SIGTERM back to the program: TensorFlow catches it and trains on."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        # Python sets signals in its main thread alone; None is a handler that Python does not know.
        if threading.current_thread() is threading.main_thread() and before is not None:
            signal.signal(signal.SIGTERM, before)
