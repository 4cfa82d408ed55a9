"""The texts of TensorFlow 2.21 after a worker's death, as measured with two and three processes."""

import pytest
import tensorflow as tf

from kmtl.distribution import Cluster, worker_failure

ADDRESSES = ("a:2222", "b:2222", "c:2222")
RESET = (
    "Graph execution error:\n\nDetected at node CollectiveReduceV2\n\n"
    "Collective ops is aborted by: recvmsg:Connection reset by peer\n"
    "Additional GRPC error information from remote target /job:worker/replica:0/task:{} while calling "
    '/tensorflow.WorkerService/RecvBuf:\n:UNKNOWN:Error received from peer  {{grpc_status:14, grpc_message:"recvmsg'
    ':Connection reset by peer"}}\nThe error could be from a previous operation. Restart your program to reset.\n'
    "\t [[{{{{node CollectiveReduceV2}}}}]] [Op:__inference_step_40]"
)
# Worker 1 died; worker 2 told so to worker 0.
PASSED_ON = (
    "Collective ops is aborted by: Collective ops is aborted by: failed to connect to all addresses; last error: "
    "UNKNOWN: ipv4:127.0.0.1:36317: Failed to connect to remote host: Connection refused\nAdditional GRPC error "
    "information from remote target /job:worker/replica:0/task:1 while calling /tensorflow.WorkerService/RecvBuf:\n"
    "Additional GRPC error information from remote target /job:worker/replica:0/task:2 while calling "
    "/tensorflow.WorkerService/RecvBuf:\n"
)
SILENT = (
    "Collective ops is aborted by: Error reported from /job:worker/task:2: The following tasks are unhealthy (stopped "
    "sending heartbeats):\n/job:worker/replica:0/task:2\nThe tasks have crashed."
)
FIRST_IS_SILENT = "Collective ops is aborted by: Deadline Exceeded\n\nRPC: /tensorflow.CoordinationService/Heartbeat"
TOLD = [
    (tf.errors.UnavailableError, RESET.format(1), 0, "worker 1 (b:2222)"),
    (tf.errors.UnavailableError, RESET.format(0), 2, "worker 0 (a:2222)"),
    (tf.errors.UnavailableError, PASSED_ON, 0, "worker 1 (b:2222)"),
    (tf.errors.UnavailableError, SILENT, 0, "worker 2 (c:2222)"),
    (tf.errors.DeadlineExceededError, FIRST_IS_SILENT, 1, "worker 0 (a:2222)"),
    (tf.errors.InternalError, "NCCL: unhandled system error", 1, "Another worker"),
]


@pytest.mark.parametrize(("kind", "text", "rank", "name"), TOLD)
def test_the_dead_worker_is_named(kind, text, rank, name):
    told = worker_failure(kind(None, None, text), Cluster(ADDRESSES, rank))
    assert isinstance(told, RuntimeError)
    assert str(told).startswith(f"{name} does not answer any more")
    assert "Restart all workers" in str(told)
    assert kind.__name__ in str(told)


def test_the_own_name_in_the_text_is_not_the_dead_one():
    text = f"node at /job:worker/replica:0/task:0/device:CPU:0\n{RESET.format(1)}"
    assert str(worker_failure(tf.errors.UnavailableError(None, None, text), Cluster(ADDRESSES, 0))).startswith(
        "worker 1 "
    )


def test_a_chief_is_called_chief():
    text = RESET.format(0).replace("job:worker", "job:chief")
    told = worker_failure(tf.errors.UnavailableError(None, None, text), Cluster(ADDRESSES, 2, has_chief=True))
    assert str(told).startswith("chief 0 (a:2222)")


def test_one_other_worker_needs_no_name():
    told = worker_failure(tf.errors.AbortedError(None, None, "Socket closed"), Cluster(ADDRESSES[:2], 0))
    assert str(told).startswith("worker 1 (b:2222)")


@pytest.mark.parametrize(
    "error",
    [
        ValueError("Connection reset by peer"),
        tf.errors.InvalidArgumentError(None, None, "Collective ops is aborted by: a shape"),
        tf.errors.InternalError(None, None, "a bad file"),
        KeyboardInterrupt(),
    ],
)
def test_other_errors_are_left_alone(error):
    assert worker_failure(error, Cluster(ADDRESSES, 0)) is None


def test_the_environment_tells_the_cluster(monkeypatch):
    error = tf.errors.UnavailableError(None, None, RESET.format(1))
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert worker_failure(error) is None
    config = '{"cluster": {"worker": ["x:1", "y:1"]}, "task": {"type": "worker", "index": 0}}'
    monkeypatch.setenv("TF_CONFIG", config)
    assert str(worker_failure(error)).startswith("worker 1 (y:1)")
