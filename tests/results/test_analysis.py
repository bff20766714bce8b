"""Importance, correlation, convergence and savings, on sweeps whose answers are known."""

import math

import numpy as np
import pytest
from scipy import stats

from tests.configurations import LOG, UNIT
from tests.results.sweeps import TRAINING, plant_sweep, train_sweep
from wandbsweep import Outcome, SweepError, create_sweep, load_sweep, open_sweep
from wandbsweep.results.analysis import importance as analysis
from wandbsweep.results.analysis.correlation import compute_correlation
from wandbsweep.results.analysis.fanova import Axis, compute_tree_effects
from wandbsweep.results.analysis.gain import compute_gain
from wandbsweep.results.analysis.importance import compute_importance
from wandbsweep.results.analysis.trial_matrix import TrialMatrix, build_trial_matrix


def make_matrix(values, goal="minimize"):
    """Return a trial matrix without parameters."""
    numbers = list(range(len(values)))
    return TrialMatrix("loss", goal, {}, numbers, [{}] * len(values), np.array(values, float))


@pytest.fixture(scope="module")
def linear(tmp_path_factory):
    """Uniform parameters in a sum: their shares of the variance are 9 : 1, and nothing is left for the third."""
    space = {"a": UNIT, "b": UNIT, "c": UNIT}
    return plant_sweep(tmp_path_factory.mktemp("linear"), space, lambda p: 3 * p["a"] + p["b"], 300)


