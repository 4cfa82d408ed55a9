"""TF_CONFIG from hosts, SLURM and Kubernetes."""

import re

import pytest
from tensorflow.python.distribute.cluster_resolver import slurm_cluster_resolver

from kmtl.distribution import check_cluster, from_hosts, from_kubernetes, from_slurm
from kmtl.distribution.tf_config import expand_nodes


def slurm(nodes="n[9-10]", tasks="2(x2)", rank="0", **others):
    return {
        "SLURM_PROCID": rank,
        "SLURM_STEP_NODELIST": nodes,
        "SLURM_STEP_TASKS_PER_NODE": tasks,
        "SLURM_JOB_ID": "71",
        **others,
    }


def test_hosts_keep_their_order_and_ports():
    made = from_hosts(["b", "a:3333", "[fe80::1]", "[fe80::2]:1"], rank=2, port=4444)
    assert made["cluster"]["worker"] == ["b:4444", "a:3333", "[fe80::1]:4444", "[fe80::2]:1"]
    assert check_cluster(made).rank == 2


@pytest.mark.parametrize(
    ("hosts", "rank", "said"),
    [
        ("a:1", 0, "must be a list of hosts"),
        (["a", "a"], 0, r"`cluster.worker\[1\]` must be an address of its own"),
        (["a"], 1, "`task.index` must be from 0 to 0"),
        (["a"], None, "`task.index` must say which one"),
        ([], 0, "at least one"),
    ],
)
def test_wrong_hosts_are_refused(hosts, rank, said):
    with pytest.raises(ValueError, match=said):
        from_hosts(hosts, rank)


def test_slurm_counts_tasks_in_the_order_of_the_nodes():
    made = [check_cluster(from_slurm(environment=slurm(rank=str(rank)))) for rank in range(4)]
    assert len({cluster.addresses for cluster in made}) == 1
    assert [cluster.addresses[cluster.rank].partition(":")[0] for cluster in made] == ["n9", "n9", "n10", "n10"]
    assert len(set(made[0].addresses)) == 4


def test_slurm_nodes_with_unlike_numbers_of_tasks():
    made = from_slurm(port=100, environment=slurm("a,b[1-2]", "1,3,1", "4"))
    assert made["cluster"]["worker"] == ["a:100", "b1:100", "b1:101", "b1:102", "b2:100"]
    assert made["task"]["index"] == 4


def test_slurm_jobs_on_one_node_do_not_share_ports():
    ports = set()
    for job in range(500, 520):
        addresses = from_slurm(environment=slurm("n1", "8", SLURM_JOB_ID=str(job)))["cluster"]["worker"]
        ports |= {address.partition(":")[2] for address in addresses}
    assert len(ports) == 20 * 8


@pytest.mark.parametrize("nodes", ["n1", "n[1-3]", "n[08-11],m5", "a,b[3],c[1-2,7-9]", "node-a[001-002]"])
def test_nodes_are_what_tensorflow_reads_where_it_can(nodes):
    assert expand_nodes(nodes) == slurm_cluster_resolver.expand_hostlist(nodes)


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"SLURM_PROCID": "0"}, "`SLURM_STEP_NODELIST` must be set, got nothing. Start every worker by `srun`"),
        (slurm(SLURM_DISTRIBUTION="cyclic"), "`SLURM_DISTRIBUTION` must be 'block', got 'cyclic'"),
        (slurm(tasks="2"), "`SLURM_STEP_TASKS_PER_NODE` must give a number for each of 2 nodes"),
        (slurm(tasks="2(x2"), "`SLURM_STEP_TASKS_PER_NODE` must be a list"),
        (slurm(nodes="n[1-2"), "`SLURM_STEP_NODELIST` must be a list"),
        (slurm(nodes="n[1-b]"), "`SLURM_STEP_NODELIST` must hold ranges"),
        (slurm(rank="4"), "`task.index` must be from 0 to 3, got 4"),
        (slurm(rank="x"), "`task.index` must be a whole number, got 'x'"),
    ],
)
def test_wrong_slurm_variables_are_refused(variables, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        from_slurm(environment=variables)


@pytest.mark.parametrize("completion", [{}, {"JOB_COMPLETION_INDEX": "2"}])
def test_pods_find_their_index(completion):
    made = from_kubernetes(3, "digits", environment={"HOSTNAME": "multi-task-2.digits.lab.svc", **completion})
    assert made["cluster"]["worker"] == [f"multi-task-{index}.digits:2222" for index in range(3)]
    assert check_cluster(made).rank == 2


@pytest.mark.parametrize(
    ("workers", "variables", "said"),
    [
        (2, {"HOSTNAME": "trainer"}, "`HOSTNAME` must end in '-<index>', got 'trainer'"),
        (2, {"HOSTNAME": "trainer-7d9fx"}, "`HOSTNAME` must end in '-<index>', got 'trainer-7d9fx'"),
        (2, {"HOSTNAME": "t-1", "JOB_COMPLETION_INDEX": "0"}, "`JOB_COMPLETION_INDEX` must be the index of the host"),
        (2, {"HOSTNAME": "t-2"}, "`task.index` must be from 0 to 1, got 2"),
        (0, {"HOSTNAME": "t-0"}, "`workers` must be a whole number of at least 1"),
    ],
)
def test_wrong_pods_are_refused(workers, variables, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        from_kubernetes(workers, "digits", environment=variables)
