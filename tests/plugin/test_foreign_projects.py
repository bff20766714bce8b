"""Applications of other projects: what works under Hydra's own sweeper works the same here."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.applications import App
from wandbsweep.cli.main import main

WriteApp = Callable[..., App]

PROCESS = "hydra.sweeper.isolation=process"
ISOLATIONS = [pytest.param("none", marks=pytest.mark.slow), "process"]
LAUNCHERS = ["basic", pytest.param("joblib", marks=pytest.mark.slow)]


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


def write_group(app: App, name: str, **choices: str) -> None:
    (app.directory / "conf" / name).mkdir()
    for choice, text in choices.items():
        (app.directory / "conf" / name / f"{choice}.yaml").write_text(text)


class TestGroups:
    TYPED = """
from dataclasses import dataclass, field
from typing import Any, Optional
from hydra.core.config_store import ConfigStore
@dataclass
class Model:
    width: int = 1
@dataclass
class Schema:
    x: int = 0
    sweep: Any = None
    model: Model = field(default_factory=Model)
    second: Optional[Model] = None
ConfigStore.instance().store(name="schema", node=Schema)
"""

    @pytest.mark.parametrize("parameter", ["model", "model@second"])
    def test_one_whose_key_has_a_type(self, write_app: WriteApp, parameter: str) -> None:
        config = "defaults: [schema, {model: mlp}, {model@second: mlp}, _self_]"
        app = write_app("return cfg.model.width + cfg.second.width", config, top=self.TYPED)
        write_group(app, "model", mlp="width: 3", conv="width: 30")
        space = f"+hydra.sweeper.sweep.parameters={{{parameter}:{{values:[mlp,conv]}}}}"
        app.multirun("+hydra.sweeper.sweep.method=grid", "+hydra.sweeper.sweep.metric.name=value", space)
        assert [trial.value for trial in app.sweep().trials] == [6, 33]
        space = f"+hydra.sweeper.sweep.parameters={{{parameter}:{{values:[mlp]}},model.width:{{values:[wide]}}}}"
        ended = app.run("-m", "hydra/sweeper=wandbsweep", "+hydra.sweeper.sweep.method=grid", space)
        assert "model.width=wide" in ended.refused()

    @pytest.mark.parametrize("default", ["null", pytest.param("cosine", marks=pytest.mark.slow)])
    @pytest.mark.parametrize(
        "space",
        [
            ["scheduler=null,cosine"],
            ["+hydra.sweeper.sweep={method:grid,parameters:{scheduler:{values:[null,cosine]}}}"],
            [
                "+hydra.sweeper.sweep={method:bayes,run_cap:2,metric:{name:v},parameters:{scheduler:{values:[null,cosine]}}}"
            ],
        ],
    )
    def test_null_among_the_choices(self, write_app: WriteApp, default: str, space: list[str]) -> None:
        app = write_app(
            "assert str(cfg.get('scheduler', {}).get('kind')) == "
            "str(hydra.core.hydra_config.HydraConfig.get().runtime.choices.get('scheduler')); return 1.0",
            f"defaults: [{{scheduler: {default}}}, _self_]",
            top="import hydra.core.hydra_config",
        )
        write_group(app, "scheduler", cosine="kind: cosine")
        app.multirun(*space)
        assert app.states() == ["finished", "finished"]
        if "bayes" not in space[0]:
            assert [trial.params["scheduler"] for trial in app.sweep().trials] == [None, "cosine"]

    def test_null_among_the_choices_of_one_that_is_added(self, write_app: WriteApp) -> None:
        app = write_app("return float('scheduler' in cfg)")
        write_group(app, "scheduler", cosine="kind: cosine")
        app.multirun("+scheduler=null,cosine")
        assert [trial.value for trial in app.sweep().trials] == [0, 1]

    def test_a_range_is_refused(self, write_app: WriteApp) -> None:
        app = write_app("return 1", "defaults: [{scheduler: null}, _self_]")
        write_group(app, "scheduler", cosine="kind: cosine")
        space = "+hydra.sweeper.sweep={method:random,run_cap:2,parameters:{scheduler:{min:0,max:3}}}"
        message = app.run("-m", "hydra/sweeper=wandbsweep", space).refused()
        assert "parameters.scheduler: has a range, but 'scheduler' is a config group" in message


class TestSweeperParams:
    """The space of projects that were made for Hydra's basic sweeper or for the Optuna sweeper."""

    def test_a_space_of_lists(self, write_app: WriteApp) -> None:
        app = write_app(
            "print('RAN', cfg.x, cfg.y, cfg.z); return cfg.x",
            "{x: 0, y: 0, z: 0, low: 3, hydra: {sweeper: {params: "
            "{x: '1,2', y: 'choice(5,6)', +w: 'range(1,3)', z: '${low}'}}}}",
        )
        stock = app.run("-m", "hydra/sweeper=basic", "hydra.sweep.dir=stock", "y=7")
        ours = app.multirun("y=7")
        ran = [[line for line in ended.out.splitlines() if line.startswith("RAN")] for ended in (stock, ours)]
        assert ran[0] == ran[1] != []
        assert list(app.params().values()) == [{"x": x, "w": w} for x in (1, 2) for w in (1, 2)]
        assert app.multirun("y=7")  # the same sweep again

    def test_every_spelling_of_a_list(self, write_app: WriteApp) -> None:
        app = write_app(
            "print('RAN', cfg)",
            """
            defaults: [{model: mlp}, _self_]
            sizes: [1]
            low: 3
            a: 0
            b: 0
            c: 0
            d: 0
            e: 0
            hydra:
              sweeper:
                max_batch_size: 2
                params:
                  model: glob(*)
                  sizes: [1, 2]
                  a: sort(2, 1)
                  b: int(choice(5.0, ${low}))
                  c: 'tag(t, range(1, 2, 0.5))'
                  d: "'x y', null"
                  e: shuffle(7)
            """,
        )
        write_group(app, "model", mlp="width: 3", conv="width: 30")
        stock = app.run("-m", "hydra/sweeper=basic", "hydra.sweep.dir=stock")
        ours = app.multirun()
        ran = [[line for line in ended.out.splitlines() if line.startswith("RAN")] for ended in (stock, ours)]
        assert ran[0] == ran[1]
        assert len(ran[0]) == 32
        assert "max_batch_size: 2  ++hydra.sweeper.agents=2" in ours.out

    OPTUNA = """
        defaults: [{override hydra/sweeper: optuna}, {override hydra/sweeper/sampler: tpe}, _self_]
        x: 0
        y: 0
        z: 0
        kind: a
        hydra:
          sweeper:
            _target_: hydra_plugins.hydra_optuna_sweeper.optuna_sweeper.OptunaSweeper
            direction: maximize
            study_name: mine
            storage: null
            n_trials: 20
            n_jobs: 2
            max_failure_rate: 0.1
            params:
              x: interval(0.5, 1.5)
              y: tag(log, int(interval(1, 100)))
              z: tag(log, interval(1e-5, 1))
              kind: choice(a, b)
    """

    def test_a_project_of_the_optuna_sweeper(self, write_app: WriteApp) -> None:
        """Its sweeper need not be installed. One message says everything that is missing."""
        app = write_app("return cfg.x", self.OPTUNA)
        refused = app.run("-m", "hydra/sweeper=wandbsweep").refused()
        assert "method: is required" in refused
        replaced = "hydra_plugins.hydra_optuna_sweeper.optuna_sweeper.OptunaSweeper"
        expected = {
            f"_target_: {replaced}": "(hydra/sweeper=wandbsweep runs instead)",
            "n_trials: 20": "++hydra.sweeper.sweep.run_cap=20",
            "direction: maximize": "++hydra.sweeper.sweep.metric.name=objective "
            "++hydra.sweeper.sweep.metric.goal=maximize",
            "sampler._target_: tpe": "++hydra.sweeper.sweep.method=bayes",
            "n_jobs: 2": "++hydra.sweeper.agents=2",
            "study_name: mine": "++hydra.sweep.dir=outputs/mine",
            "max_failure_rate: 0.1": "++hydra.sweeper.max_failures=3",
        }
        assert refused.splitlines()[-8:-1] == [f"  {theirs:<73}  {ours}" for theirs, ours in expected.items()]
        assert not (app.directory / "outputs").exists()
        ours = [word for word in refused.split() if word.startswith("++")]
        ended = app.multirun(*ours, "++hydra.sweeper.sweep.run_cap=3", into=None)
        assert app.states("outputs/mine") == ["finished"] * 3
        assert all(
            0.5 <= p["x"] <= 1.5 and 1 <= p["y"] <= 100 and p["kind"] in "ab"
            for p in app.params("outputs/mine").values()
        )
        assert "_target_: hydra_plugins.hydra_optuna" in ended.out
        assert "n_trials" not in ended.out
        sweep_id = app.sweep("outputs/mine").sweep_id
        command = next(line for line in ended.out.splitlines() if "app.py x=" in line)
        assert app.shell(command).status == 0  # the Optuna sweeper is not installed
        again = app.multirun(f"hydra.sweeper.sweep_id={sweep_id}", into="outputs/mine")
        assert "settings of another sweeper" not in again.out + again.err