class TestImportance:
    def test_a_sum(self, linear):
        found = linear.importance(method="fanova")
        assert list(found) == ["a", "b", "c"]
        assert found["a"] == pytest.approx(0.9, abs=0.03)
        assert found["b"] == pytest.approx(0.1, abs=0.03)
        assert found["c"] < 0.005
        assert sum(found.values()) <= 1 + 1e-9
        assert all(low <= found[name] <= high for name, (low, high) in found.intervals.items())
        assert found.warning == ""
        assert max(found, key=found.get) == "a"
        assert list(found.frame.columns) == ["parameter", "importance", "low", "high"]

    def test_a_crooked_dependence_that_no_correlation_sees(self, tmp_path):
        results = plant_sweep(tmp_path, {"a": UNIT, "b": UNIT}, lambda p: (p["a"] - 0.5) ** 2 + 0.02 * p["b"], 200)
        assert results.importance()["a"] > 0.9
        assert abs(results.correlation()["a"].rank) < 0.3

    def test_a_logarithmic_parameter_counts_by_its_logarithm(self, tmp_path):
        results = plant_sweep(tmp_path, {"a": LOG, "b": UNIT}, lambda p: math.log10(p["a"]) / 6 + p["b"], 300)
        found = results.importance()
        assert found["a"] == pytest.approx(found["b"], abs=0.08)

    def test_listed_values(self, tmp_path):
        """Of a two-valued parameter the effect is 0.25, of a uniform one in [0, 1] 1/12: their shares are 3 : 1."""
        space = {"a": {"values": ["x", "y"]}, "b": UNIT}
        found = plant_sweep(tmp_path, space, lambda p: (p["a"] == "x") + p["b"], 300).importance()
        assert found["a"] == pytest.approx(0.75, abs=0.05)
        assert found["b"] == pytest.approx(0.25, abs=0.05)

    def test_an_interaction_is_nobodys_own(self, tmp_path):
        results = plant_sweep(tmp_path, {"a": UNIT, "b": UNIT}, lambda p: (p["a"] - 0.5) * (p["b"] - 0.5), 400)
        assert sum(results.importance().values()) < 0.35

    def test_the_same_forest_gives_what_optuna_gives(self):
        """Optuna's own implementation, on the same fitted trees."""
        from optuna.importance._fanova._tree import _FanovaTree
        from sklearn.ensemble import RandomForestRegressor

        rng = np.random.default_rng(0)
        x = rng.random((120, 3))
        y = np.sin(5 * x[:, 0]) + x[:, 1] * x[:, 2]
        forest = RandomForestRegressor(n_estimators=6, random_state=0).fit(x, y)
        for tree in forest.estimators_:
            theirs = _FanovaTree(tree.tree_, np.array([[0.0, 1.0]] * 3))
            wanted = [theirs.get_marginal_variance(np.array([k])) / theirs.variance for k in range(3)]
            ours = compute_tree_effects(tree.tree_, [Axis([k], is_categorical=False) for k in range(3)])
            assert ours == pytest.approx(wanted, rel=1e-6)

    @pytest.mark.parametrize("method", ["ped-anova", "optuna-fanova"])
    def test_optunas_evaluators(self, linear, method):
        small = first_trials(linear, 60)
        found = compute_importance(small, method=method)
        assert found.method == method
        assert next(iter(found)) == "a"

    def test_without_scikit_learn(self, linear, monkeypatch):
        monkeypatch.setattr(analysis, "find_spec", lambda name: None)
        assert linear.importance().method == "ped-anova"
        with pytest.raises(SweepError, match=r"fanova needs scikit-learn, .*pip install 'wandbsweep\[analysis\]'"):
            linear.importance(method="fanova")

    def test_maximizing_changes_nothing(self, tmp_path):
        space = {"a": UNIT, "b": UNIT}
        found = [
            plant_sweep(tmp_path / goal, space, lambda p: 3 * p["a"] + p["b"], 60, goal=goal).importance()
            for goal in ("minimize", "maximize")
        ]
        assert found[0]["a"] == pytest.approx(found[1]["a"], abs=0.05)

    def test_one_diverged_trial_is_not_all_there_is(self, tmp_path):
        results = plant_sweep(tmp_path, {"a": UNIT, "b": UNIT}, lambda p: 1e9 if p["b"] > 0.98 else p["a"], 150)
        assert results.importance()["a"] > 0.7

    @pytest.mark.parametrize("count", [0, 1, 3, 12])
    def test_few_trials(self, tmp_path, count):
        results = plant_sweep(tmp_path, {"a": UNIT}, lambda p: p["a"], max(1, count)) if count else empty(tmp_path)
        found = results.importance()
        assert found.warning.startswith(f"Only {count} trial")
        assert len(found) == (1 if count >= 4 else 0)

    def test_trials_that_are_all_the_same(self, tmp_path):
        found = plant_sweep(tmp_path, {"a": UNIT}, lambda p: 1.0, 30).importance()
        assert (dict(found), found.warning) == ({}, "All trials have the same value, so nothing depends on anything.")

    def test_conditional_parameters(self, tmp_path):
        space = {"kind": {"values": ["p", "q"]}, "a": {**UNIT, "when": {"kind": "p"}}}
        results = plant_sweep(tmp_path, space, lambda p: 10 * (p["kind"] == "q") + p.get("a", 0.0), 60)
        found = results.importance()
        assert found["kind"] > 0.9
        assert found.notes

    def test_other_metrics(self, tmp_path):
        results = train_sweep(tmp_path, TRAINING, 30)
        assert results.importance("val/accuracy").metric == "val/accuracy"
        with pytest.raises(
            SweepError, match=r"No trial has a value of 'nonesuch'. Reported were: 'val/accuracy', 'val/loss'"
        ):
            results.importance("nonesuch")

    def test_bad_input(self, linear, tmp_path):
        with pytest.raises(SweepError, match="the choices are fanova, ped-anova, optuna-fanova"):
            linear.importance(method="shap")
        bare = create_sweep(load_sweep({"method": "grid", "parameters": {"a": {"values": [1, 2]}}}), tmp_path)
        bare.close()
        with pytest.raises(SweepError, match="has no metric"):
            open_sweep(tmp_path).importance()


def first_trials(results, count):
    found = build_trial_matrix(results)
    return TrialMatrix(
        "loss", "minimize", found.parameters, found.numbers[:count], found.params[:count], found.values[:count]
    )


def empty(directory):
    create_sweep(load_sweep(TRAINING | {"run_cap": 1}), directory).close()
    return open_sweep(directory)


