"""``constraints``: conditions between parameters that every configuration must meet, an extension of W&B's format. ::

    constraints: ["model.width * data.batch_size <= 65536"]

A constraint is a Python expression of parameters' names, numbers, text, arithmetic, comparisons, ``and``, ``or``,
``not``, ``in`` and a few functions. It does not apply to a configuration that lacks one of its parameters (``when``).
Sweep files may come from strangers, so nothing that takes long or much memory is allowed, such as powers.
"""

from __future__ import annotations

import ast
import math
import random
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache
from typing import Any

from wandbsweep.spec.conditions import select_active
from wandbsweep.spec.distributions import Parameter
from wandbsweep.spec.findings import Findings, describe_kind, show
from wandbsweep.spec.zipped import Groups, draw_together
from wandbsweep.text import join_words

DRAWS = 10_000
"""A space is refused if none of so many random configurations meets its constraints."""
_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    **{f.__name__: f for f in (abs, max, min, round, int, float, len)},
    **{f.__name__: f for f in (math.sqrt, math.exp, math.log, math.log2, math.log10, math.floor, math.ceil)},
}
_ALLOWED = (
    *(ast.Expression, ast.Constant, ast.Name, ast.Load, ast.List, ast.Tuple, ast.Call, ast.IfExp),
    *(ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.boolop, ast.cmpop, ast.Not, ast.UAdd, ast.USub),
    *(ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod),
)


def read_constraints(
    findings: Findings, raw: Any, parameters: Mapping[str, Parameter | None], zipped: Groups = ()
) -> tuple[str, ...]:
    """Return the constraints, checked on random configurations.

    Args:
        findings: Collects the violations.
        raw: The value of ``constraints``; None: there are none.
        parameters: The parameters, by name; None: it could not be read.
        zipped: Those that move together.
    """
    if raw is None:
        return ()
    if not isinstance(raw, list) or not all(isinstance(text, str) for text in raw):
        rule = 'but must be a list of expressions: ["model.width * data.batch_size <= 65536"]'
        findings.refuse("constraints", f"{show(raw)} is {describe_kind(raw)}, {rule}")
        return ()
    readable = {name: parameter for name, parameter in parameters.items() if parameter}
    for index, text in enumerate(raw):
        path = f"constraints[{index}]"
        if fault := find_fault(text, parameters):
            findings.refuse(path, fault)
        elif len(readable) == len(parameters) and not (zipped and findings.violations):
            _check_on_draws(findings, path, [text], readable, zipped)
    if not findings.violations and len(raw) > 1:
        _check_on_draws(findings, "constraints", raw, readable, zipped)
    return tuple(raw)


def find_fault(text: str, names: Collection[str]) -> str:
    """Say what is wrong with a constraint of parameters of these ``names``; empty: nothing."""
    code, variables = _name_variables(text, tuple(names))
    try:
        tree = ast.parse(code.strip(), mode="eval")
    except (SyntaxError, ValueError) as error:
        return f"{text!r} is no expression ({getattr(error, 'msg', error)})"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if not isinstance(node.func, ast.Name) or node.func.id not in _FUNCTIONS or node.keywords:
                return f"{text!r} calls {ast.unparse(node.func)}; the functions are {', '.join(_FUNCTIONS)}"
        elif isinstance(node, ast.Attribute) or (
            isinstance(node, ast.Name) and node.id not in variables and node.id not in _FUNCTIONS
        ):
            return f"{text!r} names {ast.unparse(node)}, which is no parameter; they are {join_words(list(names))}"
        elif not isinstance(node, _ALLOWED) or (isinstance(node, ast.BinOp) and _is_sequence(node.left, node.right)):
            return f"{text!r} holds {type(node).__name__}, but a constraint is made of arithmetic and comparisons"
    if not isinstance(tree.body, ast.Compare | ast.BoolOp) and not (
        isinstance(tree.body, ast.UnaryOp) and isinstance(tree.body.op, ast.Not)
    ):
        return f"{text!r} compares nothing; a constraint is a condition, such as {text.strip()} <= 65536"
    return ""


