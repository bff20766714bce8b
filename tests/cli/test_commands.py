"""``wandbsweep analyse``, ``export``, ``report``, ``narrow``, ``dashboard`` and ``completion``."""

import json
import re
import shutil
import socket
import subprocess
import sys
import time
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.results.sweeps import TRAINING, train_sweep
from tests.test_layering import HEAVY
from tests.test_old_sweeps import STORED
from wandbsweep import create_sweep, load_sweep
from wandbsweep.cli import main as cli


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    directory = tmp_path_factory.mktemp("commands") / "outputs" / "abcd1234"
    config = TRAINING | {"early_terminate": {"type": "hyperband", "min_iter": 2}}
    return train_sweep(directory, config, 40, fail={5})


@pytest.fixture
def run_command(run_command, sweep, monkeypatch):
    """Run a command where the sweep is the newest one."""
    monkeypatch.chdir(sweep.directory.parents[1])
    return run_command


class TestAnalyse:
    def test_in_a_terminal(self, run_command):
        text = run_command("analyse")
        assert text.splitlines()[1].startswith("optimizer.lr")
        assert "Continue:" in text or "Time to stop:" in text
        assert "trials early saved" in text

    def test_json(self, run_command, sweep):
        found = json.loads(run_command("analyse", "--json"), parse_constant=pytest.fail)
        assert max(found["importance"], key=lambda name: found["importance"][name]["share"]) == "optimizer.lr"
        assert found["correlation"]["model"]["kind"] == "correlation ratio"
        assert found["trials_since_best"] == sweep.converged().trials_since_best
        assert found["stopped"] == sweep.counts["stopped"]

    def test_another_metric_and_method(self, run_command):
        found = json.loads(
            run_command("analyse", "abcd1234", "--metric", "val/accuracy", "--method", "ped-anova", "--json")
        )
        assert (found["metric"], found["method"]) == ("val/accuracy", "ped-anova")

    def test_bad_input(self, run_command):
        assert "No trial has a value of 'loss'" in run_command("analyse", "--metric", "loss", status=2)
        assert "the choices are fanova" in run_command("analyse", "--method", "shap", status=2)


class TestExport:
    @pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
    def test_files(self, run_command, tmp_path, suffix):
        assert run_command("export", "-o", tmp_path / f"all.{suffix}").endswith(f"all.{suffix}: 40 rows\n")
        found = json.loads(run_command("export", "--histories", "--json", "-o", tmp_path / f"curves.{suffix}"))
        assert found["rows"] > 100
        assert Path(found["file"]).stat().st_size > 100

    def test_bad_input(self, run_command, tmp_path):
        assert "the choices are .csv, .jsonl, .parquet" in run_command("export", "-o", tmp_path / "all.xlsx", status=2)


