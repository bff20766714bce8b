"""Failures: one clear message, a status other than 0, no traceback, and nothing half-written."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import yaml

from tests.applications import App
from wandbsweep.results.report.data import build_page_data


def sweep_file(app: App, spec: dict[str, object]) -> str:
    """Writes ``spec`` where ``sweep=given`` finds it."""
    (app.directory / "conf" / "sweep" / "given.yaml").write_text(yaml.safe_dump(spec))
    return "sweep=given"


def run_refused(app: App, *arguments: str, **environment: str) -> str:
    """Runs a sweep that must be refused before anything is written, and returns its message."""
    message = app.run("-m", "hydra/sweeper=wandbsweep", *arguments, **environment).refused()
    outputs = app.directory / "outputs"
    assert not outputs.exists(), list(outputs.iterdir())
    return message


class TestTrials:
    def test_one_that_raises_is_failed_and_the_others_run(self, app: App) -> None:
        app.multirun("sweep=grid", "fail=[1,3]")
        assert app.states() == ["finished", "failed", "finished", "failed", "finished", "finished"]
        trial = app.sweep().trials[1]
        assert trial.reason.startswith("ValueError: no luck with ")
        traceback = (app.directory / "sweep" / "1" / "traceback.txt").read_text()
        assert "app.py" in traceback
        assert trial.reason in traceback
        assert not (app.directory / "sweep" / "0" / "traceback.txt").exists()

    def test_a_sweep_of_a_broken_script_is_aborted(self, app: App) -> None:
        ended = app.multirun("sweep=grid", "act=raise", "hydra.sweeper.max_failures=2", status=1)
        assert app.states() == ["failed", "failed"]
        assert "The sweep was aborted" in ended.err
        assert "max_failures=2" in ended.err
        assert ended.err.count("Traceback (most recent call last)") == 1
        completion = build_page_data(app.sweep())["completion"]
        assert completion["fails"]
        assert "The sweep was aborted: the first 2 trials all failed" in completion["reason"]

    def test_an_aborted_sweep_is_resumed_by_joining_it(self, app: App) -> None:
        """Its old failures neither abort it again nor are shown as new. How many abort it may change."""
        first = app.multirun("sweep=random", "act=raise", "hydra.sweeper.max_failures=2", "seed=1", status=1)
        (join,) = {
            line.split("Join it from another terminal or machine: ")[-1]
            for line in first.out.splitlines()
            if line.startswith("Join it")
        }
        assert f"Resume with:\n  {join}" in first.err
        source = app.directory / "app.py"
        text = source.read_text()
        again = app.shell(f"{join} hydra.sweeper.max_failures=3")
        assert again.status == 1
        assert app.states() == ["failed"] * 5
        assert "3 trials since the sweep was resumed all failed (max_failures=3)" in again.err
        assert "Trial 2: ValueError" in again.err
        assert "Trial 0: ValueError" not in again.err
        source.write_text(text.replace("raise ValueError(", "str("))
        last = app.shell(join)
        assert last.status == 0, last.err
        assert app.states()[5:] == ["finished"] * (len(app.states()) - 5) != []
        assert "Traceback" not in last.err

    def test_a_sweep_whose_later_trials_fail_is_paused_and_resumed(self, app: App) -> None:
        """A lone agent that breaks does not use up the sweep. The default of a limit may be named on joining."""
        source = app.directory / "app.py"
        text = source.read_text()
        source.write_text(text.replace("trial.number in cfg.fail", "trial.number > 0 and not Path('mended').exists()"))
        limit = "hydra.sweeper.max_failures=2"
        first = app.multirun("sweep=random", "++sweep.run_cap=12", limit, status=1)
        assert app.states() == ["finished", "failed", "failed"]
        said = "The sweep is paused: the last 2 trials all failed (max_failures=2)."
        join = first.out.split("Join it from another terminal or machine: ")[1].split("\n")[0]
        assert f"{said} Resume with:\n  {join}\nTrial 2: ValueError: no luck" in first.err
        again = app.shell(f"{join} hydra.sweeper.max_failures=5")
        assert again.status == 1
        assert app.states()[1:] == ["failed"] * 7
        said = "The sweep is paused: the last 5 trials all failed (max_failures=5)."
        assert said in again.err
        (app.directory / "mended").touch()
        last = app.shell(join)
        assert last.status == 0, last.err
        assert f"{said} It is resumed now." in last.out + last.err
        assert app.states()[8:] == ["finished"] * 4
        retried = app.shell(["wandbsweep", "retry", "sweep", "--failed"])
        assert "7 trials are given out again: 1, 2, 3, 4, 5, 6, 7.\nAgents at work take them." in retried.out
        assert f"If none is, start some with:\n  {join}" in retried.out
        assert app.shell(join).status == 0
        assert app.states() == ["finished"] * 12
        assert {trial.attempts for trial in app.sweep().trials[1:8]} == {2}

    def test_a_plain_grid_says_what_it_is_and_obeys_a_limit_that_is_named(self, app: App) -> None:
        ended = app.multirun("lr=1,2,3,4,5,6", "act=raise", "hydra.sweeper.max_failures=5", status=1)
        assert app.states() == ["failed"] * 5
        created, directory, join = ended.out.splitlines()[:3]
        assert created.startswith("Created sweep ")
        assert created.endswith(": grid over 1 parameter")
        assert directory == f"Directory: {app.directory / 'sweep'}"
        assert ended.out.rstrip().endswith("5/6 trials · 5 failed")
        join = join.removeprefix("Join it from another terminal or machine: ")
        said = "The sweep was aborted: the first 5 trials all failed (max_failures=5)."
        assert f"{said} Resume with:\n  {join}" in ended.err
        (app.directory / "app.py").write_text((app.directory / "app.py").read_text().replace("raise Value", "Value"))
        again = app.shell(join)
        assert app.states() == [*["failed"] * 5, "finished"]
        assert again.status == 1  # those that failed before count
        assert "6/6 trials · 1 finished · 5 failed" in again.out

    def test_a_task_that_exits(self, app: App) -> None:
        source = app.directory / "app.py"
        source.write_text(source.read_text().replace("raise ValueError(", "raise SystemExit("))
        app.multirun("sweep=grid", "fail=[1]")
        assert app.states() == ["finished", "failed", *["finished"] * 4]
        app.multirun("units=1,2", "fail=[0]", into="lists", status=1)
        assert app.states("lists") == ["failed", "finished"]

    @pytest.mark.parametrize("isolation", ["none", "process"])
    def test_out_of_memory_and_a_nan_loss_are_reasons(self, app: App, isolation: str) -> None:
        """Real ones. They are tried once, and shown in the lines of the sweep, the table, JSON and the report."""
        ended = app.multirun("sweep=grid", "act=exhaust", f"hydra.sweeper.isolation={isolation}")
        assert app.states() == ["finished", "failed", "failed", *["finished"] * 3]
        full, diverged = app.sweep().trials[1:3]
        assert re.match(
            r"out of memory: MemoryError \(app\.py:\d+, in \w+\); peak memory [\d,]+ MiB \(host\)", full.reason
        )
        assert (full.cause, full.attempts, diverged.cause, diverged.attempts) == ("out of memory", 1, "diverged", 1)
        assert full.metrics["memory/host_peak_mib"] > 10
        assert diverged.reason == "diverged: the loss is NaN at step 17"
        assert re.search(r"^trial 1 failed: [\d.]+s, out of memory: MemoryError", ended.err, re.MULTILINE)
        assert build_page_data(app.sweep())["trials"][1]["reason"] == full.reason
        assert (app.directory / "sweep" / "1" / "traceback.txt").read_text().rstrip().endswith("MemoryError")

    def test_nan_is_no_value(self, app: App) -> None:
        ended = app.multirun("sweep=macros", "act=diverge", status=1)
        assert [trial.value for trial in app.sweep().trials] == [None, None]
        assert app.sweep().best is None
        assert "Best:" not in ended.out
        assert "No trial has a value yet." in ended.out
        assert "No trial has a finite value of the metric." in ended.err
        assert "trial 0 finished: no finite value of loss, 1 step, " in ended.err

    def test_none_that_finished(self, app: App) -> None:
        ended = app.multirun("sweep=macros", "act=raise", status=1)
        assert app.states() == ["failed", "failed"]
        assert "No trial finished.\nTrial 0: ValueError: no luck" in ended.err
        assert ended.err.count("Traceback (most recent call last)") == 1

    @pytest.mark.parametrize(("sweep", "status"), [(["sweep=grid"], 0), (["units=1,2,3,4,5,6"], 1)])
    def test_a_trial_whose_process_is_killed(self, app: App, sweep: list[str], status: int) -> None:
        """Its second attempt is killed too, and no other trial with it. In a plain grid every trial counts."""
        agents = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "hydra.sweeper.agents=2"]
        ended = app.multirun(*sweep, "act=die", "hydra.sweeper.max_attempts=2", *agents, status=status)
        assert sorted(app.states()) == ["crashed"] + ["finished"] * 5
        (crashed,) = (trial for trial in app.sweep().trials if trial.state == "crashed")
        assert crashed.reason == "its process was killed by SIGKILL (out of memory?); attempt 2 of 2"
        assert crashed.reason in ended.err

    @pytest.mark.slow
    def test_an_agent_that_is_killed_is_replaced(self, app: App) -> None:
        """submitit gives up, but the other agent continues. It takes the trial over, and is killed by it as well."""
        agents = ["hydra/launcher=submitit_local", "hydra.sweeper.agents=2"]
        options = ["hydra.sweeper.isolation=none", "hydra.sweeper.lease_s=2", "hydra.sweeper.max_attempts=2"]
        app.multirun("sweep=grid", "act=die", *options, *agents)
        assert sorted(app.states()) == ["crashed"] + ["finished"] * 5
        (crashed,) = (trial for trial in app.sweep().trials if trial.state == "crashed")
        assert (crashed.number, crashed.attempts) == (1, 2)

    def test_a_metric_that_is_never_logged(self, app: App) -> None:
        ended = app.run("-m", "hydra/sweeper=wandbsweep", "hydra.sweep.dir=sweep", "sweep=grid", "act=silent")
        message = ended.refused(status=1)
        assert app.states() == ["failed"]  # the others would do no better
        assert "'loss'" in message
        assert "'accuracy', 'train/loss'" in message


class TestSpaces:
    def test_an_unknown_key(self, app: App) -> None:
        names = ("lrr", "model.widht", "args.per_device_train_batch_size")
        spec = {"method": "grid", "parameters": {name: {"values": [1]} for name in names}}
        message = run_refused(app, sweep_file(app, spec))
        assert "did you mean sweep.parameters" not in message
        assert "parameters.lrr: is not a key of the application's configuration; did you mean lr?" in message
        assert "did you mean model.width?" in message

    def test_a_key_that_is_unknown_under_one_choice(self, app: App) -> None:
        parameters = {"model": {"values": ["mlp", "convnet"]}, "model.kernel": {"values": [1, 2]}}
        message = run_refused(app, sweep_file(app, {"method": "grid", "parameters": parameters}))
        assert "parameters.model.kernel: is not a key of the application's configuration with model=mlp" in message

    def test_an_unknown_choice(self, app: App) -> None:
        spec = {"method": "grid", "parameters": {"model": {"values": ["mlp", "resnet"]}}}
        message = run_refused(app, sweep_file(app, spec))
        assert "'resnet' is not a choice of the config group 'model'; its choices are convnet, mlp" in message

    def test_a_value_that_hydra_cannot_write(self, app: App) -> None:
        spec = {"method": "grid", "parameters": {"options": {"values": [{"a": {"it's": 1}}, {}]}}}
        assert 'parameters.options: The key "it\'s"' in run_refused(app, sweep_file(app, spec))

    def test_a_value_of_no_plain_type(self, app: App) -> None:
        (app.directory / "conf" / "sweep" / "given.yaml").write_text(
            "method: grid\nparameters: {label: {values: [2020-01-01, 1_0]}}\n"
        )
        app.multirun("sweep=given")
        assert [result["cfg"]["label"] for result in app.results()] == ["2020-01-01", 10]

    def test_every_violation_at_once(self, app: App) -> None:
        spec = {
            "method": "gird",
            "metric": {"name": "loss", "goal": "minimise"},
            "parameters": {"lr": {"min": 1, "max": 0}, "units": {}},
            "early_terminate": {"type": "hyperbrand"},
        }
        message = run_refused(app, sweep_file(app, spec))
        for path in ("method", "metric.goal", "parameters.lr", "parameters.units", "early_terminate.type"):
            assert f"- {path}" in message

    def test_a_misspelt_parameters(self, app: App) -> None:
        (app.directory / "conf/sweep/slip.yaml").write_text("method: random\nrun_cap: 2\nparamters: {lr: {value: 1}}\n")
        message = app.run("-m", "hydra/sweeper=wandbsweep", "sweep=slip").refused()
        assert "paramters: unknown key; did you mean parameters?" in message

    def test_an_empty_sweep_file(self, app: App) -> None:
        (app.directory / "conf/sweep/empty.yaml").touch()
        assert "is empty" in app.run("-m", "hydra/sweeper=wandbsweep", "sweep=empty").refused()

    def test_a_number_for_a_config_group(self, app: App) -> None:
        message = app.run("-m", "hydra/sweeper=wandbsweep", "sweep=random", "model=18,mlp").refused()
        assert "18 is not a choice of the config group 'model' (a choice is text: write '18' in quotes)" in message

    def test_an_endless_sweep(self, app: App) -> None:
        message = run_refused(app, "sweep=random", "sweep.run_cap=null")
        assert "++sweep.run_cap=50" in message
        assert "hydra.sweeper.endless=true" in message

    def test_an_endless_sweep_that_is_meant(self, app: App) -> None:
        app.multirun("sweep=random", "sweep.run_cap=null", "hydra.sweeper.endless=true", "hydra.sweeper.count=2")
        assert app.states() == ["finished", "finished"]

    def test_an_unknown_sweep_file(self, app: App) -> None:
        ended = app.run("-m", "hydra/sweeper=wandbsweep", "sweep=nonesuch")
        assert ended.status == 1  # Hydra's own words
        assert "nonesuch" in ended.err

    def test_a_comma_list_of_an_unknown_key(self, app: App) -> None:
        app.multirun("units=1,2")
        ended = app.run("-m", "hydra/sweeper=wandbsweep", "hydra.sweep.dir=sweep", "nonesuch=1,2")
        assert ended.status == 1
        assert "nonesuch" in ended.err
        assert app.states() == ["finished", "finished"]  # what was there is still there


class TestSettings:
    def test_a_storage_that_cannot_be_opened(self, app: App) -> None:
        message = run_refused(app, "sweep=grid", "hydra.sweeper.storage=nonesuch://x")
        assert "hydra.sweeper.storage: cannot open 'nonesuch://x'" in message

    def test_an_unknown_setting(self, app: App) -> None:
        """The message and the status are Hydra's, which knows the types and the keys (see tests/test_settings.py)."""
        ended = app.run("-m", "hydra/sweeper=wandbsweep", "sweep=grid", "hydra.sweeper.agentz=2")
        assert ended.status == 1
        assert "agentz" in ended.err
        assert "Traceback" not in ended.err
        assert not (app.directory / "outputs").exists()

    def test_all_wrong_values_at_once(self, app: App) -> None:
        message = run_refused(app, "sweep=grid", "hydra.sweeper.agents=0", "hydra.sweeper.seed=-1")
        assert "hydra.sweeper.agents" in message
        assert "hydra.sweeper.seed" in message

    def test_a_journal_that_is_no_sweeps_is_kept(self, app: App) -> None:
        (app.directory / "sweep").mkdir()
        journal = app.directory / "sweep" / "journal.log"
        journal.write_text("somebody's own\n")
        start = ["-m", "hydra/sweeper=wandbsweep", "hydra.sweep.dir=sweep", "sweep=grid"]
        assert "would overwrite it" in app.run(*start).refused()
        assert journal.read_text() == "somebody's own\n"

    def test_the_trials_of_a_sweep_that_lost_its_file_are_kept(self, app: App) -> None:
        app.multirun("sweep=macros")
        (app.directory / "sweep" / "sweep.yaml").unlink()
        before = (app.directory / "sweep" / "journal.log").read_bytes()
        start = ["-m", "hydra/sweeper=wandbsweep", "hydra.sweep.dir=sweep", "sweep=macros"]
        assert "would overwrite it" in app.run(*start).refused()
        assert (app.directory / "sweep" / "journal.log").read_bytes() == before

    def test_a_directory_that_cannot_be_created(self, app: App) -> None:
        (app.directory / "file").touch()
        message = run_refused(app, "sweep=grid", "hydra.sweep.dir=file/sweep")
        assert "Cannot write to" in message
        assert "hydra.sweep.dir" in message