@pytest.mark.parametrize("how", ["spawn", "pool"])
def test_a_module_that_spawns_processes(write_app: WriteApp, how: str) -> None:
    """`python -m pkg.app`, whose relative imports need its name."""
    app = write_app(
        "context = multiprocessing.get_context('spawn')\n"
        "if cfg.how == 'pool':\n    with context.Pool(1) as pool: assert pool.apply(square, (3,)) == 9\n"
        "else:\n    worker = context.Process(target=square, args=(3,))\n    worker.start()\n    worker.join()\n"
        "    assert worker.exitcode == 0",
        "how: spawn",
        top="import multiprocessing\nfrom .work import square",
        options='config_path="../conf", config_name="config"',
    )
    package = app.directory / "pkg"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "work.py").write_text("def square(x):\n    return x * x\n")
    (app.directory / "app.py").rename(package / "app.py")
    start = [sys.executable, "-m", "pkg.app", "-m", "hydra/sweeper=wandbsweep", "hydra.sweep.dir=sweep"]
    assert app.shell([*start, f"how={how},{how}"]).status == 0
    assert app.states() == ["finished", "finished"]


@pytest.mark.parametrize("launcher", LAUNCHERS)
@pytest.mark.parametrize(
    "how", ["import environments", "try:\n    import environments as e\nexcept OSError:\n    pass"]
)
def test_a_script_that_imports_for_the_effect(write_app: WriteApp, launcher: str, how: str) -> None:
    app = write_app("return len(registry.KNOWN)", top=f"import registry\n{how}")
    (app.directory / "registry.py").write_text("KNOWN = []\n")
    (app.directory / "environments.py").write_text("import registry\nregistry.KNOWN.append('silly')\n")
    app.multirun("x=1,2", f"hydra/launcher={launcher}", PROCESS)
    assert [trial.value for trial in app.sweep().trials] == [1, 1]


