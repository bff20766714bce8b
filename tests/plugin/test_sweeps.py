"""Whole sweeps: `python app.py -m hydra/sweeper=wandbsweep ...`, as a user runs them."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

from tests.applications import AGENTS, App
from wandbsweep.bridge.composition import find_misfits
from wandbsweep.spec.distributions import Parameter


def counted(params: dict[int, dict[str, Any]]) -> list[tuple[Any, ...]]:
    """The trials' values, by number."""
    return [tuple(params[number].values()) for number in range(len(params))]


class TestAgents:
    def test_two_share_a_random_sweep(self, app: App) -> None:
        app.multirun("sweep=random", "hydra.sweeper.seed=1", into="alone")
        app.multirun("sweep=random", "hydra.sweeper.seed=1", "act=meet", *AGENTS["submitit_local"])
        assert app.params() == app.params("alone")
        assert app.states() == ["finished"] * 6
        assert {trial.agent for trial in app.sweep().trials} == {"0", "1"}
        assert len({result["pid"] for result in app.results()}) == 6  # each in a process of its own

    def test_two_share_a_grid(self, app: App) -> None:
        app.multirun("sweep=grid", into="alone")
        app.multirun("sweep=grid", "act=meet", *AGENTS["joblib"])
        assert app.params() == app.params("alone")
        assert len(set(counted(app.params()))) == 6
        assert {trial.agent for trial in app.sweep().trials} == {"0", "1"}

    def test_count_limits_each_of_them(self, app: App) -> None:
        app.multirun("sweep=random", "hydra.sweeper.count=2", "hydra.sweeper.agents=2")
        assert [trial.agent for trial in app.sweep().trials] == ["0", "0", "1", "1"]

    def test_count_without_agents_gives_as_many_as_the_trials_need(self, app: App) -> None:
        app.multirun("sweep=random", "hydra.sweeper.count=4")
        assert [trial.agent for trial in app.sweep().trials] == ["0"] * 4 + ["1"] * 2


