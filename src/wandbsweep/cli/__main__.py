"""``python -m wandbsweep.cli.main``."""

import sys

from wandbsweep.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
