"""Answers asks with W&B's own engine; run by the Python that has `sweeps` 0.3.0 (numpy < 2). JSON lines in
and out."""

import json
import sys
import warnings

import numpy as np
from sweeps import RunState, SweepRun, next_run

warnings.filterwarnings("ignore")
first = json.loads(sys.stdin.readline())
np.random.seed(first["seed"])
config = first["config"]
for line in sys.stdin:
    runs = [
        SweepRun(
            name=str(i),
            state=RunState(r["state"]),
            config={k: {"value": v} for k, v in r["params"].items()},
            history=[{"metric": v} for v in r["history"]],
            summary_metrics={},
        )
        for i, r in enumerate(json.loads(line))
    ]
    chosen = next_run(config, runs)
    print(json.dumps({k: v["value"] for k, v in chosen.config.items()}, default=lambda x: x.item()), flush=True)
