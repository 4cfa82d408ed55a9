"""Average precision as COCO has it, by its own library."""

import contextlib
import dataclasses
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from kmtl._extras import load
from kmtl._table import Result, Table
from kmtl.tasks.detection.layout import Objects
from kmtl.tasks.detection.suppression import Kept


@dataclasses.dataclass(frozen=True, repr=False)
class AveragePrecision(Result):
    """Average precision of each class, and their means: print it, or take its `table()`.

    Attributes:
        map50: Mean over the classes that occur of the average precision at an overlap of 0.5; NaN if none occurs.
        map: The same, averaged over the overlaps 0.5, 0.55, ..., 0.95.
        rows: `{"class", "objects", "ap50", "ap"}` of each class; NaN of one without objects.
        images: Labelled images that were looked at.
    """

    map50: float
    map: float
    rows: tuple[dict[str, Any], ...]
    images: int

    def parts(self) -> list[str | Table]:
        """The classes behind the means."""
        head = f"{self.images} images: mAP@.5 {self.map50:.4f}, mAP@[.5:.95] {self.map:.4f}"
        return [head, Table(self.rows, {"ap50": ".4f", "ap": ".4f"})]


def average_precision(owner: str, objects: Objects, found: Kept, names: Sequence[str]) -> AveragePrecision:
    """Evaluates detections.

    Args:
        owner: For the message where the library is missing.
        objects: Of the labels.
        found: Boxes of the outputs, best first.
        names: Of the classes.

    Raises:
        ImportError: If `pycocotools` is not installed.
    """
    coco = load("pycocotools.coco", owner)
    evaluation = load("pycocotools.cocoeval", owner)
    truth = _records(objects.corners, objects.classes, objects.there)
    given = _records(found.corners, found.classes, found.classes >= 0, found.scores)
    images = [{"id": place} for place in range(len(objects.classes))]
    sets = []
    # It prints its progress.
    with contextlib.redirect_stdout(io.StringIO()):
        for annotations in (truth, given):
            one = coco.COCO()
            categories = [{"id": place, "name": name} for place, name in enumerate(names)]
            one.dataset = {"images": images, "annotations": annotations, "categories": categories, "info": {}}
            one.createIndex()
            sets.append(one)
        run = evaluation.COCOeval(*sets, "bbox")
        run.params.maxDets = [max(found.classes.shape[1], 1)]
        run.params.areaRng, run.params.areaRngLbl = [[0, 1e10]], ["all"]
        run.evaluate()
        run.accumulate()
    # Overlaps, recalls, classes; -1 of a class without objects.
    precision = np.where(run.eval["precision"] < 0, np.nan, run.eval["precision"])[..., 0, 0].mean(axis=1)
    over_all = precision.mean(axis=0)
    counts = np.bincount([one["category_id"] for one in truth], minlength=len(names))
    rows = tuple(
        {"class": name, "objects": int(counts[place]), "ap50": float(precision[0, place]), "ap": float(mean)}
        for place, (name, mean) in enumerate(zip(names, over_all, strict=True))
    )
    means = [float(values[counts > 0].mean()) if counts.any() else float("nan") for values in (precision[0], over_all)]
    return AveragePrecision(means[0], means[1], rows, len(images))


def _records(corners: Any, classes: Any, there: Any, scores: Any = None) -> list[dict[str, Any]]:
    """Boxes as COCO's annotations."""
    corners, classes, there = (np.asarray(one) for one in (corners, classes, there))
    found = []
    for number, (picture, row) in enumerate(np.argwhere(there).tolist(), start=1):
        x1, y1, x2, y2 = corners[picture, row].tolist()
        box = {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "iscrowd": 0}
        score = {} if scores is None else {"score": float(scores[picture, row])}
        found.append({"id": number, "image_id": picture, "category_id": int(classes[picture, row]), **box, **score})
    return found
