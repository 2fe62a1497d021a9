"""`python -m mtrl` is the command `mtrl`."""

import sys

if __name__ == "__main__":
    if not sys.flags.safe_path:
        del sys.path[0]  # the working directory, which `mtrl` does without
    from mtrl.cli import main

    sys.exit(main())
