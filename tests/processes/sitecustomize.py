"""Read by every Python that a test starts, which is made to import less and to collect less than one that goes on.

The import of TensorFlow and Keras makes 400,000 objects that stay; to look through them again and again, and once more
at the end, takes a fifth of a process that does little else. Keras takes up scikit-learn and Matplotlib where they are
installed, for wrappers and pictures of its own: a third of its import, which works without them.
"""

import atexit
import gc
import sys

gc.set_threshold(100_000, 20, 100)
atexit.register(gc.freeze)


class BesideKeras:
    """Hides a package from Keras's own import; afterwards, and for whoever imports it before, it is there."""

    def find_spec(self, name, path=None, target=None):
        del path, target
        keras = sys.modules.get("keras")
        if name in {"matplotlib", "sklearn"} and keras is not None and not hasattr(keras, "Model"):
            raise ModuleNotFoundError(name, name=name)


sys.meta_path.insert(0, BesideKeras())
