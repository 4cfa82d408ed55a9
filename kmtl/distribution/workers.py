"""One process a worker: started, read line by line, waited for, stopped."""

import collections
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from kmtl.distribution.clusters import Cluster

_KEPT_LINES = 20
_DIE_WITH_PARENT = str(Path(__file__).with_name("die_with_parent.py"))


class Worker:
    """A running worker, in a process group of its own, whose lines come out with its name before them.

    Args:
        command: Program and arguments.
        cluster: The cluster, as this worker sees it.
        environment: All of its variables but `TF_CONFIG`.
    """

    def __init__(self, command: Sequence[str], cluster: Cluster, environment: Mapping[str, str]) -> None:
        self.rank = cluster.rank
        self.errors: collections.deque[str] = collections.deque(maxlen=_KEPT_LINES)
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", _DIE_WITH_PARENT, str(os.getpid()), *command],
            env={**environment, "TF_CONFIG": json.dumps(cluster.config)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        pipes = ((self.process.stdout, sys.stdout), (self.process.stderr, sys.stderr))
        self.readers = [threading.Thread(target=self._copy, args=pipe, daemon=True) for pipe in pipes]
        for reader in self.readers:
            reader.start()

    @property
    def code(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        return self.process.poll()

    @property
    def end(self) -> str:
        """How it ended, in words."""
        code = self.code or 0
        return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"

    def stop(self, kind: signal.Signals) -> None:
        """Sends a signal to its whole group, which outlives it where it has started others."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, kind)

    def finish(self) -> None:
        """Waits for its end and for its last lines."""
        self.process.wait()
        for reader in self.readers:
            reader.join(timeout=5.0)

    def _copy(self, source: IO[str], target: IO[str]) -> None:
        """Copies lines to this program's output."""
        with source:
            for line in source:
                text = line.rstrip("\n")
                if target is sys.stderr:
                    self.errors.append(text)
                # One write a line keeps the lines of two workers apart.
                target.write(f"[worker {self.rank}] {text}\n")
                target.flush()
