"""``wandbsweep run``: real sweeps of programs that are not changed, with W&B's own client."""

from __future__ import annotations

import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.applications import APPS, App, Ended, copy_app
from tests.programs.test_macros import expand_as_wandb
from wandbsweep import open_sweep
from wandbsweep.agent.program_agent import ProgramAgent
from wandbsweep.errors import SweepError
from wandbsweep.launch.program_sweep import RunOptions, prepare_program_sweep
from wandbsweep.results.reader import SweepReader
from wandbsweep.sweep.report_log import read_report_log

WANDBSWEEP = [sys.executable, "-m", "wandbsweep.cli"]
QUICK = dict.fromkeys(["WANDB_X_DISABLE_META", "WANDB_X_DISABLE_STATS", "WANDB_SILENT"], "true")
"""By default wandb inspects the machine, which takes seconds."""


def make_environment(home: Path, **more: str) -> dict[str, str]:
    """The environment of a user who has no account at W&B, and no setting."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB", "SLURM_"))}
    return {**own, **QUICK, "HOME": str(home), "NETRC": str(home / "netrc"), "OMP_NUM_THREADS": "1", **more}


def run(app: App, *arguments: str, **environment: str) -> Ended:
    command = [*WANDBSWEEP, "run", *arguments]
    home = make_environment(app.directory, PLACE=str(app.directory), **environment)
    done = subprocess.run(command, cwd=app.directory, env=home, capture_output=True, text=True, timeout=200)
    return Ended(done.returncode, done.stdout, done.stderr)


def read_lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def find_sweep(app: App) -> Path:
    (sweep,) = (app.directory / "outputs").iterdir()
    return sweep


# -- a script that uses wandb --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> App:
    return copy_app("wandb_script", tmp_path_factory.mktemp("wandb") / "app", "train.py")


@pytest.fixture(scope="module")
def swept(app: App) -> Ended:
    """A bayes sweep with Hyperband of the unmodified script, by two agents."""
    return run(app, "sweep.yaml", "--agents", "2", "--seed", "3")


def test_the_script_is_small_and_knows_nothing_of_us(app: App) -> None:
    text = Path(app.directory, "train.py").read_text()
    assert len(text.splitlines()) < 60
    assert "wandbsweep" not in text.lower()


def test_a_sweep_of_a_wandb_script(app: App, swept: Ended) -> None:
    assert swept.status == 0, swept
    assert "5/5 trials" in swept.out
    results = open_sweep(find_sweep(app))
    assert len(results.trials) == 5
    assert {trial.agent for trial in results.trials} == {"0", "1"}
    finished = [trial for trial in results.trials if trial.state == "finished"]
    stopped = [trial for trial in results.trials if trial.state == "stopped"]
    assert len(finished) + len(stopped) == 5
    assert all(len(trial.reports) == 9 and set(trial.reports) == set(range(9)) for trial in finished)
    assert all(set(trial.metrics) == {"epoch", "train/loss", "val/loss", "val/accuracy"} for trial in finished)
    assert stopped, "hyperband stops none of five"
    assert all("hyperband" in trial.reason for trial in stopped)


def test_the_script_gets_its_parameters(app: App, swept: Ended) -> None:
    sweep = find_sweep(app)
    for trial in open_sweep(sweep).trials:
        if trial.state == "finished":
            given = json.loads(Path(app.directory, f"{sweep.name}-{trial.number}.json").read_text())
            assert given == trial.params


def test_a_metric_is_heard_within_a_second(app: App, swept: Ended) -> None:
    sweep, delays = find_sweep(app), []
    for trial in open_sweep(sweep).trials:
        first = read_lines(sweep / str(trial.number) / "stdout.log")[0]  # of nine, which take longer than a second
        delays.append(read_report_log(sweep, trial.number)[first["epoch"]].at - first["at"])
    assert statistics.median(delays) < 1.0


def test_offline_runs_stay(app: App, swept: Ended) -> None:
    for trial in open_sweep(find_sweep(app)).trials:
        (log,) = (find_sweep(app) / str(trial.number)).glob(f"wandb/offline-run-*/run-*-{trial.number}.wandb")
        assert log.stat().st_size > 1000


def test_it_is_read_as_any_other_sweep(app: App, swept: Ended) -> None:
    sweep = find_sweep(app).name
    environment = make_environment(app.directory)
    best = subprocess.run(
        [*WANDBSWEEP, "best", sweep], cwd=app.directory, env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert f"params.yaml /usr/bin/env {sys.executable} train.py --learning_rate=" in best
    again = run(app, sweep)
    assert again.status == 0
    assert f"Joined sweep {sweep}" in again.out
    more = run(app, sweep, "--seed", "1")
    assert "--seed cannot be changed" in more.refused()


@pytest.mark.slow
def test_offline_runs_are_synced_later(app: App, swept: Ended) -> None:
    """Those of trials that were killed, too; into the project that the user then names."""
    from tests.hosted.server import API_KEY, WandbServer

    sweep = find_sweep(app)
    logs = [str(path) for path in sweep.glob("*/wandb/offline-run-*")]
    with WandbServer() as server:
        login = {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": API_KEY, "no_proxy": "127.0.0.1"}
        command = [sys.executable, "-m", "wandb", "sync", "--project", "digits", *logs]
        home = make_environment(app.directory, **login)
        done = subprocess.run(command, cwd=app.directory, env=home, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        histories = {name: run.values("val/loss") for name, run in server.runs.items()}
    trials = open_sweep(sweep).trials
    assert set(histories) == {f"{sweep.name}-{trial.number}" for trial in trials}
    for trial in trials:
        heard = trial.history
        assert histories[f"{sweep.name}-{trial.number}"][: len(heard)] == pytest.approx(heard)


@pytest.mark.slow
def test_the_second_articles_directory(tmp_path: Path) -> None:
    article = copy_app("second_article", tmp_path / "app", "wandb_sweep.py")
    ended = run(article, "sweep_config.yaml", "--json")
    assert ended.status == 0, ended
    assert json.loads(ended.out)["states"] == {"finished": 2}
    results = open_sweep(find_sweep(article))
    assert [trial.params for trial in results.trials] == [{"learning_rate": 0.1}, {"learning_rate": 0.01}]
    assert [trial.metrics["lr"] for trial in results.trials] == [0.1, 0.01]
    assert all(len(trial.reports) == 3 for trial in results.trials)


# -- any program ---------------------------------------------------------------------------------------------------


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "programs"
    shutil.copytree(APPS / "any_program", directory)
    monkeypatch.chdir(directory)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("GPU_OF_TEST", "3")
    monkeypatch.setenv("ROOT_OF_TEST", "/data")
    monkeypatch.delenv("NONESUCH", raising=False)
    return directory


FILES = sorted((APPS / "any_program").glob("*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_sweep_files_with_every_macro(file: Path, programs: Path) -> None:
    """The program gets the words that W&B's agent would give it."""
    prepared = prepare_program_sweep(file.name, RunOptions())
    ProgramAgent(prepared.directory, 0)()
    (trial,) = open_sweep(prepared.directory).trials
    assert (trial.state, trial.value) == ("finished", 0.5), trial.reason
    place = prepared.directory / "0"
    shown: dict[str, Any] = json.loads((place / "stdout.log").read_text().splitlines()[0])
    command = prepared.spec.config.get("command") or ["${env}", "${interpreter}", "${program}", "${args}"]
    args = json.loads((place / "params.json").read_text())
    expected = expand_as_wandb(command, args, str(place / "params.json"))
    start = next(i for i, word in enumerate(expected) if word in ("train.py", "package.train"))
    assert shown["argv"] == expected[start + 1 :]
    assert shown["gpu"] == ("3" if "environment" in file.stem else None)


