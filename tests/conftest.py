"""How the suite is run, what its processes share, one seed, and the table of kinds as fixtures."""

import fcntl
import gc
import os
import pathlib
import signal
import sys

import keras
import pytest
import tensorflow as tf
from kinds import KINDS, Kind

from kmtl.data.built_in.preparing import SHIPPED, prepare

# A shell starts what runs in the background with Ctrl-C ignored; what the tests start would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# Workers are as many as cores: a pool of threads in each of them, or in what they start, only waits for the others.
if "PYTEST_XDIST_WORKER" in os.environ:
    tf.config.threading.set_intra_op_parallelism_threads(1)
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")

# What the tests start reads `sitecustomize` there, whether it is told the environment's paths or this process's.
_PROCESSES = str(pathlib.Path(__file__).parent / "processes")
if _PROCESSES not in sys.path:
    sys.path.append(_PROCESSES)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (_PROCESSES, os.environ.get("PYTHONPATH"))))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Keeps a file's tests together in a parallel run, so that what they share is made once; dear files come first."""
    from xdist.scheduler import LoadFileScheduling

    config.option.loadscopereorder = False
    return LoadFileScheduling(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Puts the files with long tests first, so that no core waits for one; sees that CI runs every function."""
    if not any("::" in argument for argument in config.args):
        _check_every_function_runs(items)
    long = {item.path for item in items if item.get_closest_marker("long")}
    items.sort(key=lambda item: item.path not in long)


def pytest_collection_finish(session):
    """Leaves what the imports made out of later collections: Keras and KerasTuner collect for each model they clear."""
    del session
    gc.collect()
    gc.freeze()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item, nextitem):
    """The same of what the tests of a file leave behind: in a worker that saw a hundred files, millions of objects."""
    if nextitem is None or nextitem.path != item.path:
        gc.collect()
        gc.freeze()


def _check_every_function_runs(items):
    """Refuses a test function all of whose cases are `slow`: nobody would ever run it."""
    runs = {}
    for item in items:
        name = item.nodeid.partition("[")[0]
        runs[name] = runs.get(name, False) or item.get_closest_marker("slow") is None
    idle = [name for name, run in runs.items() if not run]
    if idle:
        raise pytest.UsageError("Every test function needs a case that is not `slow`: " + ", ".join(idle))


@pytest.fixture(scope="session")
def kinds() -> dict[str, Kind]:
    """All kinds of task."""
    return KINDS


@pytest.fixture(params=KINDS)
def kind(request) -> Kind:
    """One kind of task after another."""
    return KINDS[request.param]


@pytest.fixture(params=KINDS)
def kind_name(request) -> str:
    """The name of one kind after another."""
    return request.param


@pytest.fixture(scope="session")
def once(tmp_path_factory):
    """Makes a file or folder for all processes of a parallel run: `once(name, make)`; who comes later waits."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def path(name, make):
        with (base / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (base / name).exists():
                make(base / f"making-{name}")
                (base / f"making-{name}").rename(base / name)
        return base / name

    return path


@pytest.fixture(scope="session")
def prepared(once):
    """A directory in which the sets that kmtl ships are prepared."""
    return once("prepared", lambda path: [prepare(name, path) for name in SHIPPED])


@pytest.fixture(autouse=True)
def _seeded():
    """The same random numbers in every run, whatever ran before."""
    keras.utils.set_random_seed(0)
