"""What a folder of shards says about itself: a small JSON file beside the shards."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kmtl._checks import Refusals, refusal, words

FILE = "manifest.json"
FORMATS = ("tfrecord", "array_record")
# What an input may be made of: what TensorFlow decodes from raw bytes, and text.
_WHOLE = {"bool", "int8", "int16", "int32", "int64", "uint8", "uint16"}
DTYPES = frozenset(_WHOLE | {"float16", "bfloat16", "float32", "string"})
_VERSION = 1
_RESTORE = "Restore the file, or write the shards again."


@dataclass(frozen=True)
class Spec:
    """Dtype and shape of one part of an example; text and encoded images are `"string"`."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Shard:
    """One file: its name, how many examples it holds, and its size in bytes."""

    file: str
    examples: int
    bytes: int


@dataclass(frozen=True)
class Manifest:
    """What shards hold.

    Attributes:
        format: One of `FORMATS`.
        inputs: Spec of each input by name; that of a single unnamed input is "".
        labels: Spec of each task's label by name.
        weights: Tasks that have sample weights.
        shards: The files. Example `i` is record `i // len(shards)` of shard `i % len(shards)`.
    """

    format: str
    inputs: Mapping[str, Spec]
    labels: Mapping[str, Spec]
    weights: tuple[str, ...]
    shards: tuple[Shard, ...]

    @property
    def examples(self) -> int:
        """Number of examples of all shards."""
        return sum(shard.examples for shard in self.shards)

    @property
    def bytes(self) -> int:
        """Size of all shards."""
        return sum(shard.bytes for shard in self.shards)

    def write(self, directory: Path) -> None:
        """Writes the manifest into a folder."""
        content = {"kmtl_shards": _VERSION, "examples": self.examples, "bytes": self.bytes, **asdict(self)}
        (directory / FILE).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read_manifest(owner: str, directory: Path) -> Manifest:
    """Reads the manifest of a folder, or refuses one that is absent, damaged, or of a later kmtl.

    Raises:
        ValueError: With the reason.
    """
    path = directory / FILE
    if not path.is_file():
        rule = f"must be a folder with a {FILE}, as write_shards makes it"
        raise ValueError(refusal(owner, "directory", rule, str(directory), _absence(directory)))
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version = int(content["kmtl_shards"])
        manifest = _manifest(content) if version <= _VERSION else None
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        got = words(f"{type(error).__name__}: {error}")
        raise ValueError(refusal(owner, "directory", f"must hold a whole {FILE}", got, _RESTORE)) from error
    if manifest is None:
        rule = f"must hold shards of version {_VERSION} or older"
        raise ValueError(refusal(owner, "directory", rule, version, "A later kmtl wrote them: update this one."))
    return manifest


def _absence(directory: Path) -> str:
    """Says what is missing."""
    if not directory.exists():
        return "Nothing is there."
    return f"There is no {FILE}." if directory.is_dir() else "That is a file."


def _manifest(content: Mapping[str, Any]) -> Manifest:
    """A manifest out of its JSON; anything missing or of a wrong type raises."""
    shards = tuple(Shard(str(one["file"]), int(one["examples"]), int(one["bytes"])) for one in content["shards"])
    manifest = Manifest(
        content["format"], _specs(content["inputs"]), _specs(content["labels"]), tuple(content["weights"]), shards
    )
    if manifest.format not in FORMATS:
        raise ValueError(f"unknown format {manifest.format!r}")
    if any(Path(shard.file).name != shard.file for shard in shards):
        raise ValueError("a shard outside of the folder")
    if (manifest.examples, manifest.bytes) != (content["examples"], content["bytes"]) or manifest.examples < 1:
        raise ValueError("the shards do not add up")
    return manifest


def _specs(content: Mapping[str, Any]) -> dict[str, Spec]:
    """Specs by name."""
    specs = {str(name): Spec(str(one["dtype"]), tuple(map(int, one["shape"]))) for name, one in content.items()}
    unknown = {spec.dtype for spec in specs.values()} - DTYPES
    if unknown:
        raise ValueError(f"unknown dtypes {sorted(unknown)}")
    return specs


def shard_faults(directory: Path, manifest: Manifest) -> dict[str, str]:
    """What is wrong with the files as far as their presence and size tell, by file name."""
    faults = {}
    for shard in manifest.shards:
        path = directory / shard.file
        if not path.is_file():
            faults[shard.file] = "no file"
        elif path.stat().st_size != shard.bytes:
            faults[shard.file] = f"{path.stat().st_size} bytes where {shard.bytes} were written"
    return faults


def add_faults(refusals: Refusals, faults: Mapping[str, str]) -> None:
    """Records every file that is not as it was written."""
    for file, fault in faults.items():
        refusals.add("directory", f"must hold the whole shard {file}", words(fault), _RESTORE)
