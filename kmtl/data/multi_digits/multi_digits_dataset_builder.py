"""Two overlapping handwritten digits an image."""

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from kmtl.data.built_in.digits import SOURCE_SIZE, SPLIT_SIZES, draw_evenly, source_digits, split_random, split_sources
from kmtl.data.built_in.transforms import CANVAS, draw, to_bytes

_SEED = 2017
_SCALE = 3
_TILE = _SCALE * SOURCE_SIZE
_SHIFT = CANVAS - _TILE


class Builder(tfds.core.GeneratorBasedBuilder):
    """Builds `multi_digits`; its README.md says what is in it."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "First release."}

    def _info(self) -> Any:
        """Names the features."""
        features = {
            "image": tfds.features.Image(shape=(CANVAS, CANVAS, 1), doc="0 is paper, 255 is ink."),
            "left": tfds.features.ClassLabel(num_classes=10),
            "right": tfds.features.ClassLabel(num_classes=10),
            "sum": tfds.features.Scalar(np.float32, doc="The two digits added."),
            "left_source": tfds.features.Scalar(np.int64, doc="Index in scikit-learn's load_digits."),
            "right_source": tfds.features.Scalar(np.int64, doc="Index in scikit-learn's load_digits."),
        }
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", {"left": "left", "right": "right", "sum": "sum"}),
            homepage="https://doi.org/10.24432/C50P49",
            license="CC BY 4.0",
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        """Makes the three splits; nothing is downloaded."""
        del dl_manager
        return {split: self._generate_examples(split) for split in SPLIT_SIZES}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        """Overlays the pairs of one split."""
        images, digits = source_digits()
        random = split_random(_SEED, split)
        sources = split_sources(digits)[split]
        tiles = {source: enlarge(images[source]) for source in sources}
        pairs = zip(*(draw_evenly(sources, SPLIT_SIZES[split], random) for _ in range(2)), strict=True)
        for index, (left, right) in enumerate(pairs):
            labels = {"left": digits[left], "right": digits[right], "sum": np.float32(digits[left] + digits[right])}
            image = to_bytes(overlay(tiles[left], tiles[right]))[..., None]
            yield index, {"image": image, "left_source": left, "right_source": right, **labels}


def enlarge(source: Any) -> Any:
    """Enlarges a digit of 8x8 pixels threefold, by bilinear interpolation."""
    middle = (_TILE - 1) / 2
    return draw(source, angle=0.0, scale=_SCALE, position=(middle, middle), size=_TILE)


def overlay(left: Any, right: Any) -> Any:
    """Lays one digit in the upper left corner and one in the lower right, and keeps the darker ink."""
    canvases = np.zeros((2, CANVAS, CANVAS))
    canvases[0, :_TILE, :_TILE] = left
    canvases[1, _SHIFT:, _SHIFT:] = right
    return canvases.max(axis=0)
