"""The two models and the data of the balancer benchmark, the same for Keras and PyTorch."""

import hashlib

import numpy as np

CLASSES = 10
SHAPES = {"lenet": (28, 28, 1), "resnet": (64, 64, 3)}
BATCHES = {"lenet": 256, "resnet": 64}
# (channels, stride of the first block) of the stages of the small ResNet, two blocks each.
STAGES = ((32, 1), (64, 2), (128, 2))
# Two batches in turn, so that no step sees the loss of the step before on the same data.
DATA = 2


def task_names(count):
    return [f"task{place:02d}" for place in range(count)]


def arrays(model, count):
    """Random images `(2, batch, ...)` and class labels `(2, batch, K)`."""
    seed = int(hashlib.sha256(f"{model} {count}".encode()).hexdigest()[:8], 16)
    random = np.random.default_rng(seed)
    images = random.random((DATA, BATCHES[model], *SHAPES[model]), dtype="float32")
    return images, random.integers(0, CLASSES, (DATA, BATCHES[model], count)).astype("int32")