def test_resolvers_in_the_sweepers_settings(write_app: WriteApp) -> None:
    """``${hydra:KEY}`` reads a HydraConfig, of which there is none in Hydra's own multiruns."""
    app = write_app(
        "from hydra.core.hydra_config import HydraConfig\n"
        "assert OmegaConf.to_container(HydraConfig.get().sweeper, resolve=True)['_recursive_'] is False\n"
        "return cfg.x",
        """
        x: 0
        name: my project
        hydra:
          sweep:
            dir: ${hydra:runtime.cwd}/${hydra:job.name} ${name}/${now:%Y}=${oc.env:UNSET_HERE,none}${own:7}
          sweeper:
            storage: sqlite:///${hydra:runtime.cwd}/${hydra:job.name}.db
            seed: ${own:3}
            sweep: {name: '${hydra:job.name}', method: random, run_cap: 2, parameters: {x: {min: 0, max: 3}}}
        """,
        top="from omegaconf import OmegaConf\nOmegaConf.register_new_resolver('own', lambda x: x)",
    )
    app.multirun(into=None)
    (directory,) = (app.directory / "app my project").iterdir()
    assert re.fullmatch(r"20\d\d=none7", directory.name)
    assert app.states(str(directory)) == ["finished"] * 2
    assert (app.directory / "app.db").exists()
    assert "name: app\n" in (directory / "sweep.yaml").read_text()
    for file in (directory / "multirun.yaml", directory / "0/.hydra/hydra.yaml"):
        assert "_recursive_: false" in file.read_text()
    message = app.run("-m", "hydra/sweeper=wandbsweep", "hydra.sweep.dir=${oc.env:UNSET_HERE}/x").refused()
    assert message.startswith("hydra.sweep.dir: '${oc.env:UNSET_HERE}/x' cannot be resolved: ")


