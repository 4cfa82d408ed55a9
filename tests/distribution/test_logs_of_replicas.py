"""Logs over two replicas are those of all examples, and not the mean of what each replica counted.

A process of its own, since devices are made once.
"""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from toys import compiled, examples, tasks

COUNT = 12
# Of the first six examples, which one replica sees, few carry a label.
HIDDEN = {"alive": [1, 2, 3, 4, 5], "age": [0, 2, 4]}
PROGRAM = """
import json
import kmtl
from distribution.test_logs_of_replicas import logs

kmtl.distribution.logical_devices(2)
with kmtl.distribution.strategy("mirrored").scope():
    print(json.dumps(logs()))
"""


def logs():
    """What a training on one batch whose halves are labelled unlike tells, within the epoch and at its end."""
    x, labels = examples(COUNT)
    for name, rows in HIDDEN.items():
        labels[name][rows] = np.nan if labels[name].dtype.kind == "f" else -1
    within = []
    watch = keras.callbacks.LambdaCallback(on_train_batch_end=lambda _, logs: within.append(dict(logs)))
    model = compiled([task for task in tasks() if task.name in HIDDEN])
    given = {name: labels[name] for name in HIDDEN}
    history = model.fit(x, given, batch_size=COUNT, shuffle=False, verbose=0, callbacks=[watch]).history
    found = {f"within {key}": float(value) for key, value in within[0].items()}
    return {**found, **{key: float(values[0]) for key, values in history.items()}}


@pytest.mark.long
def test_two_replicas_log_what_one_device_logs():
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    code = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(code, capture_output=True, text=True, timeout=300, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout.splitlines()[-1]) == pytest.approx(logs(), rel=1e-5)