def _is_sequence(*nodes: ast.expr) -> bool:
    """Return whether a node is text or a list, which multiplication would repeat."""
    return any(
        isinstance(n, ast.List | ast.Tuple) or (isinstance(n, ast.Constant) and isinstance(n.value, str)) for n in nodes
    )


def list_names(text: str, names: Collection[str]) -> tuple[str, ...]:
    """Return which of the parameters ``names`` a constraint has."""
    return tuple(_name_variables(text, tuple(names))[1].values())


def substitute(text: str, values: Mapping[str, Any]) -> str:
    """Return the constraint with ``values`` in place of the parameters of these names."""
    code, variables = _name_variables(text, tuple(values))
    for variable, name in variables.items():
        code = re.sub(rf"\b{variable}\b", lambda _, name=name: repr(values[name]), code)  # type: ignore[misc]
    return code


def are_met(constraints: Sequence[str], parameters: Mapping[str, Parameter], params: Mapping[str, Any]) -> bool:
    """Return whether a configuration meets the constraints.

    One that cannot be computed, as by a division by zero, is not met.

    Args:
        constraints: The constraints of a sweep.
        parameters: Its parameters.
        params: The configuration; parameters whose conditions (``when``) are not met do not count.
    """
    if not constraints:
        return True
    active = select_active(parameters, params)
    try:
        return all(_compute(text, tuple(parameters), active) for text in constraints)
    except (ArithmeticError, ValueError, TypeError, MemoryError):
        return False


def _check_on_draws(
    findings: Findings,
    path: str,
    constraints: Sequence[str],
    parameters: Mapping[str, Parameter],
    zipped: Groups,
) -> None:
    """Refuse constraints that fail with an error, or that no random configuration meets."""
    rng = random.Random(0)
    for _ in range(DRAWS):
        drawn = select_active(parameters, draw_together(parameters, zipped, rng.random))
        try:
            if all(_compute(text, tuple(parameters), drawn) for text in constraints):
                return
        except TypeError as error:
            example = ", ".join(f"{name}={drawn[name]!r}" for name in list_names(constraints[0], parameters))
            findings.refuse(path, f"{constraints[0]!r} cannot be computed for {example}: {error}")
            return
        except (ArithmeticError, ValueError, MemoryError):
            continue
    shown = " and ".join(map(repr, constraints))
    findings.refuse(path, f"none of {DRAWS:,} random configurations meets {shown}; widen the space or the condition")


def _compute(text: str, names: tuple[str, ...], params: Mapping[str, Any]) -> bool:
    code, variables = _compile(text, names)
    if not all(name in params for name in variables.values()):
        return True
    values = {variable: params[name] for variable, name in variables.items()}
    return bool(eval(code, {"__builtins__": {}, **_FUNCTIONS}, values))


@cache
def _compile(text: str, names: tuple[str, ...]) -> tuple[Any, dict[str, str]]:
    assert not find_fault(text, names), "a spec holds checked constraints only"
    code, variables = _name_variables(text, names)
    return compile(code.strip(), "<constraint>", "eval"), variables


@cache
def _name_variables(text: str, names: tuple[str, ...]) -> tuple[str, dict[str, str]]:
    """Replace parameters' names, which may hold dots, slashes and numbers, by variables; text in quotes stays.

    Returns:
        The expression, and the parameter of each variable in it.
    """
    longest_first = sorted(names, key=len, reverse=True)
    alternatives = "|".join(map(re.escape, longest_first)) or "(?!)"
    pattern = re.compile(rf"""'[^']*'|"[^"]*"|(?<![\w.])({alternatives})(?![\w.]|\s*\()""")
    variables: dict[str, str] = {}

    def replace(match: re.Match[str]) -> str:
        if match[1] is None:
            return match[0]
        variable = f"_p{names.index(match[1])}"
        variables[variable] = match[1]
        return variable

    return pattern.sub(replace, text), variables