class TestTrials:
    def test_config_groups_are_composed_for_each_trial(self, app: App) -> None:
        app.multirun("sweep=grid")
        for result in app.results():
            wanted = {"mlp": {"kind": "mlp", "width": 2}, "convnet": {"kind": "convnet", "width": 3, "kernel": 5}}
            assert result["cfg"]["model"] == wanted[result["params"]["model"]]
            assert result["cfg"]["lr"] == result["params"]["lr"]
            assert "sweep" not in result["cfg"]

    def test_directories(self, app: App) -> None:
        app.multirun("sweep=grid", "label='two words'")
        trial = app.directory / "sweep" / "4"
        assert (trial / "app.log").exists()
        overrides = yaml.safe_load((trial / ".hydra" / "overrides.yaml").read_text())
        assert overrides == ["sweep=grid", "label='two words'", *app.sweep().overrides(app.sweep().trials[4])[1:]]
        stored = yaml.safe_load((trial / ".hydra" / "config.yaml").read_text())
        assert (stored["lr"], stored["label"]) == (app.params()[4]["lr"], "two words")
        assert (app.directory / "sweep" / "sweep.yaml").exists()
        assert (app.directory / "sweep" / "multirun.yaml").exists()
        assert (app.directory / "sweep" / "agents" / "0" / ".hydra").is_dir()

    def test_where_the_project_says_nothing_is_outputs(self, app: App) -> None:
        ended = app.multirun("sweep=macros", into=None)
        (directory,) = (app.directory / "outputs").iterdir()
        assert f"Created sweep {directory.name}" in ended.out
        assert app.states(f"outputs/{directory.name}") == ["finished", "finished"]

    def test_with_chdir(self, app: App) -> None:
        app.multirun("sweep=macros", "hydra.job.chdir=true")
        places = [str(app.directory / "sweep" / number) for number in "01"]
        assert [result["cwd"] for result in app.results()] == places

    def test_without_chdir(self, app: App) -> None:
        app.multirun("sweep=macros", "hydra.job.chdir=false")
        assert {result["cwd"] for result in app.results()} == {str(app.directory)}

    def test_with_subdirectories_of_the_projects_own(self, app: App) -> None:
        app.multirun("sweep=macros", "hydra.sweep.subdir=lr-${lr}")
        assert (app.directory / "sweep" / "lr-0.2" / "result.json").exists()
        assert [result["cfg"]["lr"] for result in app.results()] == [0.1, 0.2]  # found by number as well

    def test_with_a_directory_of_the_projects_own(self, app: App) -> None:
        own = "hydra: {sweep: {dir: 'mine/${hydra.job.name}'}}\n"
        config = app.directory / "conf" / "config.yaml"
        config.write_text(config.read_text() + own)
        app.multirun("sweep=macros", into=None)
        assert app.states("mine/app") == ["finished", "finished"]
        assert not (app.directory / "outputs").exists()

    def test_with_a_directory_that_is_named_for_the_sweep(self, app: App) -> None:
        config = app.directory / "conf" / "config.yaml"
        config.write_text(config.read_text() + "hydra: {sweep: {dir: 'mine/${hydra.sweeper.sweep_id}'}}\n")
        ended = app.multirun("sweep=random", "hydra.sweeper.count=1", "hydra.sweeper.agents=1", into=None)
        (directory,) = (app.directory / "mine").iterdir()
        assert f"Created sweep {directory.name}" in ended.out
        app.multirun(f"hydra.sweeper.sweep_id={directory.name}", into=None)
        assert app.states(f"mine/{directory.name}") == ["finished"] * 6

    def test_mandatory_keys_and_groups_that_are_swept(self, app: App) -> None:
        config = app.directory / "conf" / "config.yaml"
        config.write_text(config.read_text().replace("model: mlp", "model: ???").replace("lr: 0.1", "lr: ???"))
        app.multirun("sweep=grid", *AGENTS["basic"])
        assert app.states() == ["finished"] * 6

    def test_environment_is_read_where_a_trial_runs(self, app: App) -> None:
        app.multirun("sweep=macros", TINY_WHERE="here")
        assert {result["cfg"]["where"] for result in app.results()} == {"here"}

    def test_values_arrive_as_they_are(self, app: App) -> None:
        values = ["two words", "a=b,c", "${lr}", "it's", "null", None, True, 3, 1e-7, [1, "x"], {"a": {"b": 1}}]
        spec = {"method": "grid", "parameters": {"options": {"values": values}}}
        (app.directory / "conf" / "sweep" / "odd.yaml").write_text(yaml.safe_dump(spec))
        app.multirun("sweep=odd")
        seen = [(r["cfg"]["options"], r["params"]["options"]) for r in app.results()]
        assert all(value == (0.1 if chosen == "${lr}" else chosen) for value, chosen in seen)
        assert sorted(map(repr, (r["params"]["options"] for r in app.results()))) == sorted(map(repr, values))

    def test_callbacks_fire_for_each_trial_and_for_nothing_else(self, app: App) -> None:
        app.multirun("sweep=macros", "fail=[1]", "+hydra.callbacks.recorder._target_=watch.Recorder")
        assert (app.directory / "fired.txt").read_text().split("\n")[:-1] == [
            *("multirun_start", "job_start 0", "job_end 0 COMPLETED"),
            *("job_start 1", "job_end 1 FAILED", "multirun_end"),
        ]

    def test_callbacks_fire_where_the_agents_are(self, app: App) -> None:
        app.multirun("sweep=macros", "+hydra.callbacks.recorder._target_=watch.Recorder", *AGENTS["submitit_local"])
        fired = (app.directory / "fired.txt").read_text().split("\n")
        assert sorted(line for line in fired if line.startswith("job_start")) == ["job_start 0", "job_start 1"]

    def test_editing_files_changes_nothing(self, app: App) -> None:
        app.multirun("sweep=grid", "act=edit")
        assert app.states() == ["finished"] * 6
        assert {result["cfg"]["model"]["kind"] for result in app.results()} == {"mlp", "convnet"}
        assert max(result["cfg"]["lr"] for result in app.results()) == 0.3

    def test_editing_files_changes_nothing_for_who_joins(self, app: App) -> None:
        app.multirun("sweep=grid", "act=edit", "hydra.sweeper.count=1", "hydra.sweeper.agents=1")
        assert app.states() == ["finished"]
        config = app.directory / "conf" / "config.yaml"
        config.write_text("defaults: [{model: mlp}]\nlr: 100\n")
        app.multirun(f"hydra.sweeper.sweep_id={app.sweep().sweep_id}", *AGENTS["submitit_local"])
        assert app.states() == ["finished"] * 6
        assert max(result["cfg"]["lr"] for result in app.results()) == 0.3