def test_interpolations_in_a_sweep_file(write_app: WriteApp) -> None:
    app = write_app(
        "assert cfg.name == 'run ' + str(cfg.x)\nreturn cfg.x + cfg.model.hidden",
        """
        defaults: [_self_, {sweep: a}]
        hydra: {mode: MULTIRUN}
        x: 0
        name: none
        base: 0.5
        wanted: val/acc
        model: {dim: 4, hidden: 8}
        """,
    )
    space = "x: {values: ['${base}', 2]}, model.hidden: {values: ['${.dim}']}, name: {value: 'run ${x}'}"
    write_group(
        app,
        "sweep",
        a=f"{{method: grid, metric: {{name: '${{wanted}}'}}, command: ['${{env}}'], parameters: {{{space}}}}}",
        b="{method: grid, metric: {name: '${nope}'}, parameters: {x: {value: 1}}}",
        c="{method: grid, parameters: {x: {values: ['${nope}']}}}",
    )
    ended = app.multirun()
    assert [trial.value for trial in app.sweep().trials] == [4.5, 6.0]
    assert "best val/acc 4.5 (trial 0)" in ended.err
    command = next(line for line in ended.out.splitlines() if "model.hidden=" in line)
    assert command.endswith(" hydra.mode=RUN")  # the configuration says MULTIRUN
    assert app.shell(command).status == 0
    assert app.shell("wandbsweep best sweep --overrides").out.endswith(" hydra.mode=RUN\n")
    refused = [app.run("-m", "hydra/sweeper=wandbsweep", f"sweep={name}").refused() for name in "bc"]
    assert "metric.name: '${nope}' cannot be resolved: Interpolation key 'nope' not found" in refused[0]
    assert "parameters.x: '${nope}' cannot be resolved: Interpolation key 'nope' not found" in refused[1]
    # The same file where the sweeper reads it, for applications whose configuration has no key `sweep`.
    app.multirun("~sweep", "+sweep@hydra.sweeper.sweep=a", into="other")
    assert [trial.value for trial in app.sweep("other").trials] == [4.5, 6.0]
    message = app.run("-m", "hydra/sweeper=wandbsweep", "+hydra.sweeper.sweep.name=${nope}").refused()
    assert "name: '${nope}' cannot be resolved" in message


