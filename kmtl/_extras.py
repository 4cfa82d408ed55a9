"""The one door to optional packages: each import says which extra brings it."""

import importlib
from types import ModuleType

_EXTRAS = {
    "grpc": "search",
    "keras_hub": "hub",
    "keras_tuner": "search",
    "moocore": "search",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "pycocotools": "detection",
    "sklearn": "search",
    "tensorboard": "search",
    "tensorflow_serving": "serving",
    "tf2onnx": "onnx",
    "ydf": "ydf",
    "ydf_tf": "ydf",
}


def load(module: str, owner: str) -> ModuleType:
    """Imports an optional package, or says how to install it.

    Args:
        module: Dotted name of the module.
        owner: What needs it, for the message.

    Returns:
        The module.

    Raises:
        ImportError: If the package is absent; the message carries the pip line.

    >>> load("json", "demo").dumps({})
    '{}'
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        # A package that is there but lacks one of its own needs says so itself.
        if (error.name or "").partition(".")[0] != package:
            raise
        extra = _EXTRAS.get(package)
        line = f"pip install 'kmtl[{extra}]'" if extra else f"pip install {package}"
        raise ImportError(f"{owner}: needs the package {module!r}, which is not installed. Run: {line}") from error
