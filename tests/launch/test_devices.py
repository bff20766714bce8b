"""``gpus_per_agent``: which GPUs each agent of a machine has for its own."""

import pytest

from wandbsweep.errors import SweepError
from wandbsweep.launch.devices import list_devices, split_devices


def test_each_agent_has_its_own():
    assert split_devices(["0", "1", "2", "3"], 2, 2) == ["0,1", "2,3"]
    assert split_devices(["GPU-a", "GPU-b"], 1, 2) == ["GPU-a", "GPU-b"]


@pytest.mark.parametrize(
    ("devices", "reason"),
    [(["4", "7", "9"], r"there are 3 \(4, 7, 9\); at most 1 "), ([], "there is none; at most 0 ")],
)
def test_too_few_are_refused(devices, reason):
    with pytest.raises(SweepError, match=f"2 agents with 2 GPUs each need 4, but {reason}"):
        split_devices(devices, 2, 2)


@pytest.mark.parametrize(("named", "found"), [("2,0", ["2", "0"]), (" GPU-a , GPU-b", ["GPU-a", "GPU-b"]), ("", [])])
def test_the_environment_says_which_there_are(monkeypatch, named, found):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert list_devices() == found