def test_names_and_values_that_are_not_utf8(write_app: WriteApp) -> None:
    app = write_app(
        "current_trial().report(0, {'acc\\udce9': 1.0, 'b\\udce9': 2.0})\n"
        "if cfg.x == 'b': raise ValueError('caf\\udce9')",
        top="from wandbsweep import current_trial",
    )
    strict = {"PYTHONIOENCODING": "utf-8:strict"}
    space = ["x=choice('caf\udce9',b)", "+hydra.sweeper.sweep.metric.name='acc\udce9'"]
    ended = app.multirun(*space, "+hydra.sweeper.sweep.method=grid", **strict)
    assert r"best 'acc\udce9' 1 (trial 0)" in ended.err
    assert r"x = 'caf\udce9'" in ended.out
    sweep = app.sweep()
    assert [(trial.state, trial.params["x"]) for trial in sweep.trials] == [("finished", "caf\udce9"), ("failed", "b")]
    assert list(sweep.frame["params.x"]) == [r"caf\udce9", "b"]
    assert r"metrics.b\udce9" in sweep.frame
    assert main(["report", str(app.directory / "sweep")]) == 0
    for suffix in ("csv", "jsonl", "parquet"):
        assert sweep.export(app.directory / f"trials.{suffix}").exists()
    best = app.shell("wandbsweep best sweep --json", **strict)
    assert json.loads(best.out)["params"] == {"x": "caf\udce9"}
    assert r"caf\udce9" in app.shell("wandbsweep table sweep", **strict).out


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_what_the_script_defines_is_found_by_name(write_app: WriteApp, isolation: str) -> None:
    """Pools pickle functions by name, processes that are spawned run the script, and configurations name classes."""
    app = write_app(
        "for method in ('fork', 'spawn'):\n"
        "    with multiprocessing.get_context(method).Pool(1) as pool:\n"
        "        assert pool.map(square, [3]) == [9]\n"
        "assert type(hydra.utils.instantiate(cfg.net)) is Net\n"
        "main_module = sys.modules['__main__']\n"
        "assert (main_module.VERSION, main_module.__file__.endswith('app.py'), sys.argv[0]) == (7, True, 'app.py')",
        "{x: 0, net: {_target_: __main__.Net}}",
        top="import multiprocessing, sys, threading\nVERSION = 7\nLOCK = threading.Lock()\n"
        "def square(x):\n    return x * x\nclass Net:\n    pass\ndef unpicklable():\n    return LOCK\n",
    )
    app.multirun("x=1,2", "hydra/launcher=joblib", f"hydra.sweeper.isolation={isolation}")
    assert app.states() == ["finished", "finished"]


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_task_that_starts_its_own_command_as_another_rank(write_app: WriteApp, launcher: str) -> None:
    """As Lightning does: that process runs the trial, in the trial's directory, and not the application."""
    app = write_app(
        "out = hydra.core.hydra_config.HydraConfig.get().runtime.output_dir\n"
        "rank = os.environ.get('LOCAL_RANK', '0')\n"
        "open(f'{out}/rank{rank}', 'w').write(str(cfg.x))\n"
        "if rank == '0':\n"
        "    command = [sys.executable, *sys.argv, 'hydra.output_subdir=null']\n"
        "    subprocess.run(command, env={**os.environ, 'LOCAL_RANK': '1'}, check=True)",
        top="import subprocess, sys\nfrom hydra.core.hydra_config import HydraConfig",
    )
    app.multirun("x=1,2", f"hydra/launcher={launcher}")
    assert app.states() == ["finished", "finished"]
    for number in range(2):
        trial = app.directory / "sweep" / str(number)
        assert [(trial / f"rank{rank}").read_text() for rank in range(2)] == [str(number + 1)] * 2


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_callbacks_are_given_the_task_and_the_directory(write_app: WriteApp, isolation: str) -> None:
    app = write_app("return cfg.x", "{x: 0, hydra: {callbacks: {own: {_target_: own.Own}}}}", top="import own")
    (app.directory / "own.py").write_text(
        "import os\nfrom hydra.experimental.callback import Callback\nclass Own(Callback):\n"
        "    def on_job_start(self, config, *, task_function, **more):\n"
        "        print('TASK', type(task_function).__name__, task_function.__name__, flush=True)\n"
        "    def on_multirun_end(self, config, **more):\n"
        "        print('TRIALS', sorted(set(os.listdir(config.hydra.sweep.dir)) & {'0', '1'}))\n"
    )
    ended = app.multirun("x=1,2", f"hydra.sweeper.isolation={isolation}", into=None)
    assert ended.out.count("TASK function main") == 2
    assert "TRIALS ['0', '1']" in ended.out
