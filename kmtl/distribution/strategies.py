"""The strategy that a model is made and trained under: one device, many, or many machines."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from kmtl._checks import Refusals, is_number, is_whole, near, refusal, whole, words
from kmtl.distribution._tensorflow_private import has_started
from kmtl.distribution.clusters import Cluster, check_cluster, is_configured
from kmtl.distribution.failures import worker_failure
from kmtl.distribution.joining import join
from kmtl.feeding import register_explanation

_KINDS = ("auto", "mirrored", "multi_worker")
_OWNER = "strategy"
# TensorFlow allows one of each kind a process: a second set of devices breaks the collectives of the first.
_made: dict[str, tuple[Any, Any]] = {}


def strategy(
    kind: str | None = "auto",
    *,
    devices: Sequence[str] | None = None,
    cluster: Cluster | Mapping[str, Any] | str | None = None,
    timeout: float = 120.0,
    health_check: float = 30.0,
    bytes_per_pack: int = 4 * 2**20,
) -> Any:
    """Returns the `tf.distribute.Strategy` to build, compile and load a model under.

    `"mirrored"` copies the model to each device of this machine. `"multi_worker"` does so over machines: every
    one runs the same program, with `TF_CONFIG` set (`from_hosts`, `from_slurm` and `from_kubernetes` make it).
    `"auto"` takes the second if the cluster has more than one worker, else the first if this machine has more than
    one GPU, else none. None is the strategy that is in scope, which is TensorFlow's own without any.

    Workers first meet on the ports of the cluster; what is wrong with it is told then, on each of them that can
    know it, instead of a wait without end. While they train, one that dies stops the others: within seconds where
    TensorFlow sees its connection break, and about `health_check` seconds later where it does not. The signal
    SIGTERM keeps its meaning, which TensorFlow takes away.

    Asked again for the same, it returns the same object.

    Args:
        kind: `"auto"`, `"mirrored"`, `"multi_worker"` or None.
        devices: For `"mirrored"`: names such as `["GPU:0", "GPU:1"]`; None takes all GPUs, or all logical CPUs.
        cluster: For `"multi_worker"`: a cluster, or the content of `TF_CONFIG`; None reads the environment.
        timeout: Seconds that workers wait for each other at the start, at least 1.
        health_check: Seconds without a sign of life after which a worker counts as dead, at least 2. The others stop
            up to 8 seconds later (measured).
        bytes_per_pack: Gradients cross in packs of about this size, so that the copy that TensorFlow makes stays
            small; 0 packs all at once. It is also an attribute of the strategy.

    Returns:
        The strategy; use it as `with strategy.scope():`.

    Raises:
        ValueError: If an argument or `TF_CONFIG` is not valid, parameter servers are asked for, Keras's own
            distribution is set, or another strategy of this kind was made in this process. All offenders at once.
        RuntimeError: If TensorFlow has started already, or the workers do not fit each other.
        TimeoutError: If not all workers are there in time; it names them.
        OSError: If this worker's port cannot be opened.

    >>> with strategy(None).scope():
    ...     model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    """
    _check(kind, devices, cluster, {"timeout": (timeout, 1.0), "health_check": (health_check, 2.0)}, bytes_per_pack)
    found = _cluster(kind, cluster)
    if found and (kind == "multi_worker" or len(found.addresses) > 1):
        return _multi_worker(found, timeout, health_check, bytes_per_pack)
    if kind == "mirrored" or devices or (kind == "auto" and len(tf.config.list_physical_devices("GPU")) > 1):
        return _mirrored_strategy(devices, bytes_per_pack)
    return tf.distribute.get_strategy()


def logical_devices(number: int) -> list[str]:
    """Splits this machine's CPU into logical devices, to try many replicas where there is one.

    Args:
        number: How many, at least 1.

    Returns:
        Their names.

    Raises:
        ValueError: If the number is not valid.
        RuntimeError: If TensorFlow has started already with another number.

    >>> logical_devices(len(tf.config.list_logical_devices("CPU")))
    ['CPU:0'...]
    """
    whole("logical_devices", "number", number, least=1)
    names = [f"CPU:{index}" for index in range(number)]
    if has_started() and len(tf.config.list_logical_devices("CPU")) == number:
        return names
    cpu = tf.config.list_physical_devices("CPU")[0]
    try:
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * number)
    except RuntimeError as error:
        rule = "must be set before TensorFlow has made its devices"
        fix = "Call it before any tensor, layer or strategy is made."
        raise RuntimeError(refusal("logical_devices", "number", rule, number, fix)) from error
    return names


def _check(kind: Any, devices: Any, cluster: Any, seconds: Mapping[str, tuple[Any, float]], pack: Any) -> None:
    """Records all that is wrong with the arguments alone."""
    with Refusals(_OWNER) as refusals:
        if kind is not None and kind not in _KINDS:
            refusals.add("kind", "must be a known strategy or None", kind, near(str(kind), _KINDS))
        _check_fit(refusals, kind, devices, cluster)
        for name, (value, least) in seconds.items():
            if not is_number(value) or value < least:
                refusals.add(name, f"must be a number of seconds of at least {least:g}", value)
        if not is_whole(pack) or pack < 0:
            refusals.add("bytes_per_pack", "must be a whole number of at least 0", pack)
        layout = keras.distribution.distribution()
        if kind is not None and layout is not None:
            fix = "Call `keras.distribution.set_distribution(None)`."
            refusals.add("keras.distribution", "does nothing on TensorFlow and must not be set", layout, fix)


def _check_fit(refusals: Refusals, kind: Any, devices: Any, cluster: Any) -> None:
    """Records devices and clusters where the strategy takes none."""
    if devices is not None and kind not in ("mirrored", "auto"):
        fix = "Choose a worker's GPUs by CUDA_VISIBLE_DEVICES." if kind == "multi_worker" else "Use 'mirrored'."
        refusals.add("devices", f"is not for {kind!r}", devices, fix)
    if devices is not None and (isinstance(devices, str) or not devices):
        refusals.add("devices", "must be a list of names such as 'GPU:0'", devices)
    if cluster is not None and kind not in ("multi_worker", "auto"):
        refusals.add("cluster", f"is not for {kind!r}", cluster, "Use 'multi_worker'.")


def _cluster(kind: str | None, cluster: Any) -> Cluster | None:
    """The cluster that is meant, checked; None where none is."""
    if kind not in ("multi_worker", "auto"):
        return None
    if isinstance(cluster, Cluster):
        return check_cluster(cluster.config)
    return check_cluster(cluster) if cluster is not None or kind == "multi_worker" or is_configured() else None


def _mirrored_strategy(devices: Sequence[str] | None, pack: int) -> Any:
    """One strategy over a machine's devices."""
    chosen = _devices(devices)
    if "mirrored" not in _made:
        _made["mirrored"] = chosen, tf.distribute.MirroredStrategy(chosen)
    first, made = _made["mirrored"]
    if first != chosen:
        rule = "must stay the same in one process: a second set of replicas breaks the first one's sums"
        fix = f"Use {first}, or another process."
        raise ValueError(refusal(_OWNER, "devices", rule, chosen, fix))
    made.bytes_per_pack = pack
    return made


