"""`python -m tusd_py` is the same as the installed command `tusd-py`."""

import sys

from tusd_py.cli import main

if __name__ == "__main__":
    sys.exit(main())
