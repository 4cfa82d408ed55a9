"""How many objects labels hold, and which of their rows are none."""

from typing import Any

import numpy as np

from kmtl._checks import Refusals, words
from kmtl.tasks.detection.layout import ROUNDING, UNUSED, Layout
from kmtl.tasks.statistics import LabelStatistics, bad_weights


class BoxStatistics(LabelStatistics):
    """How many objects of each class labels hold, and which rows are none.

    Attributes:
        objects: Objects of each class, `(classes,)`.
        faults: How many rows break each rule.
        examples_of: The first row that does.
        crowded: Cells with more objects than boxes.
        fullest: Objects of the fullest cell.
        largest: The largest coordinate of a box.
    """

    def __init__(self, task: Any, layout: Layout, *, drops: bool) -> None:
        super().__init__(task)
        self.layout, self.drops = layout, drops
        self.objects = np.zeros(layout.classes, dtype=np.int64)
        self.faults: dict[str, int] = {}
        self.examples_of: dict[str, Any] = {}
        self.crowded, self.fullest, self.largest = 0, 0, 0.0

    def update(self, labels: Any, weights: Any = None) -> None:
        """Adds a batch.

        Args:
            labels: `(batch, rows, 5)`, NumPy.
            weights: Sample weights, `(batch,)`; None where all weigh 1.
        """
        values = np.asarray(labels, np.float64)
        there: Any = ~np.isnan(values).any(axis=(1, 2))
        self.examples += len(values)
        self.labelled += int(there.sum())
        if weights is not None:
            self.bad_weights += bad_weights(np.reshape(weights, (-1,)), there)
        faults = row_faults(values, self.layout)
        for rule, found in faults.items():
            if found.any():
                self.faults[rule] = self.faults.get(rule, 0) + int(found.sum())
                self.examples_of.setdefault(rule, values[found][0].round(4).tolist())
        fine = ~np.logical_or.reduce(list(faults.values()))
        good = there[:, None] & (values[..., 4] >= 0) & fine
        self.objects += np.bincount(values[good][:, 4].astype(int), minlength=self.layout.classes)
        self.largest = max(self.largest, values[there][..., :4].max(initial=0.0))
        self._count_cells(values, good)

    def _count_cells(self, values: Any, good: Any) -> None:
        """Counts the objects of each cell."""
        corners = np.asarray(self.layout.fractions(values[..., :4]))
        cells = np.asarray(self.layout.cell_of(corners))
        number = self.layout.height * self.layout.width
        flat = (cells + number * np.arange(len(values))[:, None])[good]
        counts = np.bincount(flat, minlength=1)
        self.crowded += int((counts > self.layout.boxes).sum())
        self.fullest = max(self.fullest, int(counts.max()))

    def refuse_values(self, refusals: Refusals, argument: str) -> None:
        """Records rows that are no boxes, and cells of more objects than boxes."""
        for rule, count in self.faults.items():
            got = words(f"{count} that are not, such as {self.examples_of[rule]}")
            refusals.add(argument, rule, got, self._fix(rule))
        in_pixels = self.layout.image_shape is not None
        if in_pixels and 0 < self.largest <= 1.0 and not self.faults:
            fix = f"Use bounding_box_format='rel_{self.layout.bounding_box_format}'."
            got = words(f"no number above {self.largest:.4g}, as of fractions")
            refusals.add(argument, f"must be boxes in pixels, {self.layout.bounding_box_format!r}", got, fix)
        if self.crowded and not self.drops:
            got = words(f"{self.crowded} cells of more, {self.fullest} in the fullest")
            fix = f"Take a finer grid or boxes_per_cell={self.fullest}; or crowded='drop', which does not learn them."
            size = f"{self.layout.height} x {self.layout.width}"
            rule = f"must have at most {self.layout.boxes} objects in a cell of the {size} grid"
            refusals.add(argument, rule, got, fix)

    def _fix(self, rule: str) -> str:
        """What is often the reason for a fault."""
        if rule == _OUTSIDE and self.layout.image_shape is None and self.largest > 2.0:
            return "They look like pixels: give the task bounding_box_format='xyxy' and image_shape=(height, width)."
        return _FIXES[rule]

    def rule_of_values(self) -> tuple[str, str]:
        """What a label may be, and what is often the reason where it is not."""
        form, last = self.layout.bounding_box_format, self.layout.classes - 1
        rule = (
            f"must be boxes inside the picture, {form!r}, and a class in 0..{last}; unused rows -1, NaN where missing"
        )
        return rule, "Look at them by check=True."


_FINITE = "must be finite or NaN"
_PARTIAL = "must be -1 in all five numbers of an unused row"
_MIXED = "must be NaN in every row of a missing label"
_CLASS = "must have a whole number below the number of classes behind each box"
_FLIPPED = "must have right and bottom behind left and top"
_EMPTY = "must have boxes with an area"
_OUTSIDE = "must have boxes inside the picture"
_FIXES = {
    _FINITE: "",
    _PARTIAL: "Detection.labels packs lists of boxes.",
    _MIXED: "A label without objects has rows of -1.",
    _CLASS: "Classes are counted from 0.",
    _FLIPPED: "The order of the numbers is that of bounding_box_format.",
    _EMPTY: "Drop them: nothing overlaps a box without an area.",
    _OUTSIDE: "keras.utils.bounding_boxes.clip_to_image_size cuts them off.",
}


def row_faults(values: Any, layout: Layout) -> dict[str, Any]:
    """Tells which rows of labels break which rule, each row the first that it breaks.

    Args:
        values: `(batch, rows, 5)`, float64.
        layout: Of the labels.

    Returns:
        Booleans `(batch, rows)` by rule.
    """
    gone = np.isnan(values)
    unused = (values == UNUSED).all(axis=-1)
    names = np.where(gone[..., 4], 0.0, values[..., 4])
    corners = np.asarray(layout.fractions(np.where(np.isfinite(values), values, 0.0)[..., :4]), np.float64)
    sides = corners[..., 2:] - corners[..., :2]
    rest = gone.all(axis=-1) & (gone | (values == UNUSED)).all(axis=(1, 2))[:, None] | unused
    checks = {
        _FINITE: np.isinf(values).any(axis=-1),
        _MIXED: gone.any(axis=-1),
        _PARTIAL: names < 0,
        _CLASS: (names >= layout.classes) | (names != np.floor(names)),
        _FLIPPED: (sides < 0).any(axis=-1),
        _OUTSIDE: ~((corners >= -ROUNDING) & (corners <= 1 + ROUNDING)).all(axis=-1),
        _EMPTY: (sides <= 0).any(axis=-1),
    }
    found = {}
    for rule, broken in checks.items():
        found[rule] = broken & ~rest
        rest = rest | broken
    return found
