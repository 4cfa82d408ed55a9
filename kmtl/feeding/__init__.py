"""From whatever Keras accepts to checked `(x, {task: label}, {task: weight})` batches."""

from kmtl.feeding.arrays import Feed, arrays_feed
from kmtl.feeding.class_weights import class_tables
from kmtl.feeding.errors import explain_error, register_explanation
from kmtl.feeding.feed import feed
from kmtl.feeding.inputs import InputForm
from kmtl.feeding.inspection import Inspection
from kmtl.feeding.label_statistics import DataStatistics, check_statistics, empty
from kmtl.feeding.loaders import is_loader, loader_dataset
from kmtl.feeding.training_data import as_dataset, look_at, unpacked

__all__ = [
    "DataStatistics",
    "Feed",
    "InputForm",
    "Inspection",
    "arrays_feed",
    "as_dataset",
    "check_statistics",
    "class_tables",
    "empty",
    "explain_error",
    "feed",
    "is_loader",
    "loader_dataset",
    "look_at",
    "register_explanation",
    "unpacked",
]
