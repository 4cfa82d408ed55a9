"""`TF_CONFIG` made from what a machine knows: a list of hosts, SLURM, Kubernetes."""

import itertools
import os
import re
import socket
from collections.abc import Mapping, Sequence
from typing import Any

from kmtl._checks import Refusals, refusal, whole, words
from kmtl.distribution.clusters import check_cluster

# A nodelist's parts are divided by commas outside of brackets; each is text and bracketed ranges in turn.
_PART = re.compile(r"(?:[^,\[\]]|\[[^\[\]]*\])+")
_PIECE = re.compile(r"\[([^\]]*)\]|([^\[]+)")


def from_hosts(hosts: Sequence[str], rank: int, *, port: int = 2222) -> dict[str, Any]:
    """Makes the `TF_CONFIG` of plain machines: the same list on each, and its own rank.

    Args:
        hosts: One entry a worker, `host` or `host:port`, in the same order everywhere.
        rank: Which of them this process is, from 0.
        port: Port of the entries that name none.

    Returns:
        The content of `TF_CONFIG`: pass it to `strategy("multi_worker", cluster=...)`, or put
        `json.dumps` of it into the environment.

    Raises:
        ValueError: If an address, the port or the rank is not valid.

    >>> from_hosts(["a", "b:3333"], rank=1)
    {'cluster': {'worker': ['a:2222', 'b:3333']}, 'task': {'type': 'worker', 'index': 1}}
    """
    if isinstance(hosts, str):
        raise ValueError(refusal("from_hosts", "hosts", "must be a list of hosts", hosts))
    whole("from_hosts", "port", port, least=1)
    addresses = [f"{host}:{port}" if _has_no_port(str(host)) else host for host in hosts]
    return check_cluster({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": rank}}).config


def _has_no_port(host: str) -> bool:
    """Whether an entry is a host alone; a bracketed IPv6 host holds colons of its own."""
    return host.endswith("]") or ":" not in host


def from_slurm(*, port: int | None = None, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Makes the `TF_CONFIG` of a process that `srun` started, one worker a task.

    TensorFlow's `SlurmClusterResolver` is not used: it sorts hosts by their letters, so n10 comes before n9
    and a rank gets another's address, and it fails without GPUs.

    Args:
        port: Port of the first task on each node; the next tasks there take the next ports. None derives it
            from the job's number, so that two jobs on one node do not meet.
        environment: Variables to read; None is this process's own.

    Returns:
        The content of `TF_CONFIG`.

    Raises:
        ValueError: If the process was not started by `srun`, or its tasks are not laid out in blocks.

    >>> variables = {"SLURM_PROCID": "2", "SLURM_STEP_NODELIST": "n[9-10]", "SLURM_STEP_TASKS_PER_NODE": "2(x2)"}
    >>> from_slurm(port=2222, environment=variables)
    {'cluster': {'worker': ['n9:2222', 'n9:2223', 'n10:2222', 'n10:2223']}, 'task': {'type': 'worker', 'index': 2}}
    """
    variables = os.environ if environment is None else environment
    needed = ("SLURM_PROCID", "SLURM_STEP_NODELIST", "SLURM_STEP_TASKS_PER_NODE")
    with Refusals("from_slurm") as refusals:
        for name in needed:
            if not variables.get(name):
                fix = "Start every worker by `srun`, also within an sbatch script."
                refusals.add(name, "must be set", words("nothing"), fix)
        layout = variables.get("SLURM_DISTRIBUTION", "block")
        if not layout.startswith("block"):
            refusals.add("SLURM_DISTRIBUTION", "must be 'block'", layout, "Start with `srun --distribution=block`.")
    rank, nodes, tasks = (variables[name] for name in needed)
    first = _slurm_port(variables) if port is None else whole("from_slurm", "port", port, least=1)
    addresses = _slurm_addresses(nodes, tasks, first)
    index = int(rank) if rank.isdecimal() else rank
    return check_cluster({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}).config


def _slurm_port(variables: Mapping[str, str]) -> int:
    """A port that two jobs on one node do not share, below those that systems give to outgoing connections."""
    job = variables.get("SLURM_JOB_ID", "0")
    return 20000 + (int(job) if job.isdecimal() else 0) % 1000 * 12


def _slurm_addresses(nodelist: str, tasks_per_node: str, first: int) -> list[str]:
    """One address a task, node by node."""
    nodes, numbers = expand_nodes(nodelist), _expand_tasks(tasks_per_node)
    if len(nodes) != len(numbers):
        rule = f"must give a number for each of {len(nodes)} nodes"
        raise ValueError(refusal("from_slurm", "SLURM_STEP_TASKS_PER_NODE", rule, tasks_per_node))
    return [f"{node}:{first + i}" for node, number in zip(nodes, numbers, strict=True) for i in range(number)]


def expand_nodes(nodelist: str) -> list[str]:
    """Spells out SLURM's list of nodes, in its order.

    >>> expand_nodes("n[09-11,20],login,rack[1-2]n[1-2]")
    ['n09', 'n10', 'n11', 'n20', 'login', 'rack1n1', 'rack1n2', 'rack2n1', 'rack2n2']
    """
    parts = _PART.findall(nodelist)
    if ",".join(parts) != nodelist:
        raise ValueError(refusal("from_slurm", "SLURM_STEP_NODELIST", "must be a list such as 'n[1-3],m5'", nodelist))
    choices = [[_ranges(ranges) if ranges else [text] for ranges, text in _PIECE.findall(part)] for part in parts]
    return ["".join(pieces) for choice in choices for pieces in itertools.product(*choice)]


def _ranges(text: str) -> list[str]:
    """Spells out '1-3,7'; leading zeros stay."""
    found = []
    for item in text.split(","):
        first, _, last = item.partition("-")
        if not (first.isdecimal() and (last or first).isdecimal()):
            rule = "must hold ranges such as [1-3,7]"
            raise ValueError(refusal("from_slurm", "SLURM_STEP_NODELIST", rule, text))
        found += [str(number).zfill(len(first)) for number in range(int(first), int(last or first) + 1)]
    return found


def _expand_tasks(text: str) -> list[int]:
    """Spells out '2(x3),1', which is tasks a node."""
    matches = [re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", item) for item in text.split(",")]
    if not all(matches):
        rule = "must be a list such as '2(x3),1'"
        raise ValueError(refusal("from_slurm", "SLURM_STEP_TASKS_PER_NODE", rule, text))
    return [int(match[1]) for match in matches if match for _ in range(int(match[2] or 1))]


def from_kubernetes(
    workers: int, service: str, *, port: int = 2222, environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Makes the `TF_CONFIG` of a pod of a StatefulSet or an Indexed Job behind a headless service.

    Such pods are called `<name>-<index>` and find each other as `<name>-<index>.<service>`. The service needs
    `clusterIP: None` and `publishNotReadyAddresses: true`; an Indexed Job names it as `subdomain` of its pods.

    Args:
        workers: Number of pods: `replicas` of the set, `completions` of the job.
        service: Name of the headless service; `service.namespace.svc` reaches another namespace's.
        port: Port of every worker.
        environment: Variables to read; None is this process's own.

    Returns:
        The content of `TF_CONFIG`.

    Raises:
        ValueError: If the host's name carries no index, or `JOB_COMPLETION_INDEX` says another one.

    >>> from_kubernetes(2, "train", environment={"HOSTNAME": "digits-1", "JOB_COMPLETION_INDEX": "1"})["task"]
    {'type': 'worker', 'index': 1}
    """
    variables = os.environ if environment is None else environment
    whole("from_kubernetes", "workers", workers, least=1)
    host = variables.get("HOSTNAME") or socket.gethostname()
    name, dash, ending = host.partition(".")[0].rpartition("-")
    index = variables.get("JOB_COMPLETION_INDEX", ending)
    with Refusals("from_kubernetes") as refusals:
        if not dash or not ending.isdecimal():
            fix = "Use a StatefulSet, or a Job with `completionMode: Indexed` and a `subdomain`."
            refusals.add("HOSTNAME", "must end in '-<index>'", host, fix)
        elif index != ending:
            rule = f"must be the index of the host {host!r}"
            refusals.add("JOB_COMPLETION_INDEX", rule, index, "Leave `hostname` out of the pod's template.")
        if not service:
            refusals.add("service", "must name the headless service", service)
    addresses = [f"{name}-{i}.{service}:{port}" for i in range(workers)]
    return check_cluster({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": int(index)}}).config
