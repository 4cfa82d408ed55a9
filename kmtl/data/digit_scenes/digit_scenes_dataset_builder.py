"""Scenes of up to five handwritten digits: how many, which, where, and the class of each pixel."""

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from kmtl.data.built_in.digits import draw_evenly, source_digits, split_random, split_sources
from kmtl.data.built_in.scenes import CANVAS, MOST_DIGITS, compose, place

SCENES = {"train": 4_000, "validation": 800, "test": 800}
_SEED = 2030


class Builder(tfds.core.GeneratorBasedBuilder):
    """Builds `digit_scenes`; its README.md says what is in it."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "First release."}

    def _info(self) -> Any:
        """Names the features."""
        boxes = "Left, top, right and bottom as shares of the image's sides, and the digit; -1 where there is no box."
        mask = "0 is paper, 1 + digit where there is ink."
        sources = "Indices in scikit-learn's load_digits, in the order of the boxes; -1 where there is no box."
        features = {
            "image": tfds.features.Image(shape=(CANVAS, CANVAS, 1), doc="0 is paper, 255 is ink."),
            "count": tfds.features.ClassLabel(num_classes=MOST_DIGITS + 1),
            "digits": tfds.features.Tensor(shape=(10,), dtype=np.uint8, doc="1 for each digit that is there, else 0."),
            "boxes": tfds.features.Tensor(shape=(MOST_DIGITS, 5), dtype=np.float32, doc=boxes),
            "mask": tfds.features.Tensor(shape=(CANVAS, CANVAS), dtype=np.uint8, encoding="zlib", doc=mask),
            "sources": tfds.features.Tensor(shape=(MOST_DIGITS,), dtype=np.int64, doc=sources),
        }
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", {name: name for name in ("count", "digits", "boxes", "mask")}),
            homepage="https://doi.org/10.24432/C50P49",
            license="CC BY 4.0",
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        """Makes the three splits; nothing is downloaded."""
        del dl_manager
        return {split: self._generate_examples(split) for split in SCENES}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        """Composes the scenes of one split."""
        images, digits = source_digits()
        random = split_random(_SEED, split)
        counts = draw_evenly(np.arange(MOST_DIGITS + 1), SCENES[split], random)
        sources = draw_evenly(split_sources(digits)[split], counts.sum(), random)
        for index, chosen in enumerate(np.split(sources, np.cumsum(counts)[:-1])):
            image, boxes, mask = compose(place(images[chosen], random), digits[chosen])
            there = np.isin(np.arange(10), digits[chosen]).astype(np.uint8)
            padded = np.pad(chosen, (0, MOST_DIGITS - len(chosen)), constant_values=-1)
            labels = {"count": len(chosen), "digits": there, "boxes": boxes, "mask": mask}
            yield index, {"image": image[..., None], "sources": padded, **labels}
