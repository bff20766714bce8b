"""The lines that ``wandbsweep evaluate`` prints while its runs train."""

import json
import subprocess

from wandbsweep.cli.evaluation import progress
from wandbsweep.cli.evaluation.callback import FILE


def test_a_run_that_trains_is_described_now_and_then(tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "_QUIET_S", 0.0)
    file = tmp_path / "0" / FILE
    file.parent.mkdir()
    states = [
        {},
        {"step": 3, "reported": {"val/loss": 0.25, "val/acc": 0.5}},
        {"step": 3, "reported": {"val/loss": 0.25, "val/acc": 0.5}},  # nothing new
        {"step": 4, "reported": {"val/loss": 0.125, "test/acc": 0.75}},
        {"step": 4, "value": 0.75, "ended": True},
    ]

    class Command:
        """A command that writes the next state whenever it is waited for."""

        returncode = None

        def wait(self, seconds):
            file.write_text(json.dumps(states.pop(0)))
            if states:
                raise subprocess.TimeoutExpired("it", seconds)
            self.returncode = 0

    lines = []
    progress.follow_runs(Command(), tmp_path, ["seed=7", "seed=8"], "test/acc", lines.append)
    assert lines == [
        "  seed=7: started",
        "  seed=7: step 3, val/loss 0.25",
        "  seed=7: step 4, test/acc 0.75",
        "  seed=7: test/acc 0.75 after 0 s",
    ]
