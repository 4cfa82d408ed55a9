"""Read by every Python that a test starts: its collector waits, as conftest's does behind the imports.

The import of TensorFlow and Keras makes 400,000 objects that stay; to look through them again and again, and once more
at the end, takes a fifth of a process that does little else.
"""

import atexit
import gc

gc.set_threshold(100_000, 20, 100)
atexit.register(gc.freeze)
