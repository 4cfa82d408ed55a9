"""A process of its own for one side of the balancer benchmark, driven by one JSON line a command.

The sides do not share a process, so that neither library's threads, allocator or imports weigh on the other; the
driver runs them in turn. Commands: `build` a row, `run` so many steps of it, tell the `peak` of memory.
"""

import contextlib
import importlib
import json
import os
import pathlib
import subprocess
import sys
import time

SIDES = {"keras": "keras_steps", "torch": "peer_steps"}
# Freed memory stays in the process. With glibc's default a large tensor is mapped and unmapped every time, which costs
# PyTorch up to a third of a step and Keras nothing.
KEPT = {
    "MALLOC_MMAP_THRESHOLD_": "8000000000",
    "MALLOC_TRIM_THRESHOLD_": "16000000000",
    "MALLOC_TOP_PAD_": "1000000000",
}


class Worker:
    """The driver's end."""

    def __init__(self, side, threads, kept):
        environment = {
            **os.environ,
            **(KEPT if kept else {}),
            # What PyTorch has of its own, docs/speed.md.
            "TF_ENABLE_ONEDNN_OPTS": os.environ.get("TF_ENABLE_ONEDNN_OPTS", "1"),
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "CUDA_VISIBLE_DEVICES": "-1",
        }
        command = [sys.executable, str(pathlib.Path(__file__).resolve()), side, str(threads)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(command, env=environment, text=True, **pipes)
        self.facts = self._answer()

    def ask(self, **command):
        """Sends a command and waits for its answer; a failure of the row comes back as `error`."""
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(command) + "\n")
            self.process.stdin.flush()
        return self._answer()

    def _answer(self):
        line = self.process.stdout.readline()
        return json.loads(line) if line else {"error": "the process ended"}

    def close(self):
        """Ends the process."""
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def memory(field):
    """Megabytes of `VmRSS` (now) or `VmHWM` (peak)."""
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    return float("nan")


class Server:
    """The worker's end."""

    def __init__(self, side, threads):
        self.module = importlib.import_module(SIDES[side])
        self.module.start(threads)
        self.built, self.idle = {}, float("nan")

    def build(self, key, model, count, row):
        """Makes a row; what it imports belongs to the idle process."""
        self.module.ready(row)
        self.idle = self.idle if self.built else memory("VmRSS")
        self.built[key] = self.module.build(model, count, row)
        return {}

    def run(self, key, steps):
        """CPU (all threads) and wall seconds of so many steps."""
        cpu, wall = time.process_time(), time.perf_counter()
        self.built[key].run(steps)
        return {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}

    def peak(self):
        """Megabytes above the idle process, at the worst moment until now."""
        return {"peak": memory("VmHWM") - self.idle}

    def answer(self, line):
        """The answer to one command."""
        command = json.loads(line)
        try:
            return getattr(self, command.pop("do"))(**command)
        except Exception as error:  # noqa: BLE001 - whatever a row does wrong is one line of the report
            text = str(error).strip().splitlines() or [""]
            return {"error": f"{type(error).__name__}: {text[0][:160]}"}


def serve():
    """Answers until the driver hangs up."""
    side, threads = sys.argv[1], int(sys.argv[2])
    # What libraries print must not reach the driver.
    with os.fdopen(os.dup(1), "w") as answers, contextlib.redirect_stdout(sys.stderr):
        server = Server(side, threads)
        print(json.dumps(server.module.facts()), file=answers, flush=True)
        for line in sys.stdin:
            print(json.dumps(server.answer(line)), file=answers, flush=True)


if __name__ == "__main__":
    serve()
