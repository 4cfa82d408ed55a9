"""Ships a trained model: SavedModel for servers, LiteRT for devices, ONNX for others, and the proof that all agree."""

from kmtl.export.checking import check
from kmtl.export.images import Images
from kmtl.export.inspecting import Inspection, inspect
from kmtl.export.keras_files import load_keras
from kmtl.export.lite.litert import litert
from kmtl.export.lite.quality import Quality, quality
from kmtl.export.lite.scoring import TaskQuality
from kmtl.export.onnx import onnx
from kmtl.export.parity import Parity, TaskParity
from kmtl.export.saved_model import saved_model
from kmtl.export.serving.config import ServingConfig, serving_config
from kmtl.export.serving.requests import request_examples

__all__ = [
    "Images",
    "Inspection",
    "Parity",
    "Quality",
    "ServingConfig",
    "TaskParity",
    "TaskQuality",
    "check",
    "inspect",
    "litert",
    "load_keras",
    "onnx",
    "quality",
    "request_examples",
    "saved_model",
    "serving_config",
]
