"""Callbacks over several tasks: stopping, scores to monitor, moving loss weights, reports, TensorBoard; and backups."""

from kmtl.callbacks.backup import BackupAndRestore
from kmtl.callbacks.constrained import Constrained
from kmtl.callbacks.early_stopping import EarlyStopping
from kmtl.callbacks.joint_score import DeltaM, WorstTask
from kmtl.callbacks.loss_weights import LossWeightScheduler
from kmtl.callbacks.reports import ClassificationReports
from kmtl.callbacks.task_stopping import TaskEarlyStopping
from kmtl.callbacks.tensorboard import TensorBoard

__all__ = [
    "BackupAndRestore",
    "ClassificationReports",
    "Constrained",
    "DeltaM",
    "EarlyStopping",
    "LossWeightScheduler",
    "TaskEarlyStopping",
    "TensorBoard",
    "WorstTask",
]
