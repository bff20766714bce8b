"""``wandbsweep retry``, and what ``resume`` and ``status`` say of a sweep whose trials fail."""

import json

import pytest

from tests.configurations import RANDOM
from wandbsweep import Outcome, create_sweep, load_sweep
from wandbsweep.controllers.hosted.log import HOSTED_LOG, HostedLog
from wandbsweep.controllers.open import open_embedded
from wandbsweep.controllers.outcome import StoredOutcome
from wandbsweep.sweep.directory import write_spec
from wandbsweep.sweep.launch_record import Application, ControllerOptions, HostedPlace, LaunchRecord, TrialOverrides


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    """A sweep of a finished, a failed, and a crashed trial, and of one that runs."""
    monkeypatch.chdir(tmp_path)
    controller = create_sweep(load_sweep(RANDOM | {"run_cap": 4}), "outputs/abcd1234", max_attempts=1)
    controller.complete(controller.ask("a"), Outcome.finished(0.5))
    controller.complete(controller.ask("a"), Outcome.failed("ValueError: no luck"))
    controller.crash(controller.ask("a"), "SIGSEGV")
    controller.ask("a")
    yield controller
    controller.close()


@pytest.mark.parametrize(
    ("chosen", "numbers"), [([], [1, 2]), (["--failed"], [1]), (["--crashed"], [2]), (["2", "1", "1"], [1, 2])]
)
def test_what_is_retried(sweep, run_command, chosen, numbers):
    planned = json.loads(run_command("retry", "abcd1234", *chosen, "--dry-run", "--json"))
    assert planned == {"sweep_id": "abcd1234", "trials": numbers, "dry_run": True, "join": ""}
    assert [trial.state for trial in sweep.trials()] == ["finished", "failed", "crashed", "running"]
    names = ", ".join(map(str, numbers))
    verb = "trial is" if len(numbers) == 1 else "trials are"
    assert run_command("retry", "abcd1234", *chosen) == (f"abcd1234: {len(numbers)} {verb} given out again: {names}.\n")
    assert [trial.number for trial in sweep.trials() if trial.state == "queued"] == numbers
    assert [sweep.ask("b").number for _ in numbers] == numbers
    assert sweep.ask("b") is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["0"], "Trial 0 is finished. Nothing was changed: only trials that failed or crashed can be retried"),
        (["1", "3", "9", "x"], "Trial 3 is running; There is no trial '9'; There is no trial 'x'. Nothing was changed"),
        (["9"], "failed are 1 and crashed are 2."),
        (["1", "--failed"], "not both"),
    ],
)
def test_what_cannot_be_retried(sweep, run_command, arguments, said):
    assert said in run_command("retry", "abcd1234", *arguments, status=2)
    assert [trial.state for trial in sweep.trials()] == ["finished", "failed", "crashed", "running"]


def test_nothing_to_retry(sweep, run_command):
    run_command("retry")
    assert run_command("retry", status=1) == (
        "abcd1234: only trials that failed or crashed can be retried; there is none.\n"
    )


def test_why_no_agent_gets_them(sweep, run_command):
    run_command("stop")
    assert "No agent gets them yet: the sweep was stopped." in run_command("retry")


def test_what_is_said_of_a_sweep_at_wandb(run_command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    directory = tmp_path / "outputs" / "abcd1234"
    directory.mkdir(parents=True)
    app = Application(cwd=str(tmp_path), config_name="config", job_name="app", command=["python", "app.py"])
    options = ControllerOptions(max_failures=2)
    LaunchRecord("abcd1234", app, TrialOverrides([], []), controller=options, hosted=HostedPlace("me", "digits")).save(
        directory
    )
    log = HostedLog(directory / HOSTED_LOG, load_sweep(RANDOM))
    write_spec(directory, load_sweep(RANDOM))
    for number in range(2):
        assert "The sweep" not in run_command("status")
        log.close(log.claim(f"r{number}", {}, {}, "a").newest.key, StoredOutcome("failed", "CUDA"))
    for sweep in ("wandb:me/digits/abcd1234", "abcd1234"):
        assert "delete the runs that failed" in run_command("retry", sweep, status=2)
    assert "The sweep was aborted: the first 2 trials all failed (max_failures=2)." in run_command("status")


def test_a_sweep_that_is_paused_because_its_trials_fail(tmp_path, monkeypatch, run_command):
    monkeypatch.chdir(tmp_path)
    directory, spec = tmp_path / "outputs" / "abcd1234", load_sweep(RANDOM | {"run_cap": 9})
    directory.mkdir(parents=True)
    app = Application(cwd=str(tmp_path), config_name="config", job_name="app", command=["python", "app.py"])
    LaunchRecord("abcd1234", app, TrialOverrides([], []), controller=ControllerOptions(max_failures=2)).save(directory)
    controller = open_embedded(directory, spec, ControllerOptions(max_failures=2), study_name=None)
    write_spec(directory, spec)
    for outcome in (Outcome.finished(0.5), Outcome.failed("CUDA"), Outcome.failed("CUDA")):
        controller.complete(controller.ask("a"), outcome)
    assert controller.ask("a") is None
    status = json.loads(run_command("status", "--json"))
    assert (status["order"], status["over"]) == ("paused", "the last 2 trials all failed (max_failures=2)")
    said = "The sweep is paused: the last 2 trials all failed (max_failures=2)."
    join = "python app.py -m hydra/sweeper=wandbsweep hydra.sweeper.sweep_id=abcd1234\n"
    assert f"{said} Resume with:\n  {join}" in run_command("status")
    started = f"Agents that had ended are started again with:\n  {join}"
    assert run_command("resume") == f"abcd1234: running. {said} {started}"
    assert controller.ready("a")
    assert controller.completion() is None
    assert json.loads(run_command("status", "--json"))["order"] == "running"
    assert run_command("resume") == "abcd1234: running\n"
    controller.close()
