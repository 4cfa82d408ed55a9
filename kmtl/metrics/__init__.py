"""What is reported of each task: masked metrics, the joint score, a classification report."""

from kmtl.metrics.conflicts import ConflictTracker
from kmtl.metrics.delta_m import check_baselines, delta_m, delta_p, is_divisor
from kmtl.metrics.masked import Reported, TaskMetrics, reported, resolve
from kmtl.metrics.mean_rank import mean_rank
from kmtl.metrics.of_outputs import metrics_in, scores_of_outputs
from kmtl.metrics.report import ClassificationReport
from kmtl.metrics.tracking import TaskLossTracker, without_empty_loss
from kmtl.tasks.span_f1 import SpanF1

__all__ = [
    "ClassificationReport",
    "ConflictTracker",
    "Reported",
    "SpanF1",
    "TaskLossTracker",
    "TaskMetrics",
    "check_baselines",
    "delta_m",
    "delta_p",
    "is_divisor",
    "mean_rank",
    "metrics_in",
    "reported",
    "resolve",
    "scores_of_outputs",
    "without_empty_loss",
]
