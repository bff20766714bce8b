"""Values as strings of Hydra's override grammar, compared with Hydra's own parser and with what Hydra composes."""

from __future__ import annotations

import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException
from hypothesis import example, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from wandbsweep.errors import SpaceError
from wandbsweep.sweep.override_strings import (
    _format_key,
    _quote,
    canonicalize,
    format_overrides,
    format_value,
    is_for_sweeper,
    is_sweep_key,
)

CONFIG = """
x: null
scalar: 1
mapping: {a: 1, b: {c: 2}}
sequence: [1, 2]
"""


@pytest.fixture(scope="module", autouse=True)
def application(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    conf: Path = tmp_path_factory.mktemp("conf")
    (conf / "config.yaml").write_text(CONFIG)
    with initialize_config_dir(str(conf), version_base="1.3"):
        yield


def compose_values(*overrides: str) -> Any:
    return OmegaConf.to_container(compose("config", overrides=list(overrides)), resolve=True)


@pytest.mark.parametrize("key", ["scalar", "mapping", "sequence", "x"])
@pytest.mark.parametrize("value", [{}, {"a": 5}, {"new": {"c": 1}}, {"b": {}}])
def test_a_mapping_replaces_what_is_there(key: str, value: Any) -> None:
    assert compose_values(*format_overrides([], {key: value}))[key] == value


@pytest.mark.parametrize("key", ["", "it's", 'a"b', "ü", "1", "1e3", "true", "Null", "#", "a\nb"])
def test_keys_that_hydra_cannot_write(key: str) -> None:
    with pytest.raises(SpaceError, match="cannot be written in Hydra's override grammar"):
        format_value({"fine": [{key: 1}]})


def test_canonical_tells_types_apart() -> None:
    assert len({canonicalize(value) for value in (1, 1.0, True, "1", [1], {"1": 1}, None)}) == 7


# What the grammar, OmegaConf or YAML might trip over.
PIECES = st.sampled_from([*" '\"=$\\{}()[]:,;\n\t\r#%&*!|<>?@`~^+-./0", "ü", "漢", "😀", "${x}", "${", "null", "e5"])
TEXT = st.lists(PIECES, max_size=6).map("".join) | st.text(max_size=6)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(2**53, 2**80), st.floats(allow_nan=False), TEXT
)
# Keys have fewer characters (see test_keys_that_hydra_cannot_write), but these in any order.
KEYS = st.text(f"{string.ascii_letters}_-+./\\$%*@?|()[]{{}}:=, \t", min_size=1, max_size=5).filter(
    lambda key: key.strip(" \t+-.").lower() not in {"", "null", "true", "false", "inf", "nan"}
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=5
)


ODD = [
    *("", "${oc.env:HOME}", "\\${x}", "ends in \\", "'\\'", "/a/path", "1_000", "0x10", "2020-01-01", "two\nlines"),
    *(1e-7, 1e22, -0.0, float("-inf"), 2**70, [], {}, {"a b": {"$c": None, "${d}": "${e}"}}),
]


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(st.lists(VALUES, min_size=5, max_size=5))
@example(ODD)
def test_any_value_survives(values: list[Any]) -> None:
    params = {f"anything.v{k}": value for k, value in enumerate(values)}
    found = compose_values("+anything={}", *(f"+{line}" for line in format_overrides([], params)))
    assert [found["anything"][f"v{k}"] for k in range(len(values))] == values
    assert repr(list(found["anything"].values())) == repr(values)


@given(st.text(alphabet="\\'a\n\"$ "))
def test_quoting_is_hydras(text: str) -> None:
    assert _quote(text) == QuotedString(text, Quote.single).with_quotes()


def parse_key(text: str) -> Any:
    """Return how Hydra reads a mapping's key; SpaceError (no key) if it does not."""
    try:
        return OverridesParser.create().parse_rule(text, "dictKey")
    except HydraException:
        return SpaceError


# Fragments of numbers, keywords and names, and every kind of character that the grammar knows.
KEY_PIECES = st.sampled_from(
    [*"0123_.eE+-aZ/\\$%*@?|()[]{}:=, \t'\"#ü\n", "inf", "nan", "null", "true", "False", "1e", "${"]
)


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(
    st.lists(KEY_PIECES, max_size=5).map("".join)
    | st.text(max_size=4)
    | st.integers()
    | st.floats()
    | st.booleans()
    | st.none()
)
@example("1_000")
@example("1.e5")
@example("+.5")
@example("-Inf")
@example("0123")
def test_keys_are_written_exactly_if_hydra_reads_them_back(key: Any) -> None:
    escaped = (
        "".join(f"\\{c}" if c in "\\()[]{}:=, \t" else c for c in key) if isinstance(key, str) else format_value(key)
    )
    read = parse_key(escaped)
    if type(read) is type(key) and read == key:
        assert parse_key(_format_key(key)) == key
    else:
        with pytest.raises(SpaceError):
            _format_key(key)


@pytest.mark.parametrize(
    ("line", "of_key", "for_sweeper"),
    [
        ("sweep=a", True, False),
        ("++sweep.run_cap=3", True, False),
        ("+sweeps@sweep=a", True, False),
        ("sweeps@old:sweep=a", True, False),
        ("~sweep", True, False),
        ("+sweep@hydra.sweeper.sweep=a", True, True),
        ("+sweeps@hydra.sweeper.sweep=a", False, True),
        ("sweeper=sweep", False, False),
        ("db@sweeps=sweep@sweep", False, False),
        ("x=hydra.sweeper", False, False),
    ],
)
def test_what_belongs_to_the_sweep_configuration(line: str, of_key: bool, for_sweeper: bool) -> None:
    assert (is_sweep_key(line), is_for_sweeper(line)) == (of_key, for_sweeper)