class TestTheCommandLine:
    def test_comma_lists_are_a_grid_in_their_order(self, app: App) -> None:
        ended = app.multirun("units=3,1", "model=mlp,convnet", "lr=choice(0.5,0.1)")
        assert counted(app.params())[:3] == [(3, "mlp", 0.5), (3, "mlp", 0.1), (3, "convnet", 0.5)]
        assert len(app.params()) == 8
        assert "\n8/8 trials · 8 finished" in ended.out

    def test_comma_lists_say_where_their_results_are(self, app: App) -> None:
        ended = app.multirun("units=1,2", into=None)
        (directory,) = (app.directory / "outputs").iterdir()
        assert ended.out.startswith(f"Created sweep {directory.name}: grid over 1 parameter\nDirectory: {directory}\n")

    def test_comma_lists_run_again_in_the_same_place(self, app: App) -> None:
        app.multirun("units=3,1")
        app.multirun("units=2,4,6")
        assert counted(app.params()) == [(2,), (4,), (6,)]

    def test_a_comma_list_whose_trial_fails(self, app: App) -> None:
        ended = app.multirun("units=1,2,3", "fail=[0]", status=1)
        assert app.states() == ["failed", "finished", "finished"]
        assert "no luck" in ended.err

    def test_an_own_key_sweep_is_left_alone(self, app: App) -> None:
        app.multirun("sweep=own", "units=1,2")
        assert [result["cfg"]["sweep"] for result in app.results()] == [{"angle": 30}] * 2

    def test_an_own_key_sweep_can_be_swept_over(self, app: App) -> None:
        app.multirun("sweep=own", "sweep.angle=10,20")
        assert [result["cfg"]["sweep"] for result in app.results()] == [{"angle": 10}, {"angle": 20}]
        assert app.sweep().overrides(app.sweep().trials[1]) == ["sweep=own", "sweep.angle=20"]

    @pytest.mark.parametrize("override", ["sweep=grid,random", "sweep.run_cap=1,2"])
    def test_sweeping_over_sweeps_is_refused(self, app: App, override: str) -> None:
        ended = app.run("-m", "hydra/sweeper=wandbsweep", "hydra.sweep.dir=sweep", "sweep=random", override)
        assert "one command runs one sweep" in ended.refused()
        assert not (app.directory / "sweep").exists()

    def test_macros_of_wandb_in_a_sweep_file(self, app: App) -> None:
        app.multirun("sweep=macros")
        assert app.sweep().spec.config["command"][0] == "${env}"

    def test_a_fixed_override_takes_a_parameter_out(self, app: App) -> None:
        app.multirun("sweep=grid", "lr=0.7")
        assert counted(app.params()) == [("mlp",), ("convnet",)]
        assert {result["cfg"]["lr"] for result in app.results()} == {0.7}

    def test_every_parameter_fixed(self, app: App) -> None:
        ended = app.run("-m", "hydra/sweeper=wandbsweep", "sweep=macros", "lr=0.7")
        assert "nothing to search" in ended.refused()

    def test_a_parameter_is_changed_by_naming_it(self, app: App) -> None:
        app.multirun("sweep=grid", "lr=0.9,0.8", "units=range(1,3)")
        assert {result["cfg"]["lr"] for result in app.results()} == {0.9, 0.8}
        assert {result["cfg"]["units"] for result in app.results()} == {1, 2}

    def test_an_interval(self, app: App) -> None:
        app.multirun("sweep=random", "lr=tag(log,interval(1e-6,1e-5))", "++sweep.run_cap=3")
        assert all(1e-6 <= result["cfg"]["lr"] <= 1e-5 for result in app.results())
        assert len(app.params()) == 3

    def test_a_key_of_the_sweep_is_changed(self, app: App) -> None:
        app.multirun("sweep=random", "sweep.run_cap=2")
        assert len(app.params()) == 2

    def test_a_sweep_without_a_file(self, app: App) -> None:
        given = ["+hydra.sweeper.sweep.method=random", "+hydra.sweeper.sweep.run_cap=2"]
        app.multirun(*given, "lr=interval(0.0,1.0)")
        assert len(app.params()) == 2

    def test_an_interval_alone_says_what_is_missing(self, app: App) -> None:
        ended = app.run("-m", "hydra/sweeper=wandbsweep", "lr=interval(0.0,1.0)")
        assert "lr is an interval" in ended.refused()

    def test_groups_with_packages(self, app: App) -> None:
        app.multirun("db@source=sqlite,postgres")
        assert [result["cfg"]["source"]["name"] for result in app.results()] == ["sqlite", "postgres"]

    def test_keys_that_are_new(self, app: App) -> None:
        app.multirun("+extra=1,2", "++units=5")
        assert [result["cfg"]["extra"] for result in app.results()] == [1, 2]

    def test_glob(self, app: App) -> None:
        app.multirun("model=glob(*)")
        assert [result["cfg"]["model"]["kind"] for result in app.results()] == ["convnet", "mlp"]