def _devices(devices: Sequence[str] | None) -> list[str]:
    """Names of devices in one form, all of them there, none twice."""
    known = {kind: [_short(device.name) for device in tf.config.list_logical_devices(kind)] for kind in ("GPU", "CPU")}
    if devices is None:
        return known["GPU"] or known["CPU"]
    chosen = [_short(str(device)) for device in devices]
    with Refusals(_OWNER) as refusals:
        for given, name in zip(devices, chosen, strict=True):
            if name not in known["GPU"] + known["CPU"]:
                refusals.add(
                    "devices", "must name devices of this machine", given, near(name, [*known["GPU"], *known["CPU"]])
                )
            elif chosen.count(name) > 1:
                refusals.add("devices", "must name each device once", given)
        if len({name.partition(":")[0] for name in chosen}) > 1:
            refusals.add("devices", "must be of one kind", words(", ".join(chosen)), "A slow one holds up the others.")
    return chosen


def _short(name: str) -> str:
    """A device's name as 'GPU:0'."""
    return name.rpartition("/")[2].removeprefix("device:").upper()


def _multi_worker(cluster: Cluster, timeout: float, health_check: float, pack: int) -> Any:
    """One strategy over machines, once all are there."""
    if "multi_worker" not in _made:
        joined = join(cluster, timeout, health_check, pack)
        # `fit` asks what an error means that the strategy's collectives raise.
        _made["multi_worker"] = cluster, register_explanation(joined, lambda error: worker_failure(error, cluster))
    first, made = _made["multi_worker"]
    if first != cluster:
        rule = "must stay the same in one process"
        raise ValueError(refusal(_OWNER, "cluster", rule, cluster.config, f"This process is {first.name(first.rank)}."))
    made.bytes_per_pack = pack
    return made
