"""``python -m wandbsweep.cli``."""

import sys

from wandbsweep.cli.main import main

sys.exit(main())