class TestCorrelation:
    def test_against_scipy(self, tmp_path):
        results = plant_sweep(tmp_path, {"a": LOG, "b": UNIT}, lambda p: math.log(p["a"]) + 9 * p["b"] ** 3, 80)
        a = [math.log(t.params["a"]) for t in results.trials]
        values = [t.value for t in results.trials]
        found = results.correlation()["a"]
        assert found.kind == "correlation"
        assert found.linear == pytest.approx(stats.pearsonr(a, values).statistic)
        assert found.rank == pytest.approx(stats.spearmanr(a, values).statistic)
        low, high = stats.pearsonr(a, values).confidence_interval()
        assert found.linear_interval == pytest.approx((low, high), abs=0.06)

    def test_ranks_with_ties_against_scipy(self, tmp_path):
        space = {"a": {"values": [4, 1, 2]}, "b": UNIT}
        results = plant_sweep(tmp_path, space, lambda p: round(p["a"] + 3 * p["b"]), 60)
        pairs = [(t.params["a"], t.value) for t in results.trials]
        assert results.correlation()["a"].rank == pytest.approx(stats.spearmanr(pairs).statistic)

    def test_values_without_an_order(self, tmp_path):
        space = {"a": {"values": ["x", "y", "z"]}, "b": UNIT}
        results = plant_sweep(tmp_path, space, lambda p: {"x": 0, "y": 2, "z": 0}[p["a"]] + p["b"], 90)
        found = results.correlation()["a"]
        assert found.kind == "correlation ratio"
        groups = {v: [t.value for t in results.trials if t.params["a"] == v] for v in "xyz"}
        f = stats.f_oneway(*groups.values()).statistic
        n, k = 90, 3
        epsilon = (k - 1) * (f - 1) / ((k - 1) * f + n - k)  # what epsilon squared is in terms of F
        assert found.linear == pytest.approx(math.sqrt(epsilon))
        assert found.means["y"] == pytest.approx(np.mean(groups["y"]))

    def test_many_values_and_no_effect_are_no_correlation(self, tmp_path):
        space = {"a": {"values": [f"v{i}" for i in range(12)]}, "b": UNIT}
        found = plant_sweep(tmp_path, space, lambda p: p["b"], 40).correlation()["a"]
        assert found.linear < 0.35  # the plain ratio would be about the root of 11/39, 0.53

    def test_the_sign_is_the_metrics_own(self, tmp_path):
        results = plant_sweep(tmp_path, {"a": UNIT}, lambda p: p["a"], 30, goal="maximize")
        assert results.correlation()["a"].rank == pytest.approx(1.0)

    def test_a_constant_has_none(self):
        matrix = make_matrix([1.0] * 30)
        assert len(compute_correlation(matrix)) == 0


class TestConvergence:
    def test_a_search_that_goes_on_improving(self, tmp_path):
        found = plant_sweep(tmp_path, {"a": UNIT}, counting_down(), 40).converged()
        assert not found
        assert (found.trials_since_best, found.stalled) == (0, False)

    def test_one_that_has_found_its_place(self, tmp_path):
        results = plant_sweep(tmp_path, {"a": UNIT, "b": UNIT}, lambda p: (p["a"] - 0.3) ** 2, 200, seed=3)
        found = results.converged()
        assert found.spreads["a"].ratio < 0.35
        assert found.spreads["a"].chance < 0.001
        assert found.spreads["b"].chance > 0.01
        assert found.concentrated
        assert bool(found) == found.stalled == (found.trials_since_best >= 20)

    def test_scattered_good_ones(self, tmp_path):
        found = plant_sweep(tmp_path, {"a": UNIT, "b": UNIT}, noise(), 80).converged()
        assert not found.concentrated
        assert not found

    def test_patience(self, tmp_path):
        results = plant_sweep(tmp_path, {"a": UNIT}, lambda p: (p["a"] - 0.3) ** 2, 60)
        since = results.converged().trials_since_best
        assert results.converged(patience=since).stalled
        assert not results.converged(patience=since + 1).stalled

    def test_too_few(self, tmp_path):
        results = plant_sweep(tmp_path, {"a": UNIT}, lambda p: p["a"], 10)
        found = results.converged(patience=1)
        assert not found
        assert found.warning

    def test_an_empty_sweep(self, tmp_path):
        assert empty(tmp_path).converged().reasons == ("no trial has a value yet",)


def counting_down():
    values = iter(range(1000, 0, -1))
    return lambda p: float(next(values))


def noise():
    rng = np.random.default_rng(0)
    return lambda p: float(rng.random())


