"""The PyTorch side of the balancer benchmark: plain autograd, LibMTL's step and TorchJD's step, on the CPU.

LibMTL is read from a checkout: its PyPI wheel lacks half of the methods. Its trainer wants a GPU and a graph library,
so its classes are put together here as its trainer does, without its metrics, and two functions that newer PyTorch and
NumPy dropped are given back. Its hyper-parameters are the defaults of its `config.py`.
"""

import importlib.metadata
import importlib.util
import pathlib
import sys
import types

import numpy as np
import torch
from balancer_shapes import CLASSES, SHAPES, STAGES, arrays, task_names
from torch import nn

LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def start(threads):
    """One-time settings of the process."""
    torch.set_num_threads(threads)
    torch.set_num_interop_threads(threads)
    torch.manual_seed(0)
    tiny = nn.Linear(1, 1)
    optimizer = torch.optim.Adam(tiny.parameters())
    tiny(torch.zeros(2, 1)).sum().backward()
    optimizer.step()


def ready(row):
    """Imports what a row needs."""
    if row["kind"] == "libmtl":
        libmtl(row["path"])
    elif row["kind"] != "plain":
        importlib.import_module("torchjd.autojac")
        importlib.import_module("torchjd.scalarization")


def facts():
    """Versions, and whether TorchJD is there."""
    has_torchjd = importlib.util.find_spec("torchjd") is not None
    found = {"TorchJD": importlib.metadata.version("torchjd")} if has_torchjd else {}
    return {"versions": {"PyTorch": torch.__version__, **found}, "torchjd": has_torchjd}


# The models.


