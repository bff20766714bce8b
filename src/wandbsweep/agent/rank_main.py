"""The script that Lightning's subprocess launcher runs for each further process of a trial.

It only calls ``lightning_ranks``. Objects pickled there must carry that module's name, but a script is ``__main__``.
"""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    # Python puts this file's directory first, but its modules must not be importable by short names (`signals`).
    sys.path[:] = [path for path in sys.path if path != os.path.dirname(os.path.abspath(__file__))]
    from wandbsweep.agent.lightning_ranks import main

    sys.exit(main())
