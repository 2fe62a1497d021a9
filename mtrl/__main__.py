"""`python -m mtrl` is the command `mtrl`."""

import sys

from mtrl.cli import main

if __name__ == "__main__":
    sys.exit(main())
