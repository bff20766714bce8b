"""``benchmarks/training``: the plain loop is our training, and the GPU's script runs to its end on a CPU."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks/training"


def load(name, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_plain_loops_are_the_training_that_they_are_beside(tmp_path, monkeypatch):
    found = load("ratio", monkeypatch).measure("mlp", repeats=1, epochs=2)  # fails if the losses differ
    assert set(found) == {"loop", "bare loop", "loop, saved", "trial", "trial, saved"}
    assert all(seconds > 0 for kind in found.values() for seconds in kind.values())


def test_parts_without_time_are_left_out_and_results_are_tables(tmp_path, monkeypatch):
    gpu = load("gpu", monkeypatch)
    monkeypatch.setattr(gpu, "PARTS", {name: (measure, 60) for name, (measure, _) in gpu.PARTS.items()})
    gpu.run_parts(tmp_path / "out", 5, tiny=False)
    lines = (tmp_path / "out/results.md").read_text().splitlines()
    assert lines[:3] == ["| part | left out |", "|---|---|", "| images | 5 s were left of 5 |"]
    assert len(lines) == 2 + len(gpu.PARTS)


def test_a_part_without_time_left_ends_with_all_its_processes(monkeypatch, tmp_path):
    gpu = load("gpu", monkeypatch)
    marker = tmp_path / "pid"
    # A process group of its own, as an agent's trial has, and deaf to SIGTERM's usual effect on the part alone.
    script = f"trap '' HUP; (set -m; sleep 1000 & echo $! > {marker}; wait) & wait"
    code = None
    while not (marker.exists() and marker.read_text().strip()):  # a starved machine may take longer to begin
        code = gpu.run_session(["bash", "-c", script], 2)
    assert code is None
    stat = Path(f"/proc/{marker.read_text().strip()}/stat")
    assert not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"


@pytest.mark.slow
def test_the_gpu_script_measures_every_part_on_a_cpu(tmp_path):
    command = [sys.executable, BENCHMARKS / "gpu.py", "run", "--tiny", "--limit", "1800", "--out", tmp_path / "out"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    records = [json.loads(line) for line in (tmp_path / "out/results.jsonl").read_text().splitlines()]
    assert done.returncode == 0, done.stdout + done.stderr
    assert [record["part"] for record in records if "part" in record] == ["images", "throughput", "accuracy", "agents"]
    found = {name: value for record in records for name, value in record.items()}
    assert found["ratio"] > 0
    assert found["MFU"] > 0
    assert 0 <= found["accuracy"] <= 1
    assert [record["agents"] for record in records if "agents" in record] == [1, 2]
    assert "| network |" in (tmp_path / "out/results.md").read_text()