def test_a_storage_that_is_there(app: App, tmp_path: Path) -> None:
    app.multirun("sweep=grid", f"hydra.sweeper.storage=sqlite:///{tmp_path}/store.db")
    assert app.states() == ["finished"] * 6
    assert not (app.directory / "sweep" / "journal.log").exists()


class TestDamage:
    """Damaged files of a sweep that is resumed."""

    @pytest.mark.parametrize(
        ("file", "reason"),
        [
            ("journal.log", "journal.log, line 1: the journal is damaged: 'garbage' is not a JSON object"),
            (".sweep/plan.json", "plan.json is damaged: line 1, column 1: not valid JSON"),
        ],
    )
    def test_a_file_that_is_damaged(self, app: App, file: str, reason: str) -> None:
        app.multirun("sweep=random", "hydra.sweeper.count=1", "hydra.sweeper.agents=1")
        (app.directory / "sweep" / file).write_text("garbage\n")
        message = app.run("-m", "hydra/sweeper=wandbsweep", "hydra.sweep.dir=sweep", "sweep=random").refused()
        assert reason in message

    def test_a_directory_that_cannot_be_written_to(self, app: App) -> None:
        app.multirun("sweep=random", "hydra.sweeper.count=1", "hydra.sweeper.agents=1")
        shutil.rmtree(app.directory / "sweep" / "agents")
        (app.directory / "sweep" / "agents").touch()
        message = app.run("-m", "hydra/sweeper=wandbsweep", "hydra.sweep.dir=sweep", "sweep=random").refused()
        assert "Cannot write to" in message

    def test_while_it_runs(self, app: App) -> None:
        source = app.directory / "app.py"
        spoil = "Path('sweep/journal.log').open('a').write('garbage\\n')"
        source.write_text(
            source.read_text().replace("    write_result(cfg)\n", f"    write_result(cfg)\n    {spoil}\n")
        )
        ended = app.run("-m", "hydra/sweeper=wandbsweep", "hydra.sweep.dir=sweep", "sweep=random")
        assert "the journal is damaged: 'garbage'" in ended.refused()


