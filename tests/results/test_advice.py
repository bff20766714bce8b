"""Each piece of advice is given if it applies, and only then."""

import pytest

from tests.configurations import RANDOM, UNIT
from wandbsweep import TrialRecord, load_sweep
from wandbsweep.results.analysis.advice import collect_advice, collect_new_advice
from wandbsweep.results.narrowing.ranges import narrow_range

LOG = {"distribution": "log_uniform_values", "min": 1e-5, "max": 1e-1}


def sweep(parameters=None, **more):
    config = RANDOM | {"run_cap": 30, "parameters": parameters or {"x": UNIT}}
    return load_sweep(config | more)


def trial(number, curve=(1.0,), state="finished", **params):
    return TrialRecord(number, state, params or {"x": 0.5}, dict(enumerate(curve)), min(curve))


def test_a_sound_sweep_gets_none():
    spec = sweep({"optimizer.lr": LOG, "dropout": UNIT}, early_terminate={"type": "hyperband", "min_iter": 3})
    trials = [
        trial(i, [5 + i, 4 + i, 3 + i, 2 + i, 1 + i], **{"optimizer.lr": 1e-3, "dropout": 0.5}) for i in range(30)
    ]
    assert collect_advice(spec) == collect_advice(spec, trials) == []


def test_too_many_parameters():
    space = {f"p{i}": UNIT for i in range(8)}
    (line,) = collect_advice(sweep(space))
    assert line.startswith("30 trials can hardly cover 8 continuous parameters")
    assert "80" in line
    assert collect_advice(sweep(space, run_cap=60)) == []
    assert collect_advice(sweep({f"p{i}": {"values": [1, 2]} for i in range(8)})) == []


@pytest.mark.parametrize(
    ("name", "config", "is_due"),
    [
        ("optimizer.lr", {"min": 0.0, "max": 0.1}, True),
        ("learning_rate", {"min": 1e-5, "max": 0.1}, True),
        ("base_lr", {"min": 1e-5, "max": 0.1}, True),
        ("optimizer.lr", LOG, False),
        ("optimizer.lr", {"min": 0.01, "max": 0.05}, False),
        ("dropout", {"min": 0.0, "max": 0.5}, False),
        ("color", {"min": 0.0, "max": 0.5}, False),
    ],
)
def test_a_learning_rate_on_a_linear_scale(name, config, is_due):
    found = collect_advice(sweep({name: config}))
    assert len(found) == is_due
    if is_due:
        assert name in found[0]
        assert "log_uniform_values" in found[0]


def test_a_metric_reported_only_at_the_end():
    spec = sweep(early_terminate={"type": "hyperband", "min_iter": 3})
    (line,) = collect_advice(spec, [trial(0), trial(1)])
    assert line == "loss is reported once a trial, so early_terminate can stop nothing: report it every epoch."
    assert collect_advice(spec, [trial(0)]) == []
    assert collect_advice(sweep(), [trial(0), trial(1)]) == []
    (line,) = collect_advice(spec, [TrialRecord(i, "finished", {"x": 0.5}, {}, 1.0) for i in range(2)])
    assert line.startswith("loss is returned and never reported, so early_terminate can stop nothing")


def test_min_iter_before_the_order_is_known():
    spec = sweep(early_terminate={"type": "hyperband", "min_iter": 1})
    crossing = [trial(i, [float(i), 5.0, 10.0 - i - 9]) for i in range(10)]
    (line,) = collect_advice(spec, crossing)
    assert line.startswith("After 1 report, where")
    assert "raise min_iter" in line
    assert collect_advice(spec, [trial(i, [i + 2.0, i + 1.0]) for i in range(10)]) == []


@pytest.mark.parametrize(("at", "side"), [(0.01, "lower"), (0.99, "upper")])
def test_the_best_at_an_edge(at, side):
    trials = [trial(i, [float(i)], x=at if i < 8 else 0.5) for i in range(30)]
    (line,) = collect_advice(sweep(), trials)
    assert f"have x at its {side} end" in line
    assert collect_advice(sweep(), trials[:15]) == []


@pytest.mark.parametrize(
    ("name", "config", "value", "is_due"),
    [
        ("model.dropout", {"min": 0.0, "max": 0.5}, 0.0, False),
        ("model.dropout", {"min": 0.1, "max": 0.5}, 0.1, True),
        ("optimizer.momentum", {"min": 0.5, "max": 1.0}, 1.0, False),
        ("optimizer.betas.0", {"min": 0.0, "max": 1.0}, 1.0, False),
        ("augmentProb", {"min": 0.0, "max": 1.0}, 0.0, False),
        ("optimizer.weight_decay", {"min": 0.0, "max": 1.0}, 0.0, False),
        ("optimizer.weight_decay", {"min": 0.0, "max": 1.0}, 1.0, True),
        ("scheduler.warmup_steps", {"min": 0, "max": 500}, 0, False),
        ("scheduler.warmup_steps", {"min": 0, "max": 500}, 500, True),
        ("offset", {"min": 0.0, "max": 1.0}, 0.0, True),
    ],
)
def test_no_sweep_reaches_beyond_a_natural_end(name, config, value, is_due):
    spec = sweep({name: config})
    trials = [
        trial(i, [float(i)], **{name: value if i < 8 else (config["min"] + config["max"]) // 2}) for i in range(30)
    ]
    assert len(collect_advice(spec, trials)) == is_due
    _, reasons, _ = narrow_range(spec.parameters[name], [value] * 6)
    assert any("may lie" in reason for reason in reasons.values()) == is_due


def test_the_best_within_the_noise():
    noisy = [1.0, 0.5, 0.9, 0.52, 0.95, 0.51, 0.9]
    trials = [trial(0, noisy), *(trial(i, [0.5 + i / 100]) for i in range(1, 25))]
    (line,) = collect_advice(sweep(), trials)
    assert "evaluate --seeds 5" in line
    clear = [trial(0, [5.0, 0.13, 0.12, 0.11, 0.105, 0.1]), *trials[1:]]
    assert collect_advice(sweep(), clear) == []


def test_everything_once(monkeypatch):
    monkeypatch.delenv("WANDBSWEEP_ADVICE", raising=False)
    spec, given = sweep(early_terminate={"type": "hyperband", "min_iter": 3}), set()
    assert len(collect_new_advice(spec, [trial(0), trial(1)], given)) == 1
    assert collect_new_advice(spec, [trial(0), trial(1), trial(2)], given) == []


@pytest.mark.parametrize("text", ["0", "off", "No"])
def test_silence(monkeypatch, text):
    monkeypatch.setenv("WANDBSWEEP_ADVICE", text)
    assert collect_new_advice(sweep({"lr": {"min": 0.0, "max": 1.0}}), [], set()) == []


def test_one_line_each():
    trials = [trial(i, [1.0, 0.5, 0.9, 0.5, 0.9, 0.5, 0.9], x=0.0) for i in range(30)]
    lines = collect_advice(sweep(early_terminate={"type": "hyperband", "min_iter": 1}), trials)
    assert lines
    assert not any("\n" in line for line in lines)
