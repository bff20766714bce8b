"""The first step of reading a sweep file: where text becomes a number, and where it stays text."""

import copy

import pytest

from wandbsweep.spec.findings import Findings
from wandbsweep.spec.normalize import normalize


def normalized(config, *, quotes_seen=False):
    findings = Findings()
    return normalize(config, findings, quotes_seen=quotes_seen), findings.notes, findings.violations


CONFIG = {
    "method": "random",
    "run_cap": "7",
    "name": "3",
    "description": None,
    "metric": {"name": "1e3", "target": "0.5", "goal": None, "impute_while_running": False},
    "early_terminate": {"type": "hyperband", "min_iter": 3.0, "eta": "2.5", "s": None},
    "parameters": {
        # Parameters that are called as keys are.
        "min": {"min": "0.1", "max": "9007199254740993"},
        "value": {"value": "1e-3"},
        "parameters": {"values": ["1e-1", 2]},
        "when": {"values": ["1e-1", "fast"], "when": {"min": "1e3", "a": "1"}},
        "nested": {"parameters": {"values": {"probabilities": ["0.5", 0.5], "values": [1, 2]}}},
        "a": {"value": {"min": "1", "list": ["1e3"]}},
    },
    "prior": {"configurations": [{"min": "0.2", "a": "1"}]},
}


def test_text_becomes_a_number_where_a_key_holds_numbers():
    given = copy.deepcopy(CONFIG)
    config, notes, violations = normalized(given)
    assert given == CONFIG  # the input is not changed
    assert violations == []
    assert (config["run_cap"], config["name"], "description" in config) == (7, "3", False)
    assert config["metric"] == {"name": "1e3", "target": 0.5, "impute_while_running": "false"}
    assert config["early_terminate"] == {"type": "hyperband", "min_iter": 3, "eta": 2.5}
    assert type(config["early_terminate"]["min_iter"]) is int
    assert config["parameters"] == {
        "min": {"min": 0.1, "max": 9007199254740993},
        "value": {"value": 1e-3},
        "parameters": {"values": [0.1, 2]},
        "when": {"values": ["1e-1", "fast"], "when": {"min": "1e3", "a": "1"}},
        "nested": {"parameters": {"values": {"probabilities": [0.5, 0.5], "values": [1, 2]}}},
        "a": {"value": {"min": "1", "list": ["1e3"]}},
    }
    assert config["prior"] == CONFIG["prior"]
    assert [note.partition(":")[0] for note in notes] == [
        "parameters.min.min",
        "parameters.min.max",
        "parameters.value.value",
        "parameters.parameters.values",
        "parameters.nested.parameters.values.probabilities[0]",
        "metric.target",
        "early_terminate.eta",
        "run_cap",
    ]


def test_quoted_exponent_forms_of_a_file_stay_text():
    config, _, _ = normalized(CONFIG, quotes_seen=True)
    assert config["parameters"]["value"] == {"value": "1e-3"}
    assert config["parameters"]["parameters"] == {"values": ["1e-1", 2]}
    assert config["parameters"]["min"]["min"] == 0.1


@pytest.mark.parametrize("text", ["fast", "nan", "1e999", "", "0x10"])
def test_text_that_is_no_finite_number_stays(text):
    config, notes, _ = normalized({"method": "random", "run_cap": text})
    assert (config["run_cap"], notes) == (text, [])
