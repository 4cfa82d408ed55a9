"""What all tests share: one seed, and the table of kinds as fixtures."""

import os
import signal
import zlib

import keras
import pytest
import tensorflow as tf
from kinds import KINDS, Kind

# A shell starts what runs in the background with Ctrl-C ignored; what the tests start would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# Workers are as many as cores: a pool of threads in each of them only waits for the others.
if "PYTEST_XDIST_WORKER" in os.environ:
    tf.config.threading.set_intra_op_parallelism_threads(1)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Keeps a file's tests together in a parallel run, so that what they share is made once."""
    from xdist.scheduler import LoadFileScheduling

    return LoadFileScheduling(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Lets `sampled(n)` tests run n of their cases, the same every time; the others are slow."""
    tables = {}
    for item in items:
        if item.get_closest_marker("sampled") and not item.get_closest_marker("slow"):
            tables.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for cases in tables.values():
        (number,) = cases[0].get_closest_marker("sampled").args
        # In an order that no table is laid out by, so that a step of the table is no blind spot.
        for item in sorted(cases, key=lambda case: zlib.crc32(case.nodeid.encode()))[number:]:
            item.add_marker(pytest.mark.slow)


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


@pytest.fixture(autouse=True)
def _seeded():
    """The same random numbers in every run, whatever ran before."""
    keras.utils.set_random_seed(0)
