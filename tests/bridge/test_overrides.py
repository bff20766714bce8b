"""Hydra's override grammar read as the parameters of a sweep."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra

from wandbsweep.bridge.overrides import CommandLine, read_command_line
from wandbsweep.errors import SpaceError
from wandbsweep.sweep.override_strings import format_overrides

CONFIG = """
defaults: [{model: mlp}, {db@source: null}, _self_]
x: null
scalar: 1
mapping: {a: 1, b: {c: 2}}
sequence: [1, 2]
"""


@pytest.fixture(scope="module")
def loader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConfigLoader]:
    conf: Path = tmp_path_factory.mktemp("conf")
    (conf / "config.yaml").write_text(CONFIG)
    for group, name in [("model", "mlp"), ("model", "convnet"), ("db", "sqlite"), ("db", "postgres")]:
        (conf / group).mkdir(exist_ok=True)
        (conf / group / f"{name}.yaml").write_text(f"name: {name}")
    with initialize_config_dir(str(conf), version_base="1.3"):
        yield GlobalHydra.instance().config_loader()


class TestReading:
    @pytest.fixture
    def read(self, loader: ConfigLoader) -> Any:
        return lambda *arguments: read_command_line(arguments, loader)

    @pytest.mark.parametrize(
        ("argument", "values"),
        [
            ("x=1,2.5,true,null,abc", [1, 2.5, True, None, "abc"]),
            ("x=choice(b,a)", ["b", "a"]),
            ("x='a,b','c'", ["a,b", "c"]),
            ('x="it\'s","two words"', ["it's", "two words"]),
            ("x=[1,2],[3]", [[1, 2], [3]]),
            ("x={a: 1},{b: [2]}", [{"a": 1}, {"b": [2]}]),
            ("x=range(0,1,0.5)", [0.0, 0.5]),
            ("x=range(1,8,3)", [1, 4, 7]),
            ("x=sort(3,1,2)", [1, 2, 3]),
            ("x=str(1,2)", ["1", "2"]),
            ("x=${a},b", ["${a}", "b"]),
            ("model=glob(*)", ["convnet", "mlp"]),
            ("model=glob(*, exclude=conv*)", ["mlp"]),
        ],
    )
    def test_lists(self, read: Any, argument: str, values: list[Any]) -> None:
        line: CommandLine = read(argument)
        ((name, read_values),) = line.lists.items()
        assert list(map(repr, read_values)) == list(map(repr, values))
        assert line.parameters == {name: {"values": values}}

    @pytest.mark.parametrize(
        ("argument", "parameter"),
        [
            ("x=interval(0.0,0.5)", {"distribution": "uniform", "min": 0.0, "max": 0.5}),
            ("x=interval(0,5)", {"distribution": "uniform", "min": 0.0, "max": 5.0}),  # continuous in Hydra
            ("x=int(interval(0.0,5.0))", {"distribution": "int_uniform", "min": 0, "max": 5}),
            ("x=float(interval(1,5))", {"distribution": "uniform", "min": 1.0, "max": 5.0}),
            ("x=tag(log,interval(1e-5,1e-1))", {"distribution": "log_uniform_values", "min": 1e-5, "max": 1e-1}),
            (
                "x=tag(log,int(interval(1,100)))",
                {"distribution": "q_log_uniform_values", "min": 1, "max": 100, "q": 1},
            ),
            ("x=range(3)", {"distribution": "int_uniform", "min": 0, "max": 2}),
            ("x=range(2,6)", {"distribution": "int_uniform", "min": 2, "max": 5}),
        ],
    )
    def test_distributions(self, read: Any, argument: str, parameter: dict[str, Any]) -> None:
        assert read(argument).parameters == {"x": parameter}
        assert type(read(argument).parameters["x"]["min"]) is type(parameter["min"])

    def test_shuffled(self, read: Any) -> None:
        assert sorted(read("x=shuffle(range(1,4))").lists["x"]) == [1, 2, 3]

    def test_an_unknown_tag(self, read: Any) -> None:
        with pytest.raises(SpaceError, match="unknown tag 'lin'; the tags of an interval are int and log"):
            read("x=tag(lin,interval(0,1))")

    @pytest.mark.parametrize(
        ("argument", "name"),
        [("x=1", "x"), ("++a.b=1", "a.b"), ("+new=1", "new"), ("~mapping", "mapping"), ("db@source=x", "db@source")],
    )
    def test_fixed(self, read: Any, argument: str, name: str) -> None:
        line: CommandLine = read(argument)
        assert set(line.fixed) == {name}
        assert [slot["line"] for slot in line.slots] == [argument]

    @pytest.mark.parametrize(
        ("argument", "composed"),
        [("x=1e3", "x=1000.0"), ("~y", "~y=null"), ("x=TRUE", "x=True"), ("+x='a b'", "+x='a b'")],
    )
    def test_fixed_ones_are_composed_as_hydras_own_sweeper_does(self, read: Any, argument: str, composed: str) -> None:
        assert format_overrides(read(argument).slots, {}) == [composed]

    def test_keys_keep_their_marks(self, read: Any) -> None:
        line = read("+new=1,2", "++x=3,4", "db@source=sqlite,postgres")
        assert line.parameters.keys() == {"new", "x", "db@source"}
        params = {"new": 2, "x": 3, "db@source": "sqlite"}
        assert format_overrides(line.slots, params) == ["+new=2", "++x=3", "db@source=sqlite"]

    def test_of_equal_keys_the_last_counts(self, read: Any) -> None:
        assert read("x=1,2", "x=3,4").lists == {"x": [3, 4]}
        assert read("x=1,2", "x=3").parameters == {}
        assert read("x=3", "x=1,2").fixed == {}

    def test_sweeping_over_the_sweep(self, read: Any, loader: ConfigLoader) -> None:
        with pytest.raises(SpaceError, match="one command runs one sweep"):
            read("sweep=a,b")
        assert read_command_line(["sweep=a,b"], loader, own_key=True).lists == {"sweep": ["a", "b"]}

    def test_order_and_notation_of_the_command_line_are_kept(self, read: Any) -> None:
        line = read("x=1e-3,'a b'", "scalar=5", "sequence=[1],[2]")
        params = {"y": 1, "sequence": [2], "x": "a b"}
        assert format_overrides(line.slots, params) == ["x='a b'", "scalar=5", "sequence=[2]", "y=1"]
        assert format_overrides(line.slots, {"x": 1e-3}) == ["x=0.001", "scalar=5"]
