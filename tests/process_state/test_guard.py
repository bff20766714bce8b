"""What is put back after a trial, and what stays because an import has set it."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import pytest

from wandbsweep.process_state import interpreter, libraries, system
from wandbsweep.process_state.guard import Guard

MODULE = """
import logging, os, sys, warnings
os.environ["OF_IMPORT"] = "there"
sys.path.append("of-import")
warnings.filterwarnings("ignore", "of the import")
logging.getLogger("of_import").addHandler(logging.NullHandler())
"""


@pytest.fixture
def guard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Guard:
    (tmp_path / "module_of_trial.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("OF_TASK", "before")
    monkeypatch.delenv("OF_IMPORT", raising=False)
    monkeypatch.setattr(warnings, "filters", list(warnings.filters))
    return Guard([*interpreter.PARTS, *system.PARTS])


def test_the_changes_of_a_task_are_undone_and_those_of_an_import_stay(guard: Guard) -> None:
    filters, path = list(warnings.filters), list(sys.path)
    try:
        with guard.restore("Trial 0"):
            os.environ["OF_TASK"] = "changed"
            sys.path.insert(0, "of-task")
            warnings.simplefilter("once")
            logging.getLogger("of_import").setLevel("DEBUG")
            import module_of_trial  # type: ignore[import-not-found]  # noqa: F401

            os.environ["OF_IMPORT"] = "changed"
            logging.getLogger("of_import").handlers.clear()
        assert (os.environ["OF_TASK"], os.environ["OF_IMPORT"]) == ("before", "there")
        assert sys.path == [*path, "of-import"]
        assert [text.pattern for _, text, *_ in warnings.filters if text][:1] == ["of the import"]
        assert warnings.filters[1:] == filters
        logger = logging.getLogger("of_import")
        assert (logger.level, [type(handler) for handler in logger.handlers]) == (0, [logging.NullHandler])
    finally:
        sys.modules.pop("module_of_trial", None)
        sys.path[:] = path
        os.environ.pop("OF_IMPORT", None)
        logging.getLogger("of_import").handlers.clear()


class Stubborn:
    """A part that cannot be put back."""

    name = "library"

    def __init__(self) -> None:
        self.value = 1

    def read(self) -> dict[Hashable, Any]:
        return {"mode": self.value}

    def write(self, item: Hashable, value: Any) -> None:
        raise RuntimeError("too late")


def test_what_cannot_be_put_back_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    part = Stubborn()
    guard = Guard([part])
    for _ in range(2):
        with guard.restore("Trial 0"):
            part.value += 1
    (record,) = caplog.records
    assert "Trial 0 has left behind: library mode: too late" in record.getMessage()


@pytest.mark.parametrize(
    "change",
    [
        "torch.set_float32_matmul_precision('medium')",
        "torch.use_deterministic_algorithms(True, warn_only=True)",
        "torch.utils.deterministic.fill_uninitialized_memory = False",
        "torch.backends.cudnn.benchmark = True",
        "torch.backends.cudnn.benchmark_limit = 3",
        "torch.backends.mkldnn.deterministic = True",
        "torch.backends.cuda.matmul.allow_fp16_accumulation = True",
        "torch.backends.cuda.enable_flash_sdp(False)",
        "torch.set_num_threads(torch.get_num_threads() + 1)",
        "torch._dynamo.config.recompile_limit = 3",
        "torch._inductor.config.max_autotune = True",
    ],
)
def test_torch_computes_as_before_after_a_trial(change: str, caplog: pytest.LogCaptureFixture) -> None:
    import torch._dynamo.config
    import torch._inductor.config

    parts = libraries.PARTS
    before = [part.read() for part in parts]
    with Guard(parts).restore("Trial 0"):
        exec(change, {"torch": torch})
        assert [part.read() for part in parts] != before
    assert [part.read() for part in parts] == before
    assert caplog.text == ""
