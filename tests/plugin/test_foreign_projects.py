"""Applications of other projects: what works under Hydra's own sweeper works the same here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.applications import App

WriteApp = Callable[..., App]

PROCESS = "hydra.sweeper.isolation=process"
ISOLATIONS = ["none", "process"]


@pytest.fixture
def write_app(tmp_path: Path) -> WriteApp:
    """Writes an application: the body of its task, its configuration, and what its script begins with."""

    def write(body: str, config: str = "{x: 0}", *, top: str = "", options: str = "") -> App:
        (tmp_path / "conf").mkdir()
        (tmp_path / "conf" / "config.yaml").write_text(config)
        options = options or 'config_path="conf", config_name="config"'
        task = "".join(f"    {line}\n" for line in body.splitlines())
        (tmp_path / "app.py").write_text(
            f"import os\nimport hydra\n{top}\n@hydra.main(version_base=None, {options})\ndef main(cfg):\n{task}\n"
            "if __name__ == '__main__':\n    main()\n"
        )
        return App(tmp_path)

    return write


def run_as_hydra(app: App, *arguments: str) -> int:
    """Run the same multirun with Hydra's own sweeper, and return its exit status."""
    return app.run("-m", "hydra/sweeper=basic", "hydra.sweep.dir=stock", *arguments).status


@pytest.mark.parametrize("isolation", ISOLATIONS)
class TestAfterTheTask:
    def test_job_logging_that_refers_to_the_application(self, write_app: WriteApp, isolation: str) -> None:
        app = write_app(
            "import logging; logging.getLogger().warning('heard'); return cfg.x",
            "{x: 0, task: hello, hydra: {job_logging: {handlers: {file: "
            "{filename: '${hydra.runtime.output_dir}/${task}.log'}}}}}",
        )
        app.multirun("x=1,2", f"hydra.sweeper.isolation={isolation}")
        assert app.states() == ["finished", "finished"]
        for number in range(2):
            assert "heard" in (app.directory / "sweep" / str(number) / "hello.log").read_text()

    def test_logging_that_cannot_be_flushed(self, write_app: WriteApp, isolation: str) -> None:
        app = write_app(
            "import logging\nclass Full(logging.NullHandler):\n    def flush(self): raise OSError('disk full')\n"
            "logging.getLogger().addHandler(Full())\n"
            "if cfg.x == 2: raise ValueError('the own error')\nreturn cfg.x"
        )
        app.multirun("x=1,2", f"hydra.sweeper.isolation={isolation}", status=1)
        assert app.states() == ["finished", "failed"]
        assert app.sweep().trials[0].value == 1
        assert app.sweep().trials[1].reason == "ValueError: the own error"

    def test_a_result_that_cannot_be_a_number(self, write_app: WriteApp, isolation: str) -> None:
        app = write_app("return Odd()", top="class Odd:\n    def __float__(self): raise KeyError('odd')\n")
        app.multirun("x=1,2", f"hydra.sweeper.isolation={isolation}")
        assert app.states() == ["finished", "finished"]

    @pytest.mark.parametrize("error", ["ValueError('caf\\udce9.png')", "SystemExit('caf\\udce9.png')"])
    def test_an_error_that_is_not_utf8(self, write_app: WriteApp, isolation: str, error: str) -> None:
        app = write_app(f"if cfg.x == 1: raise {error}")
        ended = app.multirun("x=1,2", f"hydra.sweeper.isolation={isolation}", status=1)
        assert app.states() == ["failed", "finished"]
        assert "caf\\udce9.png" in app.sweep().trials[0].reason
        assert "caf\\udce9.png" in (app.directory / "sweep/0/traceback.txt").read_text()
        assert "trial 0 failed" in ended.err
        assert "UnicodeEncodeError" not in ended.err

    def test_an_error_without_words(self, write_app: WriteApp, isolation: str) -> None:
        app = write_app("raise Mute", top="class Mute(Exception):\n    def __str__(self): raise KeyError('no words')\n")
        app.run(
            "-m", "hydra/sweeper=wandbsweep", "hydra.sweep.dir=sweep", "x=1,2", f"hydra.sweeper.isolation={isolation}"
        )
        assert [trial.reason for trial in app.sweep().trials] == ["Mute: <exception str() failed>"] * 2


@pytest.mark.parametrize("override", ["decoder.hidden=${.dim}", "+decoder.other=${..lr}", "+label='${.decoder.dim}'"])
def test_a_relative_interpolation_as_an_override(write_app: WriteApp, override: str) -> None:
    app = write_app("print(cfg); return cfg.lr", "{lr: 1, decoder: {dim: 4, hidden: 2}}")
    arguments = ["lr=1,2", override]
    assert run_as_hydra(app, *arguments) == 0
    app.multirun(*arguments)
    assert app.states() == ["finished", "finished"]


@pytest.mark.parametrize("isolation", ISOLATIONS)
class TestSetUp:
    def test_one_without_a_directory_does_not_fail_those_after_it(self, write_app: WriteApp, isolation: str) -> None:
        app = write_app(
            "return cfg.x", "{x: 0, names: {b: two}, key: b, hydra: {sweep: {subdir: 'x${names[${key}]}${x}'}}}"
        )
        app.multirun("key=a,b", "x=1,2", f"hydra.sweeper.isolation={isolation}", status=1)
        assert app.states() == ["failed", "failed", "finished", "finished"]
        assert "names" in app.sweep().trials[0].reason
        assert (app.directory / "sweep/2").resolve().name == "xtwo1"
        assert (app.directory / "sweep/0/traceback.txt").exists()

    @pytest.mark.parametrize("subdir", ["long" * 100, "file/below"])
    def test_a_grid_whose_trials_have_none_fails(self, write_app: WriteApp, isolation: str, subdir: str) -> None:
        app = write_app("return cfg.x")
        (app.directory / "sweep").mkdir()
        (app.directory / "sweep/file").touch()
        arguments = ["x=1,2", f"hydra.sweep.subdir={subdir}"]
        assert app.run("-m", "hydra/sweeper=basic", "hydra.sweep.dir=sweep", *arguments).status == 1
        app.multirun(*arguments, f"hydra.sweeper.isolation={isolation}", status=1)
        assert app.states() == ["failed", "failed"]


CLASSES = """
from dataclasses import dataclass
from enum import Enum
from hydra.core.config_store import ConfigStore
class Act(Enum):
    A = 1
@dataclass
class Config:
    x: float = 1.0
    act: Act = Act.A
class Returned:
    pass
ConfigStore.instance().store(name="schema", node=Config)
"""


@pytest.mark.parametrize("returned", ["cfg.x", "Returned()", "cfg", "lambda: cfg", "cfg.act", "open(os.devnull)"])
def test_classes_of_the_script_in_configuration_and_result(write_app: WriteApp, returned: str) -> None:
    app = write_app(f"return {returned}", top=CLASSES, options='config_path=None, config_name="schema"')
    app.multirun("x=1,2", "hydra/launcher=joblib")
    assert app.states() == ["finished", "finished"]
