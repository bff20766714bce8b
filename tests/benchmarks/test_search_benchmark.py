"""The search's benchmark: its division, its scale, its clock, its store and its statistics. No peers."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesRegressor

from benchmarks.search import runs
from benchmarks.search.comparison import compute_worst_tenth, format_comparison, format_means, pair, read_regret
from benchmarks.search.runs import Job, append_run, carry_out, list_missing, make_run, mend, read_runs
from benchmarks.search.searchers import Random, describe
from benchmarks.search.simulation import Thaw, probe_then_finish, read_at, simulate
from benchmarks.search.tasks import base, find_split, list_tasks, load_task, synthetic
from benchmarks.search.tasks.base import LIMIT, Evaluation, Task, draw_params
from benchmarks.search.tasks.taskset import PREFIX, SPACE, Forest, TaskSet
from wandbsweep.spec.conditions import select_active
from wandbsweep.trial import TrialRecord


class Slope(Task):
    """Loss x + 1 / epoch; what x is above 0.9 diverges."""

    family, name, goal, epochs = "slope", "slope/one", "minimize", 4
    space: ClassVar = {"x": {"min": 0.0, "max": 1.0}}
    optimum, median = 0.25, 0.75

    def evaluate(self, params: Any, rng: np.random.Generator, taken: set[int]) -> Evaluation:
        x = params["x"]
        curve = np.full(4, math.nan) if x > 0.9 else x + 1 / np.arange(1, 5)
        return Evaluation(curve, math.inf if x > 0.9 else x + 0.25, 1.0)


class Scripted:
    """Proposes what it is given, in order."""

    elsewhere = 0.0

    def __init__(self, *answers: float | Thaw) -> None:
        self.answers, self.ended = list(answers), list[TrialRecord]()

    def ask(self, records: list[TrialRecord]) -> dict[str, Any] | Thaw:
        answer = self.answers.pop(0)
        return answer if isinstance(answer, Thaw) else {"x": answer}

    def end(self, record: TrialRecord) -> None:
        self.ended.append(record)


def test_the_division_never_changes_and_halves_every_family() -> None:
    names = list_tasks(families=("fcnet", "hpobench", "nas201", "own", "smooth", "synthetic"))
    dev = {name for name in names if find_split(name) == "dev"}
    assert sorted(dev & {n for n in names if n.startswith(("fcnet", "hpobench", "nas201"))}) == [
        "fcnet/naval_propulsion",
        "fcnet/protein_structure",
        "hpobench/blood_transfusion",
        "hpobench/credit_g",
        "hpobench/kc1",
        "hpobench/vehicle",
        "nas201/cifar10",
    ]
    assert {n.split("/")[1] for n in dev if n.startswith("own")} == {n.split("/")[1] for n in dev if n.startswith("sm")}
    assert list_tasks("dev", ("synthetic",)) == [n for n in names if n in dev and n.startswith("synthetic")]
    assert len(list_tasks("dev", ("synthetic",))) == len(list_tasks("heldout", ("synthetic",))) == 10


@pytest.mark.parametrize(("a", "b"), [("bowl", "noisy_bowl"), ("cliff", "steep_cliff"), ("hartmann6", "few_of_twenty")])
def test_variants_of_one_function_are_on_one_side(a: str, b: str) -> None:
    assert find_split(f"synthetic/{a}") == find_split(f"synthetic/{b}")


@pytest.mark.parametrize("name", synthetic.LANDSCAPES)
def test_a_synthetic_task_has_half_of_random_configurations_above_its_median_and_none_below_its_optimum(
    name: str,
) -> None:
    task = load_task(f"synthetic/{name}")
    rng = np.random.default_rng(1)
    drawn = [select_active(task.parameters, draw_params(task.parameters, rng)) for _ in range(200)]
    regrets = [task.regret(task.evaluate(params, rng, set()).loss) for params in drawn]
    assert min(regrets) >= 0
    assert 0.8 < np.median(regrets) < 1.2


def test_what_fails_has_the_largest_regret_and_is_logged_as_not_a_number() -> None:
    task = load_task("synthetic/steep_cliff")
    params = {"learning_rate": 1.0, "batch_size": 16, "momentum": 0.9, "weight_decay": 1e-4, "dropout": 0.1}
    found = task.evaluate(params, np.random.default_rng(0), set())
    assert (task.regret(found.loss), math.isnan(found.curve[0])) == (LIMIT, True)


def test_regret_is_0_at_the_optimum_1_at_the_median_and_can_be_logarithmic() -> None:
    task = Slope()
    assert [task.regret(loss) for loss in (0.25, 0.75, 0.5, 99.0)] == [0, 1, 0.5, LIMIT]
    task.log_regret = True
    assert task.regret((0.25 * 0.75) ** 0.5) == pytest.approx(0.5)


def test_noise_depends_on_the_trial_not_on_the_search() -> None:
    task = load_task("synthetic/noisy_bowl")
    params = {f"x{j}": 0.5 for j in range(5)}
    seen = [task.evaluate(params, np.random.default_rng((7, number)), set()).curve[0] for number in (3, 3, 4)]
    assert seen[0] == seen[1] != seen[2]


def test_the_incumbent_is_chosen_by_what_was_seen_and_judged_by_its_true_value() -> None:
    class Lucky(Slope):
        epochs = 1

        def evaluate(self, params: Any, rng: np.random.Generator, taken: set[int]) -> Evaluation:
            return Evaluation(np.array([params["x"] - 0.5 * (params["x"] == 0.5)]), params["x"] + 0.25, 1.0)

    course = simulate(Lucky(), Scripted(0.3, 0.5), workers=1, seed=0, trials=2)
    assert course.by_trial == [(1, 0.6), (2, 1.0)]


def test_workers_run_at_the_same_time_and_failures_end_as_failed() -> None:
    search = Scripted(0.5, 0.95, 0.1)
    course = simulate(Slope(), search, workers=2, seed=0, trials=3)
    assert [r.state for r in search.ended] == ["finished", "failed", "finished"]
    assert (course.trials, course.epochs, course.by_trial) == (3, 12, [(1, 1.0), (3, 0.2)])


def test_a_frozen_trial_can_be_taken_up_again_and_trains_each_epoch_once() -> None:
    search = Scripted(0.1, 0.8, Thaw(0), 0.5)

    def is_frozen(records: list[TrialRecord], number: int) -> bool:
        return len(records) < 2 and number == 0

    course = simulate(Slope(), search, workers=1, seed=0, epochs=8, stopper=is_frozen, freezes=True)
    assert [(r.number, r.state, len(r.reports)) for r in search.ended] == [
        (0, "frozen", 1),
        (1, "finished", 4),
        (0, "finished", 4),
    ]
    assert course.final[0] == (1, 0.2)
    assert (read_at(course.by_epoch, 1), read_at(course.by_epoch, 8)) == (pytest.approx(1.7), 0.2)


def test_the_one_line_rule_spends_the_epochs_on_probes_and_finishes_the_best() -> None:
    course = probe_then_finish(Slope(), seed=0, epochs=60, probe=1, kept=5)
    assert course.trials == 60 - 5 * 3
    assert course.final[0][0] == 60
    assert course.final[0][1] < 0.1


def test_a_run_depends_on_its_seed_alone() -> None:
    job = Job("ours", "synthetic/steps", 3, 2, "trials", 6)
    first, again = make_run(job), make_run(job)
    assert first["steps"] == again["steps"]
    assert first["steps"] != make_run(Job("ours", "synthetic/steps", 4, 2, "trials", 6))["steps"]


def test_freeze_and_thaw_tries_more_with_the_same_epochs() -> None:
    run = make_run(Job("random", "own/digits", 0, 2, "epochs-thaw", 4))
    assert run["started"] > 2 * 4
    assert run["steps"][-1][0] <= 4 * run["epochs"]
    whole = make_run(Job("random", "own/digits", 0, 2, "epochs", 4))
    assert run["steps"][-1][1] <= whole["steps"][-1][1]


def test_stored_runs_are_not_made_again_but_shorter_ones_are(tmp_path: Path) -> None:
    out = tmp_path / "runs.jsonl.gz"
    jobs = [Job("random", "synthetic/steps", seed, 1, "trials", 5) for seed in range(2)]
    assert carry_out(jobs, out, processes=1) == 0
    made = read_runs(out)
    assert len(made) == 2
    longer = Job("random", "synthetic/steps", 0, 1, "trials", 8)
    variant = Job("random", "synthetic/steps", 0, 1, "trials", 5, label="random@x")
    assert list_missing([*jobs, longer, variant], made) == [longer, variant]
    append_run(out, make_run(longer))
    assert sorted(run["trials"] for run in read_runs(out)) == [5, 8]


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
def test_a_last_line_that_was_cut_off_is_left_out_and_mended(tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"runs{suffix}"
    for seed in range(3):
        append_run(out, make_run(Job("random", "synthetic/steps", seed, 1, "trials", 2)))
    out.write_bytes(out.read_bytes()[:-30])
    assert [run["seed"] for run in read_runs(out)] == [0, 1]
    mend(out)
    append_run(out, make_run(Job("random", "synthetic/steps", 2, 1, "trials", 2)))
    assert [run["seed"] for run in read_runs(out)] == [0, 1, 2]


def test_an_error_is_told_and_not_stored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "runs.jsonl"
    assert carry_out([Job("nothing", "synthetic/steps", 0, 1, "trials", 5)], out, processes=1) == 1
    assert not out.exists()
    assert "The search is nothing, but must be one of random, ours" in capsys.readouterr().err


def test_a_pairing_counts_tasks_the_same_and_seeds_of_a_task_once() -> None:
    a = {("f/x", s): 0.1 for s in range(10)} | {("f/y", 0): 0.5, ("f/z", 0): 0.3, ("f/only", 0): 9.0}
    b = {("f/x", s): 0.2 for s in range(10)} | {("f/y", 0): 0.7, ("f/z", 0): 0.6}
    found = pair(a, b)
    assert found is not None
    assert (found.runs, found.tasks) == (12, 3)
    assert (found.mean_a, found.mean_b) == (pytest.approx(0.3), pytest.approx(0.5))
    assert (found.difference, found.error) == (pytest.approx(-0.2), pytest.approx(0.1 / 3**0.5))
    assert (found.worst_a, found.worst_b) == (0.5, 0.7)
    assert found.p_runs < 0.01 < found.p_tasks == pytest.approx(0.0742, abs=1e-3)
    assert pair(a, {("g/x", 0): 1.0}) is None


def test_equal_runs_are_no_evidence() -> None:
    same = {(f"f/{k}", 0): 0.2 for k in range(4)}
    found = pair(same, dict(same))
    assert found is not None
    assert (found.difference, found.p_runs, found.p_tasks) == (0, 1, 1)


def test_the_worst_tenth_is_of_runs() -> None:
    assert compute_worst_tenth(np.arange(20.0)) == 18.5
    assert compute_worst_tenth(np.array([1.0, 3.0])) == 3.0


def test_a_budget_is_read_from_the_steps_and_only_of_runs_that_are_long_enough() -> None:
    run = {"protocol": "trials", "trials": 30, "epochs": 52, "steps": [[1, 0.9], [12, 0.4]]}
    assert [read_regret(run, k) for k in (10, 12, 30, 50)] == [0.9, 0.4, 0.4, None]
    run |= {"protocol": "epochs", "steps": [[1, 0.9], [521, 0.4]], "seen": [[1, 1.2]]}
    assert [read_regret(run, k) for k in (10, 20)] == [0.9, 0.4]
    assert read_regret(run, 20, seen=True) == 1.2


def test_tables_name_the_scenario_and_compare_at_each_budget() -> None:
    made = [
        make_run(Job(s, "synthetic/steps", 0, 1, "trials", 10, label)) for s, label in [("random", ""), ("random", "b")]
    ]
    text = format_comparison(made, "random", "b", (10, 20))
    assert "**10: whole trials, 1 worker**" in text
    assert "+0.000 ± nan" in text
    assert "20:" not in text
    assert "| b |" in format_means(made, (10,))


def test_stored_lines_are_small() -> None:
    run = make_run(Job("random", "synthetic/steps", 0, 8, "trials", 100))
    assert len(json.dumps(run)) < 1000
    assert set(run) >= {"search", "task", "seed", "workers", "protocol", "trials", "steps", "ask_ms", "started"}


def test_peers_are_told_of_order_bounds_scales_and_conditions() -> None:
    task = load_task("synthetic/layered")
    told = {name: describe(p) for name, p in task.parameters.items()}
    assert told["layers"] == {"name": "layers", "when": {}, "kind": "ordinal", "values": [1, 2, 3, 4]}
    assert told["units2"] == {
        "name": "units2",
        "when": {"layers": [2, 3, 4]},
        "kind": "int",
        "low": 8,
        "high": 512,
        "log": True,
    }
    assert [p.when != () for p in task.parameters.values()].count(True) == 6
    assert "units4" not in Random(task, 0).ask([]) or "units3" in Random(task, 0).ask([])
    assert runs.EPOCHS_OF in runs.EPOCH_BUDGETS


@pytest.fixture(scope="module")
def task_set(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TaskSet]:
    """A small TaskSet of one task, whose large learning rates diverge at the third of five epochs."""
    rng, rows = np.random.default_rng(0), []
    for _ in range(60):
        drawn = {name: rule["min"] * (rule["max"] / rule["min"]) ** rng.random() for name, rule in SPACE.items()}
        rate = math.log10(drawn["learning_rate"])
        curve = [0.1 * abs(rate + 3) + 1 / epoch for epoch in range(1, 6)]
        if rate > 0:
            curve[2:] = [math.nan] * 3
        setting = {n.removeprefix("one_minus_"): 1 - v if n.startswith("one_") else v for n, v in drawn.items()}
        rows.append({"hp": setting, "valid": {"loss": curve}})
    folder = tmp_path_factory.mktemp("curves")
    (folder / "data").mkdir()
    (folder / "data" / f"{PREFIX}tiny.json").write_text(json.dumps(rows))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base, "CACHE", folder / "cache")
        patch.setenv("BENCH_CURVES", str(folder))
        yield TaskSet("taskset/tiny")


def test_taskset_is_read_from_the_folder_that_is_named_and_kept_in_the_cache(
    task_set: TaskSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert list_tasks(families=("taskset",)) == ["taskset/tiny"]
    assert len(list(base.CACHE.iterdir())) == 1
    assert (TaskSet("taskset/tiny").optimum, task_set.epochs) == (task_set.optimum, 5)
    monkeypatch.delenv("BENCH_CURVES")
    assert list_tasks(families=("taskset",)) == []


def test_curves_between_stored_settings_are_means_of_real_ones_and_diverge_where_most_of_these_do(
    task_set: TaskSet,
) -> None:
    params = {name: p.ppf(0.5) for name, p in task_set.parameters.items()}
    good = task_set.evaluate(params | {"learning_rate": 1e-3}, np.random.default_rng(0), set())
    bad = task_set.evaluate(params | {"learning_rate": 9.0}, np.random.default_rng(0), set())
    assert np.nanmin(task_set.curves, 0)[4] <= good.curve[4] <= np.nanmax(task_set.curves, 0)[4]
    assert np.isfinite(bad.curve).tolist() == [True, True, False, False, False]
    assert task_set.regret(good.loss) < task_set.regret(bad.loss)
    weight = task_set.forest.weigh(task_set.encode(params))
    assert weight.sum() == pytest.approx(1)
    assert (weight >= 0).all()


def test_the_forest_answers_as_scikit_learns() -> None:
    rng = np.random.default_rng(1)
    u, y = rng.random((50, 3)), rng.random((50, 2))
    forest = ExtraTreesRegressor(7, min_samples_leaf=2, random_state=0).fit(u, y)
    joined = Forest.join(forest.estimators_, u)
    points = rng.random((9, 3))
    assert np.allclose([joined.weigh(point) @ y for point in points], forest.predict(points))
