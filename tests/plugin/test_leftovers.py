"""Trials that share a process: none of them sees what another one has left behind."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
import torch

from tests.applications import App, MakeApp


@pytest.fixture
def app(make_app: MakeApp) -> App:
    return make_app("leftovers")


def test_each_trial_finds_what_a_process_of_its_own_would(app: App) -> None:
    """The second trial fails, and changes the process none the less."""
    alone = app.run("disturb=false", "hydra.run.dir=alone")
    assert alone.status == 0, alone.err
    ended = app.multirun("lr=1,2,3", status=1)
    assert app.states() == ["finished", "failed", "finished"]
    expected = json.loads((app.directory / "alone" / "result.json").read_text())["look"]
    assert expected["resolvers"] == [True, True]
    for found in app.results():
        seen = found["look"]
        assert seen["out"] == app.result(0)["look"]["out"]
        seen |= {name: expected[name] for name in ("out", "argv")}
        assert seen == expected
    draws = [number for found in app.results() for number in found["draw"]]
    assert len(set(draws)) == len(draws)
    output = ended.out + ended.err
    assert output.count("the thread 'left-by-task'") == 1
    assert output.count("the process 'sleep 3.5'") == 1


def test_forked_trials_start_from_what_the_script_has_seeded(app: App) -> None:
    source = app.directory / "app.py"
    seeds = "import numpy, torch\nnumpy.random.seed(1), torch.manual_seed(1), random.seed(1)\n"
    source.write_text(source.read_text().replace("import hydra\n", f"import hydra\n{seeds}", 1))
    app.multirun("lr=1,2", "disturb=false", "hydra.sweeper.isolation=process")
    generator = torch.Generator().manual_seed(1)
    expected = [random.Random(1).random(), np.random.RandomState(1).rand(), torch.rand(1, generator=generator).item()]
    assert [found["draw"] for found in app.results()] == [expected, expected]
