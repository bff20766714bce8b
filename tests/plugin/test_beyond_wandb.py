"""Each extension of W&B's format through a Hydra application, as a user runs it."""

from __future__ import annotations

import pytest

from tests.applications import AGENTS, App

SEED = "hydra.sweeper.seed=0"


def write(app: App, name: str, text: str) -> None:
    (app.directory / "conf" / "sweep" / f"{name}.yaml").write_text(text)


class TestConditions:
    def test_each_group_has_its_own_parameters(self, app: App) -> None:
        app.multirun("sweep=conditional", SEED)
        assert app.states() == ["finished"] * 8
        kinds = set()
        for result in app.results():
            optimizer, params = result["cfg"]["optimizer"], result["params"]
            kinds.add(params["optimizer"])
            if params["optimizer"] == "adamw":
                assert params.keys() == {"lr", "optimizer", "optimizer.betas.1"}
                assert optimizer == {"betas": [0.9, params["optimizer.betas.1"]]}
            else:
                assert params.keys() == {"lr", "optimizer", "optimizer.momentum", "optimizer.nesterov"}
                assert optimizer == {
                    "momentum": params["optimizer.momentum"],
                    "nesterov": params["optimizer.nesterov"],
                }
        assert kinds == {"adamw", "sgd"}

    def test_what_the_command_line_fixes_settles_them(self, app: App) -> None:
        app.multirun("sweep=conditional", "optimizer=sgd", "++sweep.run_cap=2")
        assert [params.keys() for params in app.params().values()] == [
            {"lr", "optimizer.momentum", "optimizer.nesterov"}
        ] * 2

    def test_a_range_on_the_command_line_stays_conditional(self, app: App) -> None:
        app.multirun("sweep=conditional", "optimizer.momentum=interval(0.5,0.6)", "++sweep.run_cap=6", SEED)
        assert app.states() == ["finished"] * 6
        momenta = [p.get("optimizer.momentum") for p in app.params().values()]
        assert {momentum is None or 0.5 <= momentum <= 0.6 for momentum in momenta} == {True}
        assert None in momenta

    def test_fewer_values_on_the_command_line(self, app: App) -> None:
        write(
            app,
            "kinds",
            "method: grid\nparameters:\n  model: {values: [mlp, convnet]}\n"
            "  units: {values: [4, 8], when: {model: [mlp, convnet]}}\n"
            "  label: {values: [a, b], when: {units: 8}}\n"
            "  lr: {values: [1, 2], when: {label: a}}\n",
        )
        app.multirun("sweep=kinds", "model=choice(mlp)")
        assert [tuple(p.values()) for p in app.params().values()] == [
            ("mlp", 4),
            *[("a", 1, "mlp", 8), ("a", 2, "mlp", 8), ("b", "mlp", 8)],
        ]
        app.multirun("sweep=kinds", "units=4", into="narrow")  # which leaves no label, and no lr
        assert app.params("narrow") == {0: {"model": "mlp"}, 1: {"model": "convnet"}}

    def test_a_key_that_the_chosen_group_lacks_is_refused(self, app: App) -> None:
        write(
            app,
            "wrong",
            "method: random\nrun_cap: 1\nparameters:\n  optimizer: {values: [adamw, sgd]}\n  label: {values: [a, b]}\n"
            "  optimizer.momentum: {min: 0.0, max: 1.0, when: {label: b}}\n",
        )
        message = app.multirun("sweep=wrong", status=2).refused()
        reason = "is not a key of the application's configuration with optimizer=adamw"
        assert f"parameters.optimizer.momentum: {reason}" in message
        assert not (app.directory / "sweep").exists()

    def test_another_condition_is_another_sweep(self, app: App) -> None:
        app.multirun("sweep=conditional", "++sweep.run_cap=1")
        other = "++sweep.parameters={optimizer.momentum: {when: {optimizer: [adamw, sgd]}}}"
        message = app.multirun("sweep=conditional", "++sweep.run_cap=2", other, status=2).refused()
        assert "parameters.optimizer.momentum" in message


