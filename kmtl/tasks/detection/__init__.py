"""Objects on a grid: the kind of task, and its mathematics on arrays."""

from kmtl.tasks.detection.average_precision import MeanAveragePrecision
from kmtl.tasks.detection.boxes import ciou, diou, giou, iou
from kmtl.tasks.detection.coco_evaluation import AveragePrecision
from kmtl.tasks.detection.detection import Detection
from kmtl.tasks.detection.grid_losses import GridLoss
from kmtl.tasks.detection.grid_output import GridOutput
from kmtl.tasks.detection.suppression import non_maximum_suppression

__all__ = [
    "AveragePrecision",
    "Detection",
    "GridLoss",
    "GridOutput",
    "MeanAveragePrecision",
    "ciou",
    "diou",
    "giou",
    "iou",
    "non_maximum_suppression",
]