def test_a_password_is_refused_before_it_is_written(app: App) -> None:
    message = run_refused(app, "sweep=grid", "hydra.sweeper.storage='postgresql://me:marked-secret@localhost/x'")
    assert "postgresql://me:***@localhost/x holds a password" in message
    assert "marked-secret" not in message


def test_a_password_in_the_environment_is_not_written(app: App, tmp_path: Path) -> None:
    # SQLite has no passwords, but the same address.
    url = f"sqlite:///{tmp_path}/${{oc.env:MARKED}}.db"
    app.multirun("sweep=grid", f"'hydra.sweeper.storage=\"{url}\"'".strip("'"), MARKED="marked-secret")
    assert (tmp_path / "marked-secret.db").exists()
    written = [path for path in app.directory.rglob("*") if path.is_file() and b"marked-secret" in path.read_bytes()]
    assert written == []


@pytest.mark.parametrize("basic", ["hydra/launcher=joblib", "hydra/launcher=basic"])
def test_what_cannot_be_left_is_not_detached(app: App, basic: str) -> None:
    assert "hydra.sweeper.detach=true" in run_refused(app, "sweep=grid", basic, "hydra.sweeper.detach=true")


def test_agents_have_their_own_devices(app: App) -> None:
    agents = ["hydra/launcher=submitit_local", "hydra.sweeper.agents=2", "hydra.sweeper.gpus_per_agent=1"]
    message = run_refused(app, "sweep=grid", *agents, CUDA_VISIBLE_DEVICES="3")
    assert "2 agents with 1 GPUs each need 2, but there are 1 (3)" in message