def _lenet():
    stages = [nn.Conv2d(1, 16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)]
    stages += [nn.Conv2d(16, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*stages, nn.Flatten(), nn.Linear(32 * 7 * 7, 64), nn.ReLU())


def _normalised(before, channels, size, stride):
    convolution = nn.Conv2d(before, channels, size, stride, padding=size // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(channels))


class _Block(nn.Module):
    """Two normalised convolutions beside a shortcut."""

    def __init__(self, before, channels, stride):
        super().__init__()
        straight = stride == 1 and before == channels
        self.shortcut = nn.Identity() if straight else _normalised(before, channels, 1, stride)
        first, second = _normalised(before, channels, 3, stride), _normalised(channels, channels, 3, 1)
        self.inner = nn.Sequential(first, nn.ReLU(), second)

    def forward(self, x):
        return torch.relu(self.inner(x) + self.shortcut(x))


def _resnet():
    before = STAGES[0][0]
    stages = [_normalised(SHAPES["resnet"][-1], before, 3, 2), nn.ReLU()]
    for channels, stride in STAGES:
        stages += [_Block(before, channels, stride), _Block(channels, channels, 1)]
        before = channels
    return nn.Sequential(*stages, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def trunk(model):
    return {"lenet": _lenet, "resnet": _resnet}[model]()


WIDTHS = {"lenet": 64, "resnet": STAGES[-1][0]}


class Peer:
    """A trunk, separate heads, their data, and a step that a subclass fills."""

    def __init__(self, model, count, row):
        torch.manual_seed(0)
        self.count, self.row = count, row
        self.trunk = trunk(model)
        self.heads = nn.ModuleDict({name: nn.Linear(WIDTHS[model], CLASSES) for name in task_names(count)})
        layout = LAYOUTS[row["layout"]]
        images, labels = arrays(model, count)
        self.batches = [self._batch(*pair, layout) for pair in zip(images, labels, strict=True)]
        self.own = self.prepare() or []
        weights = [*self.trunk.parameters(), *self.heads.parameters(), *self.own]
        self.optimizer = torch.optim.Adam(weights, lr=1e-3)

    def _batch(self, images, labels, layout):
        columns = [torch.from_numpy(labels[:, place].astype("int64")) for place in range(self.count)]
        return torch.from_numpy(images.transpose(0, 3, 1, 2).copy()).to(memory_format=layout), columns

    def prepare(self):
        """Makes the method's state; what it returns is trained with the weights."""

    def run(self, steps):
        """So many steps."""
        for turn in range(steps):
            self.step(*self.batches[turn % len(self.batches)])

    def options(self):
        """The method's options; `"K"` stands for the number of tasks."""
        return {key: self.count if value == "K" else value for key, value in self.row["options"].items()}

    def losses(self, features, labels):
        """Mean cross-entropy of each task."""
        pairs = zip(self.heads.values(), labels, strict=True)
        return [nn.functional.cross_entropy(head(features), column) for head, column in pairs]

    def step(self, images, labels):
        """Plain autograd on the sum of the losses."""
        self.optimizer.zero_grad()
        sum(self.losses(self.trunk(images), labels)).backward()
        self.optimizer.step()


class Jacobian(Peer):
    """TorchJD's Jacobian descent; one gradient at a time, its fastest way on a CPU."""

    def prepare(self):
        """Makes the aggregator."""
        aggregation = importlib.import_module("torchjd.aggregation")
        self.autojac = importlib.import_module("torchjd.autojac")
        self.aggregator = getattr(aggregation, self.row["name"])(**self.options())

    def step(self, images, labels):
        """Jacobian of the trunk, gradients of the heads, the aggregated direction."""
        self.optimizer.zero_grad()
        features = self.trunk(images)
        shared = list(self.trunk.parameters())
        self.autojac.mtl_backward(self.losses(features, labels), features=features, parallel_chunk_size=1)
        self.autojac.jac_to_grad(shared, self.aggregator)
        self.optimizer.step()


class Scalarized(Peer):
    """TorchJD's weighing of losses."""

    def prepare(self):
        """Makes the scalarizer."""
        scalarization = importlib.import_module("torchjd.scalarization")
        self.scalarizer = getattr(scalarization, self.row["name"])(**self.options())
        # FAMO's logits are its own to train.
        return [] if hasattr(self.scalarizer, "update") else list(self.scalarizer.parameters())

    def step(self, images, labels):
        """One backward of the scalar; FAMO looks at the losses again."""
        self.optimizer.zero_grad()
        self.scalarizer(torch.stack(self.losses(self.trunk(images), labels))).backward()
        self.optimizer.step()
        if hasattr(self.scalarizer, "update"):
            with torch.no_grad():
                self.scalarizer.update(torch.stack(self.losses(self.trunk(images), labels)))


def libmtl(path):
    """Makes LibMTL's weightings importable without its trainer."""
    if "LibMTL" not in sys.modules:
        for name, folder in (("LibMTL", "LibMTL"), ("LibMTL.architecture", "LibMTL/architecture")):
            package = types.ModuleType(name)
            package.__path__ = [str(pathlib.Path(path) / folder)]
            sys.modules[name] = package
        torch.symeig = lambda matrix, eigenvectors: torch.linalg.eigh(matrix)  # noqa: ARG005 - the old signature
        vars(np)["alltrue"] = np.all
    return importlib.import_module("LibMTL.weighting"), importlib.import_module("LibMTL.architecture.HPS").HPS


class LibMTL(Peer):
    """LibMTL's step: the losses written into one vector, then the weighting's own `backward`."""

    # Epoch that the weighting believes to be in: behind every warm-up.
    EPOCH = 5

    def prepare(self):
        """Puts architecture and weighting together and leaves its warm-up behind."""
        weightings, sharing = libmtl(self.row["path"])
        weighting = getattr(weightings, self.row["name"])
        joined = type("Joined", (sharing, weighting), {})
        names, by_feature = list(self.heads), self.row.get("level") == "features"
        self.joined = joined(names, lambda: self.trunk, self.heads, by_feature, False, torch.device("cpu"))
        self.joined.init_param()
        self.joined.epoch, self.joined.epochs = self.EPOCH, self.EPOCH + 1
        self.joined.train_loss_buffer = np.full((self.count, self.EPOCH + 1), np.log(CLASSES))
        if self.row["name"] == "STCH":
            self.joined.nadir_vector = torch.full((self.count,), float(np.log(CLASSES)))
        self.samples = 3 if self.row["name"] in ("MoDo", "SDMGrad") else 1
        networks = {id(weight) for weight in [*self.trunk.parameters(), *self.heads.parameters()]}
        return [weight for weight in self.joined.parameters() if id(weight) not in networks]

    def vector(self, images, labels):
        """The tasks' losses as the trainer holds them."""
        outputs = self.joined(images)
        losses = torch.zeros(self.count)
        for place, (name, column) in enumerate(zip(self.heads, labels, strict=True)):
            losses[place] = nn.functional.cross_entropy(outputs[name], column)
        return losses

    def step(self, images, labels):
        """What the trainer does with a batch."""
        losses = torch.stack([self.vector(images, labels) for _ in range(self.samples)]).squeeze(0)
        self.optimizer.zero_grad(set_to_none=False)
        self.joined.backward(losses, **self.options())
        self.optimizer.step()
        if self.row["name"] == "FAMO":
            with torch.no_grad():
                self.joined.update_w(self.vector(images, labels))


KINDS = {"plain": Peer, "jacobian": Jacobian, "scalarized": Scalarized, "libmtl": LibMTL}


def build(model, count, row):
    """Makes what a row of the table trains: an object with `run(steps)`."""
    return KINDS[row["kind"]](model, count, row)