def test_prior_configurations_and_another_sweeps_trials(app: App) -> None:
    app.multirun("sweep=random", SEED, into="old")
    write(
        app,
        "prior",
        "method: bayes\nmetric: {name: loss}\nrun_cap: 3\n"
        "prior:\n  sweeps: [old]\n  configurations:\n    - {lr: 0.5, model: convnet, units: 8}\n    - {lr: 0.25}\n"
        "parameters:\n  lr: {distribution: log_uniform_values, min: 1.0e-4, max: 1.0}\n"
        "  model: {values: [mlp, convnet]}\n  units: {min: 4, max: 64}\n",
    )
    app.multirun("sweep=prior", *AGENTS["joblib"])
    params = app.params()
    assert params[0] == {"lr": 0.5, "model": "convnet", "units": 8}
    assert params[1]["lr"] == 0.25
    assert app.states() == ["finished"] * 3
    app.multirun("sweep=prior", "model=mlp", into="narrow")  # the first configuration is none of this one's
    assert app.params("narrow")[0]["lr"] == 0.25
    message = app.multirun("sweep=prior", "sweep.metric.name=error", status=2, into="other").refused()
    assert "prior.sweeps[0]: old has the objective minimize loss, this sweep minimize error" in message


def test_seeds_per_configuration(app: App) -> None:
    repeats = "+sweep.repeats={parameter: seed, values: [1, 2, 3]}"
    ended = app.multirun("sweep=random", repeats, "++sweep.run_cap=12", "hydra.sweeper.agents=2", SEED)
    runs = [(tuple(p[k] for k in ("lr", "model", "units")), p["seed"]) for p in app.params().values()]
    assert len(set(runs)) == 12
    assert 4 < len({configuration for configuration, _ in runs}) < 12
    assert [result["cfg"]["seed"] for result in app.results()] == [seed for _, seed in runs]
    assert "the mean of 3 runs" in ended.out
    message = app.multirun("sweep=random", repeats, "seed=5", status=2, into="other").refused()
    assert "seed is what the sweep's `repeats` sets for each run" in message
    given = ["sweep=random", repeats, "+hydra.sweeper.sweep.repeats.values=[1,2]", "++sweep.run_cap=2"]
    app.multirun(*given, into="two")
    assert app.sweep("two").spec.dump()["repeats"] == {"parameter": "seed", "values": [1, 2]}
    unknown = "+sweep.repeats={parameter: sede, values: [1, 2]}"
    message = app.multirun("sweep=random", unknown, status=2, into="other").refused()
    assert "repeats.parameter: sede is not a key of the application's configuration" in message


METRICS = "+sweep.metrics=[{name: loss},{name: units,goal: maximize}]"


def test_several_metrics(app: App) -> None:
    ended = app.multirun("sweep=random", "~sweep.metric", METRICS, SEED)
    front = app.sweep().front
    assert front
    assert ended.out.count("Best: trial") == len(front)
    assert f"{len(front)} on the Pareto front" in ended.out
    assert "minimize loss, maximize units" in ended.out
    assert "trial 0 finished: loss " in ended.err
    wanted = "+sweep.metrics=[{name: loss},{name: depth}]"
    ended = app.multirun("sweep=random", "~sweep.metric", wanted, status=1, into="lacking")
    assert "the metric 'depth' was never reported" in ended.err


@pytest.mark.parametrize("stopper", ["{type: median, startup: 1}", "{type: asha, eta: 2}"])
def test_optunas_pruners(app: App, stopper: str) -> None:
    app.multirun("sweep=random", f"+sweep.early_terminate={stopper}", "++sweep.run_cap=8", SEED)
    assert set(app.states()) == {"finished", "stopped"}
    stopped = next(trial for trial in app.sweep().trials if trial.state == "stopped")
    assert "does not keep up with the other trials" in stopped.reason


class TestZip:
    def test_lists_on_the_command_line_move_together_in_a_random_order(self, app: App) -> None:
        given = ["lr=1,2,3,4,5", "units=range(6,11)", "+sweep.zip=[lr,units]", "+sweep.order=random", SEED]
        app.multirun(*given, *AGENTS["joblib"])
        found = [(params["lr"], params["units"]) for params in app.params().values()]
        assert sorted(found) == [(1, 6), (2, 7), (3, 8), (4, 9), (5, 10)]
        assert found != sorted(found)
        assert [(r["cfg"]["lr"], r["cfg"]["units"]) for r in app.results()] == found

    def test_groups_and_values_that_the_command_line_fixes(self, app: App) -> None:
        lists = "model: {values: [mlp, convnet]}\n  units: {values: [4, 8]}\n  lr: {values: [1, 2]}\n"
        write(app, "together", f"method: grid\nzip: [[model, units]]\nparameters:\n  {lists}")
        app.multirun("sweep=together", "units=8")
        assert [tuple(params.values()) for params in app.params().values()] == [(1, "convnet"), (2, "convnet")]
        assert "units=5: model and units move together (zip), but none of their values is this one" in (
            app.multirun("sweep=together", "units=5", status=2, into=None).refused()
        )
        assert "model has 2 values and units has 3 values" in (
            app.multirun("sweep=together", "units=5,6,7", status=2, into=None).refused()
        )
