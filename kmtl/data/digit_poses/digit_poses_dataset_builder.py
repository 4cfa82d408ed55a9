"""Handwritten digits, each rotated, scaled and placed on a larger canvas."""

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from kmtl.data.built_in.digits import SPLIT_SIZES, draw_evenly, source_digits, split_random, split_sources
from kmtl.data.built_in.transforms import CANVAS, draw, poses, to_bytes

_SEED = 2024


class Builder(tfds.core.GeneratorBasedBuilder):
    """Builds `digit_poses`; its README.md says what is in it."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "First release."}

    def _info(self) -> Any:
        """Names the features."""
        features = {
            "image": tfds.features.Image(shape=(CANVAS, CANVAS, 1), doc="0 is paper, 255 is ink."),
            "digit": tfds.features.ClassLabel(num_classes=10),
            "angle": tfds.features.Scalar(np.float32, doc="Degrees, counter-clockwise."),
            "scale": tfds.features.Scalar(np.float32, doc="Canvas pixels a source pixel."),
            "position": tfds.features.Tensor(shape=(2,), dtype=np.float32, doc="x and y of the centre, in pixels."),
            "source": tfds.features.Scalar(np.int64, doc="Index of the digit in scikit-learn's load_digits."),
        }
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", {"digit": "digit", "angle": "angle", "position": "position"}),
            homepage="https://doi.org/10.24432/C50P49",
            license="CC BY 4.0",
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        """Makes the three splits; nothing is downloaded."""
        del dl_manager
        return {split: self._generate_examples(split) for split in SPLIT_SIZES}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        """Draws the examples of one split."""
        images, digits = source_digits()
        random = split_random(_SEED, split)
        sources = draw_evenly(split_sources(digits)[split], SPLIT_SIZES[split], random)
        # The labels are float32, and what is drawn is exactly what they say.
        drawn = [values.astype(np.float32) for values in poses(random.random((len(sources), 4)))]
        for index, (source, angle, scale, position) in enumerate(zip(sources, *drawn, strict=True)):
            canvas = draw(images[source], angle, scale, position)
            labels = {"digit": digits[source], "angle": angle, "scale": scale, "position": position}
            yield index, {"image": to_bytes(canvas)[..., None], "source": source, **labels}
