"""Every private name of KerasTuner's that kmtl builds on; `tests/search/test_keras_tuner_private.py` watches them.

What they are for: trials that a kill does not lose, a chief that survives its workers, halving of a size of its own.
"""

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from kmtl import _extras

_OWNER = "weights"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hides warnings that are of KerasTuner's own making."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "currentThread|getName", DeprecationWarning)
        yield


def write_whole(oracle: Any, write: Callable[[Path, Any], None]) -> None:
    """Has an oracle write its files whole: KerasTuner leaves half of one if it is killed in the middle.

    Args:
        oracle: What proposes trials.
        write: Writes JSON whole or not at all.
    """

    def save_trial(trial: Any) -> None:
        write(Path(oracle._get_trial_dir(trial.trial_id)) / "trial.json", trial.get_state())

    oracle.save = lambda: write(Path(oracle._get_oracle_fname()), oracle.get_state())
    oracle._save_trial = save_trial


def settle(oracle: Any) -> None:
    """Takes trials off the queue that ended in the moment of the kill: only those that were running run again."""
    ended = {name for name, trial in oracle.trials.items() if trial.status in ("COMPLETED", "FAILED")}
    oracle.end_order += [name for name in oracle._retry_queue if name in ended]
    oracle._retry_queue = [name for name in oracle._retry_queue if name not in ended]


def waiting(oracle: Any) -> list[str]:
    """The trials that were running when the search ended before."""
    return list(oracle._retry_queue)


def queue_again(oracle: Any, trial: Any) -> None:
    """Queues a trial for another worker."""
    oracle._retry_queue.append(trial.trial_id)


def end_failed(oracle: Any, trial: Any, message: str) -> None:
    """Ends a trial as failed."""
    trial.status, trial.message = "FAILED", message
    oracle.end_order.append(trial.trial_id)
    oracle._save_trial(trial)


def is_best_epoch_callback(callback: Any) -> bool:
    """Whether a callback is the one by which KerasTuner keeps the weights of every epoch."""
    return type(callback).__name__ == "SaveBestEpoch"


def messages() -> Any:
    """The messages between chief and workers."""
    return _extras.load("keras_tuner.src.protos", _OWNER).get_service()


def servicer(oracle: Any) -> Any:
    """What answers workers for an oracle."""
    return _extras.load("keras_tuner.src.distribute.oracle_chief", _OWNER).OracleServicer(oracle)


def add_servicer(chief: Any, server: Any) -> None:
    """Has a server of grpc's answer workers by a chief."""
    _extras.load("keras_tuner.src.protos", _OWNER).get_service_grpc().add_OracleServicer_to_server(chief, server)


@contextlib.contextmanager
def patience_of_workers(seconds: float) -> Iterator[None]:
    """Has workers wait so long for their chief; KerasTuner's wait an hour for one that is not there."""
    client: Any = _extras.load("keras_tuner.src.distribute.oracle_client", _OWNER)
    before, client.TIMEOUT = client.TIMEOUT, seconds
    try:
        yield
    finally:
        client.TIMEOUT = before


def halving_oracle(keras_tuner: Any, objective: Any, rungs: Sequence[tuple[int, int]], **options: Any) -> Any:
    """Makes an oracle that is one bracket of Hyperband's with rungs of its own.

    Args:
        keras_tuner: The package.
        objective: As of every oracle.
        rungs: How many trials are trained up to which epoch.
        **options: As of Hyperband's oracle.
    """

    class HalvingOracle(keras_tuner.oracles.HyperbandOracle):
        def _get_num_brackets(self) -> int:
            return len(rungs)

        def _get_size(self, _: int, round_num: int) -> int:
            return rungs[round_num][0]

        def _get_epochs(self, _: int, round_num: int) -> int:
            return rungs[round_num][1]

    oracle = HalvingOracle(objective, max_epochs=rungs[-1][1], **options)
    # No other bracket follows.
    oracle._current_bracket = 0
    return oracle
