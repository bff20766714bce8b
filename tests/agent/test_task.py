"""What launchers pickle: an agent that does not load what its trials import."""

import pickle
import subprocess
import sys

import cloudpickle
import pytest

from wandbsweep.agent.job_factory import unpack_application
from wandbsweep.agent.task import AgentTask

TASK = """
import {module}

def task(cfg):
    return {module}.__name__
"""


@pytest.fixture
def task(tmp_path, monkeypatch):
    """A task function whose module imports one that no other module imports."""
    (tmp_path / "heavy.py").touch()
    (tmp_path / "its_tasks.py").write_text(TASK.format(module="heavy"))
    monkeypatch.syspath_prepend(str(tmp_path))
    import its_tasks

    yield its_tasks.task
    for name in ("its_tasks", "heavy"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("isolation", ["none", "process"])
def test_unpickling_an_agent_does_not_load_the_task(task, tmp_path, isolation):
    agent = AgentTask(tmp_path, task, master=None, callbacks=None, isolation=isolation)
    (tmp_path / "agent.pkl").write_bytes(cloudpickle.dumps(agent))
    program = (
        "import pickle, sys; sys.path.insert(0, sys.argv[1]); "
        "pickle.load(open(sys.argv[1] + '/agent.pkl', 'rb')); print('heavy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_requeued_agent_is_pickled_again_as_it_is(task, tmp_path):
    """submitit pickles the agent that runs: it has only the packed task then."""
    agent = AgentTask(tmp_path, task, master=None, callbacks="ours", isolation="process", count=3)
    once = pickle.loads(cloudpickle.dumps(agent))
    twice = pickle.loads(cloudpickle.dumps(once))
    assert once == twice
    assert (twice.task_function, twice.count) == (None, 3)
    function, callbacks = unpack_application(twice.packed)
    assert (function(None), callbacks) == ("heavy", "ours")