def test_the_best_is_trained_again_by_what_a_shell_reads(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also from another directory, and if the path has blanks."""
    monkeypatch.chdir(programs.rename(programs.with_name("my programs")))
    prepared = prepare_program_sweep("01_default.yaml", RunOptions())
    ProgramAgent(prepared.directory, 0)()
    monkeypatch.chdir("/")
    data = SweepReader(prepared.directory).read()
    command = data.command(data.trials[0])
    assert command
    again = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout
    shown, first = (
        json.loads(text.splitlines()[0]) for text in (again, (prepared.directory / "0/stdout.log").read_text())
    )
    assert shown["argv"] == first["argv"]


def test_a_limited_metric_is_heard_in_a_line_of_its_own(programs: Path) -> None:
    (programs / "limits.yaml").write_text(
        "command: [sh, -c, 'echo loss=0.5; echo peak_gb=7']\n"
        "method: grid\nparameters: {x: {value: 1}}\n"
        "metric: {name: loss, from: stdout, constraints: {peak_gb: {max: 8}}}\n"
    )
    prepared = prepare_program_sweep("limits.yaml", RunOptions())
    ProgramAgent(prepared.directory, 0)()
    data = SweepReader(prepared.directory).read()
    assert data.best is not None
    assert data.best.metrics == {"loss": 0.5, "peak_gb": 7.0}


REFUSED = {
    "no program": ("method: grid", "program: is required"),
    "program is missing": ("program: trian.py\nmethod: grid", "program: there is no file trian.py in"),
    "no interpreter": ("command: [pyhton, x]\nmethod: grid", "command: there is no program 'pyhton' in PATH"),
    "words in one": ("command: [python show.py]\nmethod: grid", "its words must be items of their own"),
    "unknown macro": ("program: show.py\ncommand: ['${arg}']\nmethod: grid", "the macro ${arg} is unknown"),
    "not executable": ("command: [show.py]\nmethod: grid", "show.py cannot be executed"),
    "custom": ("program: show.py\nmethod: custom", "needs W&B's servers"),
    "endless": ("program: show.py\nmethod: random", "run_cap: is required"),
    "bad source": ("program: show.py\nmethod: grid\nmetric: {name: a, from: stderr}", "metric.from"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_leaves_nothing(name: str, programs: Path) -> None:
    text, message = REFUSED[name]
    (programs / "bad.yaml").write_text(f"{text}\nparameters: {{lr: {{values: [1]}}}}\n")
    with pytest.raises(SweepError) as refused:
        prepare_program_sweep("bad.yaml", RunOptions())
    assert message in str(refused.value)
    assert not (programs / "outputs").exists()


def test_options_that_are_refused(programs: Path) -> None:
    for options, message in (
        (RunOptions(python="nonesuch"), "--python: there is no program 'nonesuch'"),
        (RunOptions(storage="postgresql://me:secret@host/db"), "holds a password"),
    ):
        with pytest.raises(SweepError) as refused:
            prepare_program_sweep("01_default.yaml", options)
        assert message in str(refused.value)
        assert "secret" not in str(refused.value)
    assert not (programs / "outputs").exists()


def test_a_hydra_application_keeps_its_types(programs: Path) -> None:
    """Its parameters are overrides in Hydra's grammar, and its run directory is the trial's."""
    (programs / "app.py").write_text(
        "import json\nimport hydra\nfrom hydra.core.hydra_config import HydraConfig\n\n"
        '@hydra.main(version_base="1.3", config_path=".", config_name="settings")\ndef main(cfg):\n'
        '    print(json.dumps({"loss": 1, "cfg": dict(cfg), "at": HydraConfig.get().runtime.output_dir}))\n\nmain()\n'
    )
    (programs / "settings.yaml").write_text("{lr: 1, text: x, flag: false}")
    (programs / "hydra.yaml").write_text(
        "{program: app.py, method: grid, metric: {name: loss, from: stdout}, "
        "parameters: {lr: {value: null}, text: {value: 'a, b'}, flag: {value: true}}}"
    )
    prepared = prepare_program_sweep("hydra.yaml", RunOptions())
    ProgramAgent(prepared.directory, 0)()
    (trial,) = open_sweep(prepared.directory).trials
    assert trial.state == "finished", trial.reason
    place = prepared.directory / "0"
    shown = json.loads((place / "stdout.log").read_text())
    assert shown["cfg"] == {"lr": None, "text": "a, b", "flag": True}
    assert shown["at"] == str(place)
    assert (place / ".hydra" / "config.yaml").exists()


def test_an_interrupted_sweep_is_resumed(programs: Path) -> None:
    """Ctrl-C gives the running trials back, and the printed command continues them."""
    (programs / "slow.py").write_text(
        "import os, time\nprint('loss=1', flush=True)\n"
        "while os.environ['WANDBSWEEP_ATTEMPT'] == '1':\n    time.sleep(0.1)\n"
    )
    (programs / "slow.yaml").write_text(
        "program: slow.py\nmethod: grid\nmetric: {name: loss, from: stdout}\nparameters: {lr: {values: [1, 2]}}\n"
    )
    app = App(programs)
    environment = make_environment(programs)
    command = [*WANDBSWEEP, "run", "slow.yaml", "--agents", "2"]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, cwd=programs, env=environment, start_new_session=True, **pipes) as process:
        deadline = time.monotonic() + 60
        while len(list(programs.glob("outputs/*/[01]/stdout.log"))) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 130, out
    sweep = find_sweep(app)
    assert [trial.state for trial in open_sweep(sweep).trials] == ["queued"] * 2
    assert f"wandbsweep.cli run {sweep.name}" in out or f"wandbsweep run {sweep.name}" in out
    resumed = run(app, sweep.name)
    assert resumed.status == 0, resumed
    assert [(trial.state, trial.attempts) for trial in open_sweep(sweep).trials] == [("finished", 2)] * 2


@pytest.mark.slow
def test_a_killed_agent_loses_no_trial(programs: Path) -> None:
    """Its program ends with it, and another agent takes the trial over when the lease has expired."""
    (programs / "slow.py").write_text(
        "import os, time\nfile = open(f\"pid{os.environ['WANDBSWEEP_ATTEMPT']}\", 'w')\n"
        "print(os.getpid(), os.getppid(), file=file, flush=True)\nprint('loss=1', flush=True)\n"
        "while os.environ['WANDBSWEEP_ATTEMPT'] == '1':\n    time.sleep(0.1)\n"
    )
    (programs / "slow.yaml").write_text(
        "{program: slow.py, method: grid, metric: {name: loss, from: stdout}, parameters: {lr: {values: [1]}}}"
    )
    command = [*WANDBSWEEP, "run", "slow.yaml", "--lease-s", "3"]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, cwd=programs, env=make_environment(programs), **pipes) as process:
        file, deadline = programs / "pid1", time.monotonic() + 60
        while not (file.exists() and file.read_text()):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        program, agent = map(int, file.read_text().split())
        os.kill(agent, signal.SIGKILL)
        out, _ = process.communicate(timeout=120)
    assert process.returncode == 0, out
    (trial,) = open_sweep(find_sweep(App(programs))).trials
    assert (trial.state, trial.attempts, trial.agent) == ("finished", 2, "1")
    assert not Path(f"/proc/{program}").exists()
