"""The Bayesian search: a pure function of specification, trials and random state."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from tests.configurations import BAYES
from wandbsweep.search.bayes.acquisition import Acquisition, cross, log_ei, log_h
from wandbsweep.search.bayes.curves import Warp, impute
from wandbsweep.search.bayes.gp import Hyperparameters, MarginalLikelihood, Observations, _prior, condition
from wandbsweep.search.bayes.model import suggest, vary
from wandbsweep.search.bayes.novelty import Novelty
from wandbsweep.search.bayes.space import Space
from wandbsweep.search.bayes.success import Success
from wandbsweep.search.bayes.survival import Survival
from wandbsweep.search.bayes.threads import one_blas_thread
from wandbsweep.spec.load import load_sweep
from wandbsweep.spec.sweep_spec import Metric, SweepSpec
from wandbsweep.trial import State, TrialRecord

FLOATS = {
    "lr": {"distribution": "log_uniform_values", "min": 1e-4, "max": 1.0},
    "x": {"min": 0.0, "max": 1.0},
    "y": {"min": -1.0, "max": 1.0},
}


def sweep(parameters: Mapping[str, Any], **more: Any) -> SweepSpec:
    return load_sweep(BAYES | {"parameters": parameters, **more})


def record(number: int, params: Mapping[str, Any], *values: float, state: State = "finished") -> TrialRecord:
    finite = [v for v in values if math.isfinite(v)]
    return TrialRecord(number, state, params, dict(enumerate(values)), min(finite, default=None))


def search(
    spec: SweepSpec, objective: Callable[[dict[str, Any]], float], count: int, seed: int = 0
) -> list[TrialRecord]:
    trials: list[TrialRecord] = []
    for number in range(count):
        params = suggest(spec, trials, rng=np.random.default_rng((seed, number)))
        trials.append(record(number, params, objective(params)))
    return trials


def prior_mean(dims: int) -> Hyperparameters:
    return Hyperparameters.unpack(_prior(dims, True)[0], dims)


def bowl(params: Mapping[str, Any]) -> float:
    away = (math.log10(params["lr"]) + 2) ** 2 / 4 + (params["x"] - 0.3) ** 2 + (params["y"] - 0.5) ** 2 / 4
    return float(away)


def best(trials: list[TrialRecord]) -> float:
    return min(t.value for t in trials if t.value is not None)


def test_the_same_input_gives_the_same_configuration() -> None:
    spec = sweep(FLOATS)
    trials = search(spec, bowl, 12)
    first, second = (suggest(spec, trials, rng=np.random.default_rng(7)) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("seed", range(3))
def test_a_smooth_optimum_is_found(seed: int) -> None:
    spec = sweep(FLOATS)
    rng = np.random.default_rng(seed)
    drawn = min(bowl({n: p.ppf(rng.random()) for n, p in spec.parameters.items()}) for _ in range(300))
    assert best(search(spec, bowl, 25, seed)) < drawn


def test_the_goal_may_be_to_maximise() -> None:
    spec = sweep(FLOATS, metric={"name": "accuracy", "goal": "maximize"})
    trials = search(spec, lambda p: -bowl(p), 25)
    assert max(t.value for t in trials if t.value is not None) > -0.02


def test_the_right_category_is_found() -> None:
    spec = sweep({**FLOATS, "act": {"values": ["a", False, 0, "", None, [1, 2], {"k": 1}]}})
    trials = search(spec, lambda p: bowl(p) + (p["act"] is not False), 30)
    assert [t.params["act"] for t in trials[-10:]].count(False) >= 5


def test_no_configuration_repeats_if_a_parameter_is_continuous() -> None:
    spec = sweep({"x": {"min": 0.0, "max": 1.0}, "n": {"min": 1, "max": 3}})
    trials = search(spec, lambda p: (p["x"] - 1.0) ** 2 + p["n"], 40)
    assert len({tuple(t.params.values()) for t in trials}) == 40


def test_a_discrete_space_is_exhausted_before_it_repeats() -> None:
    spec = sweep({"a": {"values": [True, 1, "1"]}, "n": {"min": 1, "max": 5}, "m": {"values": [0, 16, 32]}})
    trials = search(spec, lambda p: p["n"] * p["m"], 46)
    seen = {repr(sorted(t.params.items())) for t in trials[:45]}
    assert len(seen) == 45


@pytest.mark.parametrize(
    "parameters",
    [
        {"k": {"value": None}},
        {"k": {"value": 3}, "one": {"values": ["only"]}},
        {"one": {"values": [[]]}},
        {"n": {"distribution": "q_uniform", "min": 0.0, "max": 0.4, "q": 1.0}},
    ],
)
def test_a_space_with_nothing_to_search(parameters: dict[str, Any]) -> None:
    spec = sweep(parameters)
    trials = search(spec, lambda p: 1.0, 5)
    assert all(t.params == {n: p.ppf(0.5) for n, p in spec.parameters.items()} for t in trials)


@pytest.mark.parametrize(
    "rule",
    [
        {"distribution": "normal", "mu": 1, "sigma": 2},
        {"distribution": "q_log_normal", "mu": 2, "sigma": 1, "q": 1},
        {"distribution": "q_log_uniform_values", "min": 8, "max": 5000, "q": 1},
        {"distribution": "q_uniform", "min": 0.0, "max": 1.0, "q": 0.1},
        pytest.param(
            {"distribution": "log_uniform", "min": -9.0, "max": 0.0}, marks=pytest.mark.filterwarnings("ignore")
        ),
        {"distribution": "inv_log_uniform_values", "min": 1e-5, "max": 1.0},
        {"distribution": "beta", "a": 2, "b": 5},
        {"min": 1, "max": 10**12},
        {"values": ["a", "b", "c"], "probabilities": [0.5, 0.5, 0.0]},
    ],
)
def test_every_distribution_gives_plain_values_of_its_own(rule: dict[str, Any]) -> None:
    spec = sweep({"p": rule, "x": {"min": 0.0, "max": 1.0}})
    trials = search(spec, lambda p: p["x"] + (p["p"] == "b"), 12)
    values = [t.params["p"] for t in trials]
    assert all(type(v) in (int, float, str) for v in values)
    assert "c" not in values
    assert all(math.isfinite(v) for v in values if not isinstance(v, str))


def test_numbers_that_are_not_finite_and_trials_that_failed() -> None:
    spec = sweep(FLOATS)
    trials = search(spec, bowl, 6)
    middle = trials[0].params
    trials += [
        record(6, middle, math.nan, 2.0, math.inf),
        record(7, middle, math.nan, state="failed"),
        record(8, middle, state="crashed"),
        record(9, middle, 3.0, math.nan, state="running"),
        record(10, {}, state="queued"),
        record(11, middle, 1e300, state="stopped"),
        record(12, {"x": 5.0, "lr": "?"}, 1.0),
    ]
    assert set(suggest(spec, trials, rng=np.random.default_rng(0))) == set(FLOATS)


@pytest.mark.parametrize("value", [0.0, 1e-300, -1e12])
def test_results_that_are_all_equal(value: float) -> None:
    trials = search(sweep(FLOATS), lambda p: value, 15)
    assert len(trials) == 15


def test_running_trials_keep_others_away() -> None:
    """Eight agents that ask at once are sent to eight places."""
    spec = sweep(FLOATS)
    space = Space(spec.parameters)
    trials = search(spec, bowl, 15)
    for number in range(15, 23):
        params = suggest(spec, trials, rng=np.random.default_rng(number))
        trials.append(record(number, params, state="running"))
    x = np.stack([space.encode(t.params) for t in trials[15:]])
    gaps = np.sqrt(space.differences(x, x).sum(0)) + np.eye(8)
    assert gaps.min() > 1e-3


def test_a_proposal_must_improve_on_the_likely_result_of_a_running_trial() -> None:
    """A trial runs where the model expects the optimum: next to it there is little left to gain."""
    space = Space(sweep({"x": {"min": 0.0, "max": 1.0}}).parameters)
    x = np.array([[0.0], [0.25], [0.75], [1.0], [0.5]])
    seen = Observations(np.arange(4), np.zeros(4), np.array([1.0, -0.5, -0.5, 1.0]))
    normals = np.random.default_rng(0).standard_normal((32, 1))
    p = prior_mean(space.dims)
    posterior = condition(space.differences(x, x), seen, np.array([4]), p, normals)
    blind = dataclasses.replace(posterior, drawn=np.empty((0, 32)))
    near = np.array([[0.51]])
    aware, unaware = (
        float(Acquisition(space, x, post, post.drawn.min(0, initial=-0.5))(near)[0]) for post in (posterior, blind)
    )
    assert aware < unaware - 1


def test_a_converged_search_does_not_turn_to_the_corners() -> None:
    """A narrow dip, found, in a plain of noise: of all points the corners are the furthest from any trial."""
    names = "abcdef"
    spec = sweep({name: {"min": 0.0, "max": 1.0} for name in names})
    rng = np.random.default_rng(0)
    trials = []
    for number in range(30):
        x = rng.random(6) if number < 12 else 0.5 + 0.05 * rng.standard_normal(6)
        value = min(1.0, 40 * float(((x - 0.5) ** 2).sum())) + 0.02 * rng.random()
        trials.append(record(number, dict(zip(names, x.tolist(), strict=True)), value))
    asked = [suggest(spec, trials, rng=np.random.default_rng(seed)) for seed in range(10)]
    assert sum(all(v in (0.0, 1.0) for v in params.values()) for params in asked) <= 1


def test_a_lucky_trial_does_not_send_the_search_away() -> None:
    """The best of many noisy values is luck: nothing near it improves on it, though the optimum is there."""
    spec = sweep({"x": {"min": 0.0, "max": 1.0}, "y": {"min": 0.0, "max": 1.0}})
    away = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        trials = []
        for number in range(30):
            x = rng.random(2) if number < 20 else 0.4 + 0.1 * rng.standard_normal(2)
            value = 2 * float(((x - 0.4) ** 2).sum()) + 0.1 * rng.standard_normal() - 0.2 * (number == 25)
            trials.append(record(number, dict(zip("xy", x.tolist(), strict=True)), value))
        asked = suggest(spec, trials, rng=np.random.default_rng(seed))
        away.append(max(abs(v - 0.4) for v in asked.values()))
    assert float(np.median(away)) < 0.15


def test_an_exhausted_region_is_left_in_every_other_ask() -> None:
    """Nothing is left to gain around the best trials: half of the asks go elsewhere, and not to the corners."""
    spec = sweep({"x": {"min": 0.0, "max": 1.0}, "y": {"min": 0.0, "max": 1.0}})
    rng = np.random.default_rng(0)
    trials = []
    for number in range(31):
        x = rng.random(2) if number < 18 else 0.3 + 0.01 * rng.standard_normal(2)
        trials.append(record(number, dict(zip("xy", x.tolist(), strict=True)), float(((x - 0.3) ** 2).sum())))
    away, near = (
        [list(suggest(spec, trials[:count], rng=np.random.default_rng(seed)).values()) for seed in range(4)]
        for count in (30, 31)
    )
    assert all(np.mean((np.array(x) - 0.3) ** 2) > 0.25**2 and min(x) > 0.0 and max(x) < 1.0 for x in away)
    assert all(np.mean((np.array(x) - 0.3) ** 2) < 0.05**2 for x in near)


@pytest.mark.parametrize("columns", [1, 2, 7])
def test_a_crossed_candidate_differs_in_some_columns_but_few(columns: int) -> None:
    rng = np.random.default_rng(0)
    space = Space(sweep({f"x{j}": {"min": 0.0, "max": 1.0} for j in range(columns)}).parameters)
    changed = (cross(space, np.full((500, columns), 0.5), rng) != 0.5).sum(1)
    assert changed.min() >= 1
    assert changed.mean() < 3


def test_a_stopped_trial_does_not_count_as_a_bad_one() -> None:
    """Curves that fall tenfold after the point where trials are stopped: early values are far above every final one,
    yet the best region, where only stopped trials are, must still be found."""
    spec = sweep({"x": {"min": 0.0, "max": 1.0}})

    def curve(x: float, length: int) -> list[float]:
        return [((x - 0.8) ** 2 + 0.01) * (1 + 9 * (1 - math.log(t) / math.log(27))) for t in range(1, length + 1)]

    trials = [record(i, {"x": x}, *curve(x, 27)) for i, x in enumerate((0.05, 0.2, 0.35, 0.5))]
    trials += [record(4 + i, {"x": x}, *curve(x, 3), state="stopped") for i, x in enumerate((0.65, 0.75, 0.95))]
    asked = [suggest(spec, trials, rng=np.random.default_rng(seed))["x"] for seed in range(5)]
    assert 0.7 < float(np.median(asked)) < 0.92


def test_categories_with_equal_looking_values_stay_apart() -> None:
    space = Space(sweep({"a": {"values": [0, False, "0", None, "None"]}}).parameters)
    assert [space.decode(space.encode({"a": v}))["a"] for v in (0, False, "0", None)] == [0, False, "0", None]
    assert len({float(space.encode({"a": v})[0]) for v in (0, False, "0", None, "None")}) == 5


def slopes(f: Callable[[np.ndarray], float], at: np.ndarray, step: float = 1e-5) -> np.ndarray:
    moves = step * np.eye(len(at))
    return np.array([(f(at + m) - f(at - m)) / (2 * step) for m in moves])


def curves_seen(rng: np.random.Generator) -> tuple[Space, np.ndarray, Observations]:
    space = Space(sweep({**FLOATS, "c": {"values": ["a", "b"]}}).parameters)
    x = space.draw(9, rng)
    trial = np.repeat(np.arange(9), 3)
    return space, x, Observations(trial, np.tile([0.9, 0.4, 0.0], 9), rng.standard_normal(27))


def test_the_likelihood_has_the_right_gradient() -> None:
    rng = np.random.default_rng(0)
    space, x, seen = curves_seen(rng)
    likelihood = MarginalLikelihood(space.differences(x, x), seen)
    theta = likelihood.prior_mean + 0.3 * rng.standard_normal(len(likelihood.prior_mean))
    assert likelihood(theta)[1] == pytest.approx(slopes(lambda t: likelihood(t)[0], theta), rel=1e-4, abs=1e-5)


def test_the_acquisition_has_the_right_gradient_and_value() -> None:
    rng = np.random.default_rng(1)
    space, x, seen = curves_seen(rng)
    normals = rng.standard_normal((4, 2))
    p = prior_mean(space.dims)
    running = np.array([3, 5])
    posterior = condition(space.differences(x, x), seen, running, p, normals)
    novelty = Novelty(space, x, [3.0, 1.0, 3.0, 2.0, 1.0, 1.0])
    assert novelty.repeats
    states = ["failed", "finished", "finished", "crashed"] * len(x)
    success = Success(space, [TrialRecord(i, states[i], space.decode(row)) for i, row in enumerate(x)])  # type: ignore[arg-type]
    assert success.is_modelled
    acquisition = Acquisition(space, x, posterior, posterior.drawn.min(0, initial=-1.0), [novelty, success])
    point = space.draw(1, rng)[0]
    value, slope = acquisition.with_slope(point)
    assert value == pytest.approx(float(acquisition(point[None])[0]))
    numeric = ~space.categorical
    assert slope[numeric] == pytest.approx(
        slopes(lambda u: acquisition.with_slope(u)[0], point)[numeric], rel=1e-4, abs=1e-6
    )


def test_values_that_repeated_are_expected_to_repeat() -> None:
    space = Space(sweep({"x": {"min": 0.0, "max": 1.0}, "y": {"min": 0.0, "max": 1.0}}).parameters)
    rng = np.random.default_rng(0)
    x = rng.random((30, 2))
    steps = np.floor(4 * x) @ [1.0, 4.0]
    near, far = x[:1] + 0.01, np.array([[2.0, 2.0]])
    novelty = Novelty(space, x, steps.tolist())
    assert float(novelty(near)[0]) < math.log(0.3) < math.log(0.9) < float(novelty(far)[0])
    all_new = Novelty(space, x, x[:, 0].tolist())
    assert (all_new(near) == 0).all()


def test_a_repeated_value_sends_the_search_further_away() -> None:
    """Every configuration is answered by the nearest of a few stored ones; with and without a trace of noise, by which
    no value comes twice."""
    spec = sweep({name: {"min": 0.0, "max": 1.0} for name in "abcd"})
    stored = np.random.default_rng(0).random((150, 4))
    space = Space(spec.parameters)

    def away(noise: float) -> float:
        rng = np.random.default_rng(1)

        def answer(params: dict[str, Any]) -> float:
            at = stored[((stored - list(params.values())) ** 2).sum(1).argmin()]
            return float(((at - 0.2) ** 2).sum() + noise * rng.random())

        x = np.stack([space.encode(t.params) for t in search(spec, answer, 22)])
        distance = np.sqrt(space.differences(x, x).sum(0)) + 9 * np.eye(22)
        return float(np.median(distance[12:].min(1)))

    assert away(0.0) > 1.3 * away(1e-9)


def test_log_expected_improvement_is_exact_in_both_tails() -> None:
    direct = [0.3989422804014327, 0.08331547058768629, 1.0833154705876863]
    assert np.exp(log_h(np.array([0.0, -1.0, 1.0]))) == pytest.approx(direct)
    far = log_h(np.array([-50.0, -1e3, -1e6]))
    assert np.isfinite(far).all()
    assert far[1] == pytest.approx(-0.5e6 - 0.5 * math.log(2 * math.pi) - 2 * math.log(1e3), rel=1e-6)
    mean, variance = np.array([[0.0, 1.0]]), np.array([1.0])
    each = [float(log_ei(mean[:, [j]], variance, np.zeros(1))[0]) for j in (0, 1)]
    assert float(log_ei(mean, variance, np.zeros(2))[0]) == pytest.approx(math.log(np.mean(np.exp(each))))


@pytest.mark.parametrize(("rule", "meant"), [("worst", 3.0), ("best", 1.0), ("latest", 7.0)])
def test_what_failed_and_running_trials_count_as(rule: str, meant: float) -> None:
    metric = Metric("loss", impute=rule, impute_while_running=rule)  # type: ignore[arg-type]
    trials = [
        record(0, {"x": 1}, 1.0),
        record(1, {"x": 1}, 3.0, state="stopped"),
        record(2, {"x": 1}, 0.5, 7.0, state="crashed"),
        record(3, {"x": 1}, 0.5, 7.0, state="running"),
    ]
    assert impute(trials, 1.0, metric) == {2: meant, 3: meant}
    assert set(impute(trials, 1.0, Metric("loss"))) == {2}


def blas_threads() -> set[int]:
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


def test_blas_threads_are_restored_when_the_last_of_several_asks_ends() -> None:
    with threadpool_limits(limits=2, user_api="blas"):
        before = blas_threads()
        first, second = one_blas_thread(), one_blas_thread()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert blas_threads() == {1}
        second.__exit__(None, None, None)
        assert blas_threads() == before


class TestWithoutTheModel:
    def test_it_starts_from_the_best(self) -> None:
        spec = sweep({**FLOATS, "kind": {"values": ["a", "b", "c"]}, "n": {"min": 1, "max": 500}})
        rng = np.random.default_rng(0)
        trials: list[TrialRecord] = []
        for number in range(30):
            drawn = {name: p.ppf(float(rng.random())) for name, p in spec.parameters.items()}
            trials.append(record(number, drawn, drawn["x"]))
        good = sorted((trial.params for trial in trials), key=lambda params: params["x"])[:5]
        found = [vary(spec, trials, rng=np.random.default_rng(seed)) for seed in range(200)]
        assert len({str(params) for params in found}) > 190
        assert not [params for params in found if params in [trial.params for trial in trials]]
        near = [min(abs(params["y"] - of["y"]) for of in good) < 0.06 for params in found]
        assert np.mean(near) > 0.5
        assert np.mean([params["x"] for params in found]) < 0.3

    def test_a_start_in_a_corner_leaves_it(self) -> None:
        spec = sweep(FLOATS)
        corner = record(0, {"lr": 1e-4, "x": 0.0, "y": -1.0}, 0.0)
        found = [vary(spec, [corner], rng=np.random.default_rng(seed)) for seed in range(100)]
        for name in FLOATS:
            assert len({params[name] for params in found}) == 100

    def test_before_the_first_trial_has_ended_and_if_nothing_varies(self) -> None:
        spec = sweep(FLOATS)
        running = [record(n, {"lr": 0.1, "x": n / 10, "y": 0.0}, state="running") for n in range(3)]
        assert len({str(vary(spec, running, rng=np.random.default_rng(seed))) for seed in range(9)}) == 9
        assert vary(sweep({"a": {"value": 3}}), [], rng=np.random.default_rng(0)) == {"a": 3}

    def test_values_with_steps_do_not_repeat(self) -> None:
        spec = sweep({"n": {"min": 0, "max": 60}})
        trials = [record(n, {"n": n}, float(n)) for n in range(0, 60, 2)]
        found = [vary(spec, trials, rng=np.random.default_rng(seed))["n"] for seed in range(200)]
        assert not set(found) & set(range(0, 60, 2))

    def test_the_only_configuration_left(self) -> None:
        spec = sweep({"a": {"values": [1, 2, 3]}, "b": {"values": ["x", "y"]}})
        points = [{"a": a, "b": b} for a in (1, 2, 3) for b in ("x", "y")]
        trials = [record(n, params, float(n)) for n, params in enumerate(points[:-1])]
        assert vary(spec, trials, rng=np.random.default_rng(0)) == points[-1]


class TestSurvival:
    """Small x learns so slowly that it is stopped."""

    def survival(self, **early_terminate: Any) -> tuple[float, float]:
        more = {"early_terminate": early_terminate} if early_terminate else {}
        spec = sweep({"x": {"min": 0.0, "max": 1.0}, "y": {"min": 0.0, "max": 1.0}}, **more)
        trials = []
        for number, (x, y) in enumerate(np.random.default_rng(0).random((40, 2)).tolist()):
            steps = 2 if x < 0.5 else 10
            reports = {step: 2.0 - x - step / 20 for step in range(steps)}
            state: State = "stopped" if steps == 2 else "finished"
            trials.append(TrialRecord(number, state, {"x": x, "y": y}, reports=reports, value=min(reports.values())))
        slow, fast = Survival(Space(spec.parameters), spec, trials)(np.array([[0.1, 0.5], [0.95, 0.5]]))
        return float(slow), float(fast)

    def test_what_would_be_stopped_is_less_likely_to_continue(self) -> None:
        slow, fast = self.survival(type="hyperband", min_iter=2, eta=3)
        assert slow < fast - 1.0
        assert fast > -0.3

    def test_what_auto_would_stop(self) -> None:
        slow, fast = self.survival(type="auto")
        assert slow < fast - 1.0
        assert fast > -0.3

    def test_if_nothing_is_stopped_all_continue(self) -> None:
        assert self.survival() == (0.0, 0.0)
        assert self.survival(type="hyperband", min_iter=100) == (0.0, 0.0)


def test_failures_repel_the_search_without_spoiling_its_model() -> None:
    """A third of the space fails, with the best of the rest at its edge; then every third trial fails by chance."""
    parameters = {f"x{i}": {"min": 0.0, "max": 1.0} for i in range(3)}
    spec = sweep(parameters)

    def is_beyond(x: np.ndarray, number: int) -> bool:
        return bool(x[0] + x[1] > 1.15)

    cases: list[tuple[Callable[[np.ndarray, int], bool], State, dict[int, float]]] = [
        (is_beyond, "failed", {}),
        (is_beyond, "finished", {0: math.nan}),
        (lambda x, n: n % 3 == 1, "failed", {}),
    ]
    # A trial that reported nothing but NaN has failed as well, whatever its state is.
    for fails, state, reports in cases:
        trials: list[TrialRecord] = []
        for number in range(24):
            params = suggest(spec, trials, rng=np.random.default_rng([0, number]))
            x = np.array(list(params.values()))
            loss = float(((x - [0.7, 0.6, 0.3]) ** 2).sum())
            trials.append(
                TrialRecord(number, state, params, reports=reports)
                if fails(x, number)
                else TrialRecord(number, "finished", params, reports={0: loss}, value=loss)
            )
        assert min(trial.value for trial in trials if trial.value is not None) < 0.02
        assert sum(trial.value is None for trial in trials) < 14


@pytest.mark.parametrize("values", [[1.0], [2.0, 2.0, 2.0], [1.0, 1.0, 7.0], [0.1, 0.2, 0.3, 1e300], [-1e300, 1e300]])
def test_the_scale_of_values_is_finite_and_keeps_their_order(values: list[float]) -> None:
    found = Warp.fit(np.array(values))(np.array([-1e300, *values, 1e300]))
    assert np.isfinite(found).all()
    assert (np.diff(found) >= 0).all()
