"""Whether joint training helps, how far each head is to be trusted, and what it looks at."""

from kmtl.evidence.advice import Advice, advise
from kmtl.evidence.affinity import affinity
from kmtl.evidence.affinity_result import Affinity
from kmtl.evidence.calibration import calibrate
from kmtl.evidence.calibration_result import Calibration, SpreadCalibration, TaskCalibration
from kmtl.evidence.causes import Finding
from kmtl.evidence.class_activation import GradCAM, grad_cam
from kmtl.evidence.compare import compare
from kmtl.evidence.comparison import Comparison
from kmtl.evidence.conflict_gap import ConflictGap, conflict_gap
from kmtl.evidence.conformal import Conformal, Coverage, conformal
from kmtl.evidence.diagnose import diagnose
from kmtl.evidence.diagnosis import Diagnosis
from kmtl.evidence.groups import groups
from kmtl.evidence.groups_result import Groups
from kmtl.evidence.paired_comparison import PairedComparison
from kmtl.evidence.pictures import plot_curves, plot_samples
from kmtl.evidence.recommend import recommend
from kmtl.evidence.recommendation import Recommendation
from kmtl.evidence.result_report import Report, report
from kmtl.evidence.saved_results import load
from kmtl.training.trainer import Run

__all__ = [
    "Advice",
    "Affinity",
    "Calibration",
    "Comparison",
    "ConflictGap",
    "Conformal",
    "Coverage",
    "Diagnosis",
    "Finding",
    "GradCAM",
    "Groups",
    "PairedComparison",
    "Recommendation",
    "Report",
    "Run",
    "SpreadCalibration",
    "TaskCalibration",
    "advise",
    "affinity",
    "calibrate",
    "compare",
    "conflict_gap",
    "conformal",
    "diagnose",
    "grad_cam",
    "groups",
    "load",
    "plot_curves",
    "plot_samples",
    "recommend",
    "report",
]
