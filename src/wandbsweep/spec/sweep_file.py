"""Sweep files: YAML is read as OmegaConf reads it, and written so that it reads the same."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from wandbsweep.errors import SweepConfigError
from wandbsweep.text import suggest_matches

# YAML 1.2, OmegaConf and people read this as a number; PyYAML, and so `wandb sweep`, as text.
EXPONENT_FORM = r"[-+]?[0-9]+(_[0-9]+)*(\.[0-9_]*)?[eE][-+]?[0-9]+"


class _Loader(yaml.SafeLoader):
    """YAML as OmegaConf reads it: a sweep file means the same whether Hydra composes it or we read it."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.notes: list[tuple[tuple[int, int], str]] = []

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.tag != "tag:yaml.org,2002:str":
                continue
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} is given twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)

    def construct_exponent_form(self, node: yaml.ScalarNode) -> float:
        number = parse_exponent_form(node.value)
        line, column = node.start_mark.line + 1, node.start_mark.column
        self.notes.append(((line, column), describe_text_number(f"line {line}", node.value, number)))
        return number


class _Dumper(yaml.SafeDumper):
    """YAML without anchors, and with quotes around text that OmegaConf would read as a number."""

    def ignore_aliases(self, data: object) -> bool:
        return True


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _class in (_Loader, _Dumper):
    _class.add_implicit_resolver("!exponent", re.compile(f"^{EXPONENT_FORM}$"), list("-+0123456789"))
_Loader.add_constructor("!exponent", _Loader.construct_exponent_form)


def dump_yaml(config: Mapping[str, Any]) -> str:
    """Return the YAML of a sweep configuration."""
    return yaml.dump(dict(config), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


def read_file(path: str) -> tuple[Any, list[str]]:
    """Return what a sweep file holds, and a note on each number that W&B takes for text.

    Raises:
        SweepConfigError: The file cannot be read, or is no YAML.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise SweepConfigError([f"no such file{_suggest_files(Path(path))}"], source=path) from error
    except (OSError, UnicodeError, ValueError) as error:
        raise SweepConfigError([f"the file cannot be read: {error}"], source=path) from error
    try:
        loader = _Loader(text)
        return loader.get_single_data(), [note for _, note in sorted(loader.notes)]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise SweepConfigError([f"{line}not valid YAML: {error.problem or error.context}"], source=path) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise SweepConfigError([f"not valid YAML: {reason}"], source=path) from error


def _suggest_files(path: Path) -> str:
    try:
        names = sorted(p.name for p in path.parent.iterdir() if p.suffix in {".yaml", ".yml"})
    except OSError:
        return f"; the directory {path.parent} does not exist or cannot be read"
    return suggest_matches(path.name, names)


def is_exponent_form(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(EXPONENT_FORM, value) is not None


def parse_exponent_form(text: str) -> float:
    return float(text.replace("_", ""))


def describe_text_number(path: str, text: str, number: int | float) -> str:
    """Return the note on a number that W&B takes for text, with the form that both read as a number."""
    form = repr(number)
    if "e" in form and "." not in form:
        form = form.replace("e", ".0e")
    return f"{path}: {text} is text to W&B; it is read as a number here: write {form}"
