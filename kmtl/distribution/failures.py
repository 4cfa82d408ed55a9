"""What TensorFlow raises when another worker dies, told in words."""

import re

import tensorflow as tf

from kmtl.distribution.clusters import Cluster, check_cluster, is_configured

# What a collective raises when its group breaks: a closed connection, a missed heartbeat, an abort that was passed on.
_KINDS = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
    tf.errors.InternalError,
    tf.errors.UnknownError,
)
_SIGNS = re.compile(
    r"Collective ops is aborted|remote target /job:|stopped sending heartbeats|CoordinationService|"
    r"check alive|Connection reset by peer|Socket closed|NCCL",
)
_TASK = re.compile(r"/job:(\w+)/(?:replica:\d+/)?task:(\d+)")
_HEARTBEAT = "CoordinationService/Heartbeat"


def worker_failure(error: BaseException, cluster: Cluster | None = None) -> RuntimeError | None:
    r"""Turns the error that a worker gets when another one dies into one that names it.

    TensorFlow says "Connection reset by peer" or "Deadline Exceeded" somewhere in a page of text. The first
    task in it is the one that was found missing; without any the silence is that of the first worker, to whom
    all others send their heartbeats.

    Args:
        error: What a training loop raised.
        cluster: The workers; None reads the environment variable `TF_CONFIG`.

    Returns:
        A RuntimeError to raise `from` the given one, or None if that has nothing to do with other workers.

    >>> lost = tf.errors.UnavailableError(
    ...     None, None, "Collective ops is aborted by: Socket closed\nfrom remote target /job:worker/replica:0/task:1"
    ... )
    >>> print(worker_failure(lost, Cluster(("a:2222", "b:2222"), rank=0)))
    worker 1 (b:2222) does not answer any more: ... Restart all workers: they resume from the last backup...
    >>> worker_failure(ValueError("a shape"), Cluster(("a:2222", "b:2222"), rank=0)) is None
    True
    """
    if cluster is None:
        if not is_configured():
            return None
        cluster = check_cluster()
    text = str(error)
    if not isinstance(error, _KINDS) or not _SIGNS.search(text) or not cluster.peers:
        return None
    cause = text.partition("Collective ops is aborted by: ")[2] or text
    first_line = next((line for line in cause.splitlines() if line.strip()), "no reason")
    return RuntimeError(
        f"{_missing(text, cluster)} does not answer any more: it died, stands still, or ended before the others; "
        "its own output says why. Training cannot go on without it. Restart all workers: they resume from the last "
        f"backup, if `fit` has one. (TensorFlow: {type(error).__name__}: {first_line[:300]})"
    )


def _missing(text: str, cluster: Cluster) -> str:
    """The name of the worker that an error tells of."""
    names = {cluster.task(rank): cluster.name(rank) for rank in cluster.peers}
    for job, index in _TASK.findall(text):
        if (job, int(index)) in names:
            return names[job, int(index)]
    if _HEARTBEAT in text and cluster.rank:
        return cluster.name(0)
    return cluster.name(cluster.peers[0]) if len(cluster.peers) == 1 else "Another worker"
