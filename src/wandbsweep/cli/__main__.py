"""``python -m wandbsweep.cli``."""

import sys

from wandbsweep.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