class TestReport:
    def test_where_it_is_written(self, run_command, sweep, tmp_path):
        assert run_command("report") == f"{sweep.directory / 'report.html'}\n"
        assert json.loads(run_command("report", "--json", "-o", tmp_path / "own.html")) == {
            "file": str(tmp_path / "own.html")
        }
        assert (tmp_path / "own.html").read_text().startswith("<!DOCTYPE html>")

    def test_where_it_cannot_be_written(self, run_command, tmp_path):
        assert "No such file or directory" in run_command("report", "-o", tmp_path / "nowhere" / "own.html", status=2)

    def test_served(self, sweep):
        command = [sys.executable, "-m", "wandbsweep.cli", "report", str(sweep.directory), "--watch"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as served:
            try:
                port = int(re.match(r"http://127\.0\.0\.1:(\d+)/ until Ctrl-C\n", served.stdout.readline())[1])
                connection = HTTPConnection("127.0.0.1", port, timeout=30)
                connection.request("GET", "/")
                assert "abcd1234" in connection.getresponse().read().decode()
                connection.close()
            finally:
                served.terminate()
            served.wait(timeout=30)

    def test_another_address_gets_a_token(self, sweep):
        command = [
            sys.executable,
            "-m",
            "wandbsweep.cli",
            "report",
            str(sweep.directory),
            "--watch",
            "--host",
            "0.0.0.0",
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as served:
            try:
                assert re.fullmatch(
                    r"http://0\.0\.0\.0:\d+/\?token=[\w-]{20,} until Ctrl-C\n", served.stdout.readline()
                )
            finally:
                served.terminate()
            served.wait(timeout=30)


class TestNarrow:
    def test_written(self, run_command, tmp_path, sweep):
        file = tmp_path / "next.yaml"
        assert re.fullmatch(rf"{file}: \d+ narrowed, .*\n", run_command("narrow", "-o", file))
        assert load_sweep(file) == sweep.narrow()
        assert "exists already" in run_command("narrow", "-o", file, status=2)
        assert run_command("narrow", "--force", "-o", file)

    def test_printed(self, run_command, sweep):
        assert run_command("narrow").startswith(
            "# Follows abcd1234: where the best 8 of its 39 trials are, by val/loss.\n"
        )
        found = json.loads(run_command("narrow", "--top", "0.5", "--json"))
        assert {change["kind"] for change in found["changes"].values()} <= {"narrowed", "fixed", "kept"}
        assert load_sweep(found["config"]) == sweep.narrow(0.5)
        assert "prior:" in run_command("narrow", "--fork")

    def test_bad_input(self, run_command):
        assert "at most 1" in run_command("narrow", "--top", "20", status=2)


def test_evaluate_needs_a_command(run_command):
    assert "was not started by Hydra" in run_command("evaluate", status=2)


def test_nothing_yet(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    create_sweep(load_sweep(TRAINING | {"run_cap": 5}), "outputs/abcd1234").close()
    assert cli.main(["analyse"]) == 0
    assert "no trial has a value yet" in capsys.readouterr().out
    assert cli.main(["report"]) == 0
    assert cli.main(["narrow"]) == 2


def test_optunas_dashboard(sweep):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "wandbsweep.cli",
        "dashboard",
        str(sweep.directory),
        "--port",
        str(port),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as served:
        try:
            assert str(port) in served.stdout.readline()
            assert json.loads(answer(port, "/api/studies"))["study_summaries"][0]["study_name"] == "sweep"
        finally:
            served.terminate()
        served.wait(timeout=30)


def answer(port, path):
    """What a server says that is about to start."""
    deadline = time.monotonic() + 30
    while True:
        try:
            connection = HTTPConnection("127.0.0.1", port, timeout=30)
            connection.request("GET", path)
            return connection.getresponse().read().decode()
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


class TestCompletion:
    @pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
    @pytest.mark.parametrize(
        ("words", "completions"),
        [
            (["wandbsweep", "na"], ["narrow"]),
            (["wandbsweep", "report", "--wa"], ["--watch"]),
            (["wandbsweep", "best", "abc"], ["abcd1234"]),
        ],
    )
    def test_bash(self, run_command, sweep, words, completions):
        script = run_command("completion", "bash")
        (function,) = re.findall(r"complete .*-F (\w+) wandbsweep", script)
        query = f"COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; {function}; echo ${{COMPREPLY[@]}}"
        program = f"{script}\n{query}"
        done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, cwd=sweep.directory.parents[1])
        assert (done.stdout.split(), done.stderr) == (completions, "")

    @pytest.mark.parametrize("shell", ["zsh", "fish"])
    def test_others_name_every_command(self, run_command, shell):
        script = run_command("completion", shell)
        assert all(command.name in script for command in cli.load_commands())
        if shutil.which(shell):
            done = subprocess.run([shell, "-n"], input=script, capture_output=True, text=True)
            assert (done.returncode, done.stderr) == (0, "")


def test_every_module_of_a_command_is_named():
    modules = Path(cli.__file__).with_name("commands").glob("[!_]*.py")
    assert {module.stem for module in modules} == set(cli.MODULES)


def test_every_command_says_what_it_does():
    for command in cli.load_commands():
        assert re.fullmatch(r"[A-Z].*\.", command.about), command


@pytest.mark.parametrize("arguments", [["--help"], ["status"], ["table"], ["best"], ["best", "--json"]], ids=" ".join)
def test_reading_commands_import_nothing_heavy(arguments):
    """The sweep was started by Hydra and has unfinished trials, so that overrides and paths are shown."""
    sweep = [] if arguments == ["--help"] else [str(STORED / "journal")]
    heavy = [*HEAVY, "hydra", "omegaconf", "antlr4", "optuna", "http.server"]
    program = f"""
import sys
from wandbsweep.cli.main import main
try:
    status = main({arguments + sweep!r})
except SystemExit as exit:
    status = exit.code
assert not status
print(*[name for name in {heavy!r} if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout
    assert done.stderr.split() == []
