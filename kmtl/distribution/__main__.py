"""`python -m kmtl.distribution --workers 2 train.py`."""

import sys

from kmtl.distribution.launching import main

if __name__ == "__main__":
    sys.exit(main())
