"""``wandbsweep doctor`` against a healthy server, and with all kinds of faults."""

import json

import pytest

from tests.hosted.server import API_KEY
from wandbsweep import SweepError, load_sweep
from wandbsweep.controllers.hosted.doctor import require_healthy_setup, run_checks

SWEEP = """
program: train.py
method: random
run_cap: 3
metric: {name: loss}
parameters:
  lr: {min: 0.0, max: 1.0}
"""


@pytest.fixture
def sweep_file(home):
    path = home / "sweep.yaml"
    path.write_text(SWEEP)
    return path


def map_states(findings):
    return {finding.check: finding.state for finding in findings}


def find_problem(findings, check):
    return next(finding for finding in findings if finding.check == check and finding.state != "ok")


def test_a_healthy_setup(sweep_file):
    findings = run_checks(sweep_file)
    assert map_states(findings) == dict.fromkeys(
        ["wandb", "server", "clock", "key", "entity", "project", "sweep"], "ok"
    ), findings
    require_healthy_setup(load_sweep(sweep_file))


def test_no_server(home, monkeypatch):
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    finding = find_problem(run_checks(), "server")
    assert finding.state == "error"
    assert "127.0.0.1:9" in finding.found
    assert "WANDB_BASE_URL" in finding.todo


def test_no_key(home, monkeypatch):
    monkeypatch.delenv("WANDB_API_KEY")
    findings = run_checks()
    assert map_states(findings)["server"] == "ok"
    (key,) = [finding for finding in findings if finding.check == "key"]
    assert "wandb login" in key.todo
    with pytest.raises(SweepError, match="wandb login"):
        require_healthy_setup(load_sweep({"method": "grid", "parameters": {"a": {"values": [1]}}}))


def test_a_wrong_key(home, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "w" * 40)
    finding = find_problem(run_checks(), "key")
    assert finding.state == "error"
    assert "wwww" not in str(finding)


def test_the_key_of_the_netrc_file(home, server, monkeypatch):
    monkeypatch.delenv("WANDB_API_KEY")
    host = server.url.removeprefix("http://")
    (home / "netrc").write_text(f"machine {host}\n  login user\n  password {API_KEY}\n")
    assert map_states(run_checks())["key"] == "ok"


def test_the_address_in_the_settings_file(home, server, monkeypatch):
    monkeypatch.delenv("WANDB_BASE_URL")
    (home / "WANDB_CONFIG_DIR" / "settings").write_text(f"[default]\nbase_url = {server.url}\nentity = else\n")
    monkeypatch.delenv("WANDB_ENTITY")
    findings = run_checks()
    assert map_states(findings)["key"] == "ok"
    assert "else" in find_problem(findings, "entity").found


def test_entity_and_project(home, monkeypatch):
    findings = run_checks(entity="others", project="nowhere")
    assert "team" in find_problem(findings, "entity").todo
    assert "others/nowhere" in find_problem(findings, "project").found


@pytest.mark.parametrize(("skew", "word"), [(600.0, "behind"), (-600.0, "ahead")])
def test_the_clock(home, server, skew, word):
    server.clock_skew_s = skew
    assert word in find_problem(run_checks(), "clock").found


def test_a_server_in_trouble(home, server):
    server.fail("Viewer", status=503)
    assert find_problem(run_checks(), "server").todo == "wait and try again"


def test_a_sweep_file_that_wandb_refuses(home):
    config = {"method": "bayes", "parameters": {"model/encoder": {"values": [1]}, "x": {"min": 0, "max": 1.5}}}
    findings = [f for f in run_checks(load_sweep({**config, "metric": {"name": "loss"}})) if f.check == "sweep"]
    assert [finding.state for finding in findings] == ["error"]
    assert "model/encoder" in findings[0].found
    del config["parameters"]["model/encoder"]
    findings = [f for f in run_checks(load_sweep({**config, "metric": {"name": "loss"}})) if f.check == "sweep"]
    assert {finding.todo for finding in findings} >= {"set run_cap", "write both as floats"}


def test_a_sweep_file_with_errors(home):
    (home / "bad.yaml").write_text("method: grid\nmetrc: {name: loss}\n")
    findings = [f for f in run_checks(home / "bad.yaml") if f.check == "sweep"]
    assert len(findings) == 2
    assert {finding.state for finding in findings} == {"error"}
    assert run_checks(home / "missing.yaml")[-1].state == "error"


def test_offline_mode(home, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert "unset" in find_problem(run_checks(), "mode").todo


def test_another_wandb(home, monkeypatch):
    monkeypatch.setattr("wandbsweep.controllers.hosted.doctor.version", lambda name: "0.44.1")
    assert "0.31" in find_problem(run_checks(), "wandb").found


def test_the_command(sweep_file, capsys):
    from wandbsweep.cli.main import main

    assert main(["doctor", str(sweep_file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 7
    assert all(line.startswith("ok") for line in lines)
    assert main(["doctor", "--json"]) == 0
    assert {finding["state"] for finding in json.loads(capsys.readouterr().out)} == {"ok"}
    assert main(["doctor", "nonesuch.yaml"]) == 1