DRAWS = {
    "bounded": lambda rng, size: rng.random(size),
    "exponential": lambda rng, size: -rng.exponential(size=size),
    "normal": lambda rng, size: rng.standard_normal(size),
}


class TestGain:
    def test_the_chance_of_a_record_is_that_of_exchangeable_draws(self):
        rng = np.random.default_rng(0)
        assert compute_gain(make_matrix(rng.random(40)), learns=False, more=10).chance == pytest.approx(0.2)

    @pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
    def test_the_expected_gain_against_simulation(self, draw):
        """Over many sweeps: what 20 trials after 60 do bring, and what was expected of them."""
        rng = np.random.default_rng(1)
        wanted, found = [], []
        for _ in range(300):
            losses = draw(rng, 80)
            wanted.append(losses[:60].min() - losses.min())
            found.append(compute_gain(make_matrix(losses[:60]), learns=False, more=20).expected)
        assert np.mean(found) == pytest.approx(np.mean(wanted), rel=0.5)

    def test_bayes_looks_at_what_it_did_lately(self):
        losses = [0.0, *np.linspace(5, 6, 59)]  # a lucky strike at first, and nothing near it since
        assert compute_gain(make_matrix(losses), learns=True).chance < 0.01
        assert compute_gain(make_matrix(losses), learns=False).chance > 0.1

    def test_few(self):
        assert compute_gain(make_matrix([1.0]), learns=False).expected is None


class TestSavings:
    def trained(self, directory, *curves):
        """The first ones whole, the rest stopped at their end."""
        config = {"method": "random", "metric": {"name": "loss"}, "parameters": {"a": UNIT}}
        controller = create_sweep(load_sweep(config), directory)
        for values, stopped in curves:
            trial = controller.ask("a")
            for step, value in enumerate(values):
                controller.report(trial, step, {"loss": value})
            controller.complete(trial, Outcome.stopped("bad") if stopped else Outcome.finished())
        return open_sweep(directory).savings()

    def whole(self, *ends):
        return [([end + 4, end + 3, end + 2, end + 1, end], False) for end in ends]

    def test_steps(self, tmp_path):
        found = self.trained(tmp_path, *self.whole(0, 1, 2, 3), ([9.0, 8.0], True), ([9.0], True))
        assert (found.stopped, found.full_steps, found.steps_saved) == (2, 5, 7)
        assert found.share_saved == pytest.approx(7 / 30)
        assert found.doubtful == []
        assert found.expected_mistakes == 0

    def test_a_trial_that_should_not_have_been_stopped(self, tmp_path):
        """It was where the later winner had been, and all finished ones improved by 3 from there."""
        found = self.trained(tmp_path, *self.whole(0, 1, 2, 3), ([4.0, 3.0], True), ([9.0, 8.0], True))
        assert found.chances == {4: 1.0, 5: 0.0}
        assert found.doubtful == [4]

    def test_early_values_that_tell_the_order(self, tmp_path):
        assert self.trained(tmp_path, *self.whole(0, 1, 2, 3, 4), ([9.0, 8.0], True)).agreement == pytest.approx(1.0)

    def test_agreement_against_scipy(self, tmp_path):
        rng = np.random.default_rng(0)
        curves = [list(rng.random(6)) for _ in range(20)]
        found = self.trained(tmp_path, *((c, False) for c in curves), ([9.0, 9.0], True))
        wanted = stats.kendalltau([c[1] for c in curves], [min(c) for c in curves]).statistic
        assert found.agreement == pytest.approx(wanted)

    def test_nothing_to_judge_by(self, tmp_path):
        assert self.trained(tmp_path / "a", *self.whole(0)).notes == ("no trial was stopped",)
        found = self.trained(tmp_path / "b", ([9.0], True))
        assert found.full_steps is None
        assert "no trial finished" in found.notes[0]


def test_values_whose_squares_overflow(tmp_path):
    space = {"x": {"min": 0.0, "max": 1.0}, "y": {"values": ["a", "b"]}}
    results = plant_sweep(tmp_path, space, lambda params: params["x"] * 1e300, 25)
    found = results.importance()
    assert max(found, key=found.get) == "x"
    assert results.correlation()["x"].rank == results.correlation()["x"].linear == pytest.approx(1.0)