class TestConfigGroups:
    def test_choices_below_a_group_and_beside_the_project(self, app: App, tmp_path: Path) -> None:
        for place, kind in ((app.directory / "conf/model/deep", "deep"), (tmp_path / "extra/model", "extra")):
            place.mkdir(parents=True)
            (place / f"{kind}.yaml").write_text(f"kind: {kind}\nwidth: 1\n")
        searched = f"hydra.searchpath=[file://{tmp_path}/extra]"
        app.multirun("sweep=grid", "model=mlp,deep/deep,extra", "lr=0.1", searched)
        assert sorted({result["cfg"]["model"]["kind"] for result in app.results()}) == ["deep", "extra", "mlp"]

    def test_values_of_another_type_than_their_keys(self) -> None:
        composed = OmegaConf.structured(Typed)
        parameters = {"width": Parameter("width", "categorical", values=(1, 2.5, "many"))}
        assert [fault.partition(" does not")[0] for fault in find_misfits(composed, parameters)] == [
            "parameters.width: 2.5",
            "parameters.width: 'many'",
        ]


@dataclass
class Typed:
    width: int = 1


class TestGoingOn:
    def test_another_process_joins(self, app: App) -> None:
        app.multirun("sweep=random", "units=7", "hydra.sweeper.count=2", "hydra.sweeper.agents=1", into=None)
        (directory,) = (app.directory / "outputs").iterdir()
        place = f"outputs/{directory.name}"
        ended = app.multirun(f"hydra.sweeper.sweep_id={directory.name}", into=None)
        assert f"Joined sweep {directory.name}" in ended.out
        assert app.states(place) == ["finished"] * 6
        assert [result["cfg"]["units"] for result in app.results(place)] == [7] * 6
        assert [trial.agent for trial in app.sweep(place).trials] == ["0", "0", "1", "1", "1", "1"]

    def test_the_join_command_joins(self, app: App) -> None:
        ended = app.multirun("sweep=random", "hydra.sweeper.count=2", "hydra.sweeper.agents=1", into="outputs/mine")
        (command,) = re.findall(r"Join it .*?: (.*)", ended.out)
        assert app.shell(command).status == 0
        assert app.states("outputs/mine") == ["finished"] * 6

    @pytest.mark.parametrize("script", ["app.py", pytest.param("{cwd}/app.py", marks=pytest.mark.slow)])
    def test_the_join_command_works_in_any_directory(self, app: App, script: str) -> None:
        place = app.directory / "outputs" / "elsewhere"
        place.mkdir(parents=True)
        start = [sys.executable, script.format(cwd=app.directory), "-m", "hydra/sweeper=wandbsweep"]
        ended = app.shell([*start, "sweep=random", "hydra.sweeper.count=2", "hydra.sweeper.agents=1"])
        (command,) = re.findall(r"Resume with:\n  (.*)", ended.err)
        if script == "app.py":
            assert "hydra.sweep.dir" not in command
            command = f"cd {app.directory} && {command}"
        again = app.shell(f"cd {place} && {command}")
        assert "Joined sweep" in again.out, again

    def test_joining_with_more_trials(self, app: App) -> None:
        app.multirun("sweep=random", "++sweep.run_cap=2")
        app.multirun(f"hydra.sweeper.sweep_id={app.sweep().sweep_id}", "++sweep.run_cap=5")
        assert app.states() == ["finished"] * 5
        assert app.sweep().spec.run_cap == 5

    def test_joining_with_other_overrides_is_refused(self, app: App) -> None:
        app.multirun("sweep=macros", "label=a b")
        joining = ["-m", "hydra/sweeper=wandbsweep", "hydra.sweep.dir=sweep"]
        joining.append(f"hydra.sweeper.sweep_id={app.sweep().sweep_id}")
        ended = app.run(*joining, "label=a b", "units=9")
        assert "so units=9 cannot be changed" in ended.refused()
        assert app.run(*joining, "label=a b").status == 0  # which is no other

    def test_joining_what_is_not_there(self, app: App) -> None:
        ended = app.run("-m", "hydra/sweeper=wandbsweep", "hydra.sweeper.sweep_id=abcdefgh")
        assert "abcdefgh" in ended.refused()
        assert not (app.directory / "outputs").exists()

    def test_joining_in_the_directory_of_another_sweep_is_refused(self, app: App) -> None:
        app.multirun("sweep=macros")
        ended = app.run("-m", "hydra/sweeper=wandbsweep", "hydra.sweep.dir=sweep", "hydra.sweeper.sweep_id=abcdefgh")
        assert app.sweep().sweep_id in ended.refused()

    def test_two_that_start_at_once_in_one_directory_share_a_sweep(self, app: App) -> None:
        with ThreadPoolExecutor(2) as both:
            first, second = both.map(lambda _: app.multirun("sweep=random"), range(2))
        assert sorted(ended.out.split()[0] for ended in (first, second)) == ["Created", "Joined"]
        assert app.states() == ["finished"] * 6

    def test_the_seed_cannot_be_changed_by_joining(self, app: App) -> None:
        app.multirun("sweep=macros", "hydra.sweeper.seed=3")
        joining = ["-m", "hydra/sweeper=wandbsweep", f"hydra.sweeper.sweep_id={app.sweep().sweep_id}"]
        ended = app.run(*joining, "hydra.sweep.dir=sweep", "hydra.sweeper.seed=5")
        assert "hydra.sweeper.seed=5 cannot be changed" in ended.refused()

    def test_the_same_directory_resumes(self, app: App) -> None:
        app.multirun("sweep=random", "hydra.sweeper.count=2", "hydra.sweeper.agents=1")
        ended = app.multirun("sweep=random")
        assert "Joined sweep" in ended.out
        assert app.states() == ["finished"] * 6

    def test_another_sweep_in_the_same_directory_is_refused(self, app: App) -> None:
        app.multirun("sweep=macros", "units=1")
        again = ["-m", "hydra/sweeper=wandbsweep", "hydra.sweep.dir=sweep", "sweep=random", "units=2"]
        message = app.run(*again).refused()
        for difference in ("method: grid, now random", "parameters.lr", "parameters.model: none", "units=2"):
            assert difference in message

    def test_an_interrupted_sweep(self, app: App) -> None:
        (app.directory / "hang").touch()
        command = [sys.executable, "app.py", "-m", "hydra/sweeper=wandbsweep", "sweep=grid", "act=pause"]
        process = subprocess.Popen(
            [*command, "hydra.sweep.dir=sweep"],
            cwd=app.directory,
            env=app.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        await_file(app.directory / "hanging")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
        assert process.returncode == 130
        assert "Traceback" not in err
        assert app.states() == ["finished", "queued"]
        (command_to_join,) = re.findall(r"Resume with:\n  (.*)", err)
        (app.directory / "hang").unlink()
        assert app.shell(command_to_join).status == 0
        assert app.states() == ["finished"] * 6
        assert [trial.attempts for trial in app.sweep().trials] == [1, 2, 1, 1, 1, 1]

    def test_the_last_trial_of_a_sweep_that_was_killed(self, app: App) -> None:
        """No trial is left to give out, and the next command takes over what ran. What lies between is no work."""
        (app.directory / "hang").touch()
        sweep = ["-m", "hydra/sweeper=wandbsweep", "hydra.sweep.dir=sweep", "sweep=grid", "lr=0.1", "act=pause"]
        process = subprocess.Popen(
            [sys.executable, "app.py", *sweep, "hydra.sweeper.lease_s=1"],
            cwd=app.directory,
            env=app.environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        await_file(app.directory / "hanging")
        process.kill()
        process.wait()
        killed = time.time()
        (app.directory / "hang").unlink()
        assert app.run(*sweep).status == 0
        assert app.states() == ["finished"] * 2
        trial = app.sweep().trials[1]
        assert trial.attempts == 2
        assert None not in (trial.started, trial.ended, trial.resumed, trial.duration_s)
        assert trial.duration_s < (trial.ended - trial.started) - (trial.resumed - killed) + 0.5


class TestWhatAPersonSees:
    def test_the_sweep_its_progress_and_its_best(self, app: App) -> None:
        ended = app.multirun("sweep=grid", "label='two words'")
        sweep = app.sweep()
        assert f"Created sweep {sweep.sweep_id}: grid over 2 parameters, minimize loss" in ended.out
        assert f"Directory: {sweep.directory}" in ended.out
        assert re.search(r"trial 0 finished: loss [\d.]+, 2 steps, [\d.]+s", ended.err)
        assert "6/6 trials · 6 finished · best loss 0.2" in ended.err
        assert sweep.best is not None
        assert f"Best: trial {sweep.best.number}, loss 0.2" in ended.out

    def test_the_command_that_trains_the_best_again(self, app: App) -> None:
        ended = app.multirun("sweep=grid", "label='two words'", "+extra={a: 1}")
        command = ended.out.split("Train it again:\n")[1].split("\n")[0]
        assert app.shell(f"{command} hydra.run.dir=again").status == 0
        best = app.sweep().best
        assert best is not None
        assert app.result(best.number)["cfg"] == app.result("", "again")["cfg"]

    def test_that_command_keeps_what_is_of_use_to_a_run(self, app: App) -> None:
        kept = ["hydra.job.chdir=true", "hydra/job_logging=none"]
        ended = app.multirun("sweep=grid", *kept, "hydra.sweeper.seed=1")
        command = ended.out.split("Train it again:\n")[1].split("\n")[0]
        assert command.endswith(" ".join(kept))


def await_file(path: Path, *, within_s: float = 60) -> None:
    deadline = time.monotonic() + within_s
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.02)
