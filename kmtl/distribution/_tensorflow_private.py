"""Every private name of TensorFlow that the distribution uses; `tests/distribution/test_private.py` watches them.

TensorFlow 2.21 watches workers by a coordination service on the first worker: each sends it heartbeats, and one that
is silent too long aborts the collectives of all others. How long is not public.
"""

from tensorflow.compiler.xla.tsl.protobuf import coordination_config_pb2
from tensorflow.python.eager import context

from kmtl.distribution.clusters import Cluster


def has_started() -> bool:
    """Whether TensorFlow has made its devices, after which no cluster can be joined."""
    return context.context()._context_handle is not None


def watch(cluster: Cluster, silence: float, start: float) -> None:
    """Sets how long a worker may be silent before the others stop; call it before the strategy is made.

    `MultiWorkerMirroredStrategy` leaves a coordination service alone that is configured already.

    Args:
        cluster: The workers.
        silence: Seconds without a heartbeat after which a worker counts as dead; TensorFlow's own default is 10.
        start: Seconds that a worker waits for the first one's service.
    """
    jobs = [
        coordination_config_pb2.CoordinatedJob(name=job, num_tasks=len(addresses))
        for job, addresses in cluster.jobs.items()
    ]
    job, index = cluster.task(0)
    context.context().configure_coordination_service(
        service_type="standalone",
        service_leader=f"/job:{job}/replica:0/task:{index}",
        heartbeat_timeout_in_ms=round(silence * 1000),
        cluster_register_timeout_in_ms=round(start * 1000),
        coordinated_jobs=jobs,
    )
