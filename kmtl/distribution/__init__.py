"""Many devices and many machines: strategies, clusters, workers for trying out, and what their deaths tell."""

from kmtl.distribution.clusters import Cluster, check_cluster
from kmtl.distribution.costs import Sizes, StepCost, cost
from kmtl.distribution.failures import worker_failure
from kmtl.distribution.launching import launch
from kmtl.distribution.strategies import logical_devices, strategy
from kmtl.distribution.tf_config import from_hosts, from_kubernetes, from_slurm

__all__ = [
    "Cluster",
    "Sizes",
    "StepCost",
    "check_cluster",
    "cost",
    "from_hosts",
    "from_kubernetes",
    "from_slurm",
    "launch",
    "logical_devices",
    "strategy",
    "worker_failure",
]
