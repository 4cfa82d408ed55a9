"""Ships a trained model: SavedModel for servers, LiteRT for devices, and the proof that both still agree with Keras."""

from kmtl.export.checking import check
from kmtl.export.images import Images
from kmtl.export.litert import litert
from kmtl.export.parity import Parity, TaskParity
from kmtl.export.saved_model import saved_model

__all__ = ["Images", "Parity", "TaskParity", "check", "litert", "saved_model"]
