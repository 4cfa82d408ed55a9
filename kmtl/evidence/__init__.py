"""Whether joint training helps, how far each head is to be trusted, and what it looks at."""

from kmtl.evidence.affinities.affinity import affinity
from kmtl.evidence.affinities.affinity_result import Affinity
from kmtl.evidence.class_activation import GradCAM, grad_cam
from kmtl.evidence.comparisons.compare import compare
from kmtl.evidence.comparisons.comparison import Comparison
from kmtl.evidence.comparisons.conflict_gap import ConflictGap, conflict_gap
from kmtl.evidence.comparisons.paired_comparison import PairedComparison
from kmtl.evidence.diagnosis.advice import Advice, advise
from kmtl.evidence.diagnosis.causes import Finding
from kmtl.evidence.diagnosis.diagnose import diagnose
from kmtl.evidence.diagnosis.diagnosis import Diagnosis
from kmtl.evidence.grouping.groups import groups
from kmtl.evidence.grouping.groups_result import Groups
from kmtl.evidence.pictures import plot_curves, plot_samples
from kmtl.evidence.recommendation.recommend import recommend
from kmtl.evidence.recommendation.recommendation import Recommendation
from kmtl.evidence.reports.result_report import Report, report
from kmtl.evidence.saved_results import load
from kmtl.evidence.trust.calibration import calibrate
from kmtl.evidence.trust.calibration_result import Calibration, SpreadCalibration, TaskCalibration
from kmtl.evidence.trust.conformal import Conformal, Coverage, conformal
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
