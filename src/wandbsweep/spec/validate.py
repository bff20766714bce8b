"""The rules of a sweep configuration: read, completed, and all that is wrong with it named.

Beyond W&B's schema a few things are accepted: names of Hydra's config groups (``model/encoder``, ``db@pkg``),
``metrics`` with any method, numbers that YAML reads as text (with a warning), and null for an optional key,
which means that it is absent. What W&B's schema lets pass and its engine then fails on is refused: bayes and
early termination without a metric, a sigma, a or b of 0, exponents whose power of e is infinite, Hyperband
settings that give no band.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from difflib import get_close_matches
from typing import Any, TypeGuard

from wandbsweep.spec import conditions
from wandbsweep.spec.distributions import LAWS, Parameter
from wandbsweep.spec.extensions import HYPERBAND_KEYS, STOPPERS, read_prior, read_repeats, read_stopper, read_when
from wandbsweep.spec.methods import METHODS, find_method
from wandbsweep.spec.sweep_file import exponent_form, is_exponent_form, text_note
from wandbsweep.spec.sweep_spec import HYDRA_NAME, EarlyTerminate, Metric, SweepSpec

GOALS = ("minimize", "maximize")
IMPUTE = ("worst", "best", "latest")
TEXT_KEYS = ("program", "name", "description", "project", "entity", "job", "image_uri", "apiVersion")
TOP_KEYS = (
    *("method", "parameters", "metric", "metrics", "early_terminate", "run_cap", "repeats", "prior"),
    *(*TEXT_KEYS, "command", "controller", "kind", "scheduler"),
)
SCHEDULER_KEYS = ("engine", "source", "optimizer", "search_space")
ENGINES = ("wandb", "optuna", "ax")
PARAMETER_KEYS = tuple(dict.fromkeys(["distribution", *(key for law in LAWS.values() for key in law.keys)]))
SHORTEST = "value, values, min and max, distribution, or parameters"
EXPONENT_LAWS = ("log_uniform", "inv_log_uniform", "q_log_uniform")
EXPONENT_LIMIT = 709
"""e to this power is still a finite float."""


class Reader:
    """Goes through one configuration, makes its numbers numbers, and collects all that is wrong with it."""

    def __init__(self, *, quotes_seen: bool = False, notes: Iterable[str] = ()) -> None:
        self.violations: list[str] = []
        self.notes = list(notes)
        self.quotes_seen = quotes_seen
        self.unreadable: set[str] = set()
        """The names of the parameters that are there, and cannot be read."""

    def refuse(self, path: str, message: str) -> None:
        self.violations.append(f"{path}: {message}")

    def sweep(self, raw: Any) -> SweepSpec | None:
        """The spec; None where there are violations."""
        config = self.top_level(raw)
        if config is None:
            return None
        method = self.choice("method", config.get("method"), tuple(METHODS))
        parameters = self.parameters(config)
        metric = self.metric("metric", config["metric"]) if "metric" in config else None
        metrics = self.metrics(config["metrics"]) if "metrics" in config else ()
        stopping = self.early_terminate(config["early_terminate"]) if "early_terminate" in config else None
        run_cap = self.integer("run_cap", config, "run_cap", least=1)
        by_name = {parameter.name: parameter for _, parameter in parameters}
        repeats = read_repeats(self, config, by_name) if "repeats" in config else None
        prior = read_prior(self, config, by_name) if "prior" in config else None
        self.violations.extend(conditions.faults(by_name, self.unreadable))
        self.text_keys(config)
        self.wandb_keys(config)
        self.between_keys(config)
        if method and METHODS[method].finite:
            for path, parameter in parameters:
                if parameter.grid_fault:
                    self.refuse(path, parameter.grid_fault)
        if self.violations:
            return None
        return SweepSpec(
            method=method,
            parameters=by_name,
            metric=metric,
            metrics=metrics,
            early_terminate=stopping,
            run_cap=run_cap,
            repeats=repeats,
            prior=prior,
            name=config.get("name"),
            description=config.get("description"),
            program=config.get("program"),
            config=config,
        )

    def top_level(self, raw: Any) -> dict[str, Any] | None:
        """The plain configuration, without what is null; None where there is nothing to read."""
        if not isinstance(raw, Mapping) or not raw:
            what = "is empty" if raw is None or raw == {} else f"is {_kind(raw)}"
            self.refuse("the sweep configuration", f"{what}, but must be a mapping with method and parameters")
            return None
        try:
            config: dict[str, Any] = self.plain("", raw)
        except RecursionError:
            self.refuse("the sweep configuration", "contains itself, or is nested too deeply")
            return None
        self.known_keys("", config, TOP_KEYS, "a sweep configuration")
        _drop_null(config)
        return config

    # Keys beside parameters

    def metric(self, path: str, raw: Any) -> Metric | None:
        if not isinstance(raw, dict):
            example = f"{{name: {raw}, goal: minimize}}" if isinstance(raw, str) else "{name: …, goal: …}"
            self.refuse(path, f"{_show(raw)} is {_kind(raw)}, but must be a mapping, as {example}")
            return None
        self.known_keys(path, raw, _keys(Metric), "a metric")
        _drop_null(raw)
        if raw.get("impute_while_running") is False:
            raw["impute_while_running"] = "false"
        name = raw.get("name")
        if not isinstance(name, str) or not name:
            given = f"{_show(name)} is no text" if name is not None else "is required"
            self.refuse(f"{path}.name", f"{given}; it is the name that training reports, as val/loss")
        goal = self.choice(f"{path}.goal", raw.get("goal", "minimize"), GOALS)
        target = self.number(f"{path}.target", raw, "target")
        impute = self.choice(f"{path}.impute", raw.get("impute", "worst"), IMPUTE)
        running = raw.get("impute_while_running", "false")
        running = self.choice(f"{path}.impute_while_running", running, ("false", *IMPUTE))
        return Metric(str(name), goal, target, impute, False if running == "false" else running)

    def metrics(self, raw: Any) -> tuple[Metric, ...]:
        if not isinstance(raw, list) or len(raw) < 2:
            self.refuse("metrics", f"{_show(raw)} must be a list of two or more metrics; a single one is `metric`")
            return ()
        metrics = [self.metric(f"metrics[{i}]", item) for i, item in enumerate(raw)]
        names = [metric.name for metric in metrics if metric]
        for i, name in enumerate(names):
            if name in names[:i]:
                self.refuse(f"metrics[{i}].name", f"{_show(name)} stands there twice")
        for i, metric in enumerate(metrics):
            if metric and metric.target is not None:
                self.notes.append(f"metrics[{i}].target: is ignored; only a single `metric` has a target to end at")
        return tuple(metric for metric in metrics if metric)

    def early_terminate(self, raw: Any) -> EarlyTerminate | None:
        path = "early_terminate"
        if not isinstance(raw, dict):
            self.refuse(
                path,
                f"{_show(raw)} is {_kind(raw)}, but must be a mapping, as {{type: hyperband, min_iter: 3}}",
            )
            return None
        _drop_null(raw)
        kind = self.choice(f"{path}.type", raw.get("type"), STOPPERS)
        if kind is not None and kind != "hyperband":
            return read_stopper(self, path, raw)
        self.known_keys(path, raw, HYPERBAND_KEYS, "early_terminate")
        min_iter, max_iter, s = (
            self.integer(f"{path}.{key}", raw, key, least=1) for key in ("min_iter", "max_iter", "s")
        )
        eta = self.number(f"{path}.eta", raw, "eta", above=1)
        strict = raw.get("strict", True)
        if not isinstance(strict, bool):
            self.refuse(f"{path}.strict", f"{_show(strict)} is {_kind(strict)}, but must be true or false")
        if "min_iter" not in raw and not {"max_iter", "s"} <= raw.keys():
            given = ", ".join(sorted({"max_iter", "s"} & raw.keys())) or "neither"
            self.refuse(path, f"needs min_iter, or both max_iter and s; given: {given}")
        settings = EarlyTerminate(kind, min_iter, max_iter, s, 3 if eta is None else eta, strict)
        if max_iter is not None and s is not None and max_iter / settings.eta < 1:
            rule = "the largest band is max_iter / eta, and must be at least 1"
            self.refuse(f"{path}.max_iter", f"{max_iter} with eta {settings.eta} gives no band: {rule}")
        self.ignored_iterations(settings)
        return settings

    def ignored_iterations(self, settings: EarlyTerminate) -> None:
        if settings.min_iter is None:
            return
        if settings.max_iter is not None and settings.s is not None:
            self.notes.append("early_terminate.min_iter: is ignored, as max_iter and s are given")
        elif settings.max_iter is not None:
            self.notes.append("early_terminate.max_iter: is ignored without s; bands start at min_iter")
        elif settings.s is not None:
            self.notes.append("early_terminate.s: is ignored without max_iter; bands start at min_iter")

    def text_keys(self, config: dict[str, Any]) -> None:
        for key in TEXT_KEYS:
            if not isinstance(value := config.get(key, ""), str):
                self.refuse(
                    key,
                    f"{_show(value)} is {_kind(value)}, but must be text; put it in quotes",
                )

    def wandb_keys(self, config: dict[str, Any]) -> None:
        """What only W&B's own tools read."""
        if "kind" in config:
            self.choice("kind", config["kind"], ("sweep",))
        if not isinstance(command := config.get("command", []), list):
            self.refuse("command", f"{_show(command)} is {_kind(command)}, but must be a list")
        if "controller" in config and self.is_mapping("controller", config["controller"], "{type: local}"):
            self.choice("controller.type", config["controller"].get("type"), ("local", "cloud"))
        if "scheduler" in config and self.is_mapping("scheduler", config["scheduler"], "{engine: optuna}"):
            self.scheduler(config)

    def scheduler(self, config: dict[str, Any]) -> None:
        scheduler = config["scheduler"]
        self.known_keys("scheduler", scheduler, SCHEDULER_KEYS, "a scheduler")
        _drop_null(scheduler)
        engine = self.choice("scheduler.engine", scheduler.get("engine"), ENGINES)
        for key in SCHEDULER_KEYS[1:]:
            if not isinstance(value := scheduler.get(key, ""), str):
                self.refuse(f"scheduler.{key}", f"{_show(value)} is {_kind(value)}, but must be text")
        for key in {"optimizer", "search_space"} & scheduler.keys():
            if "source" not in scheduler:
                self.refuse(f"scheduler.{key}", "needs source, the file that it stands in")
        fitting = [method.name for method in METHODS.values() if engine in method.engines]
        if engine and config.get("method") not in fitting:
            self.refuse("scheduler.engine", f"{engine} needs method {_either(fitting)}")
        for key in {"controller", "early_terminate"} & config.keys():
            if key == "early_terminate" or config[key] == {"type": "local"}:
                self.refuse(key, "cannot be used together with scheduler")

    def between_keys(self, config: dict[str, Any]) -> None:
        if "metric" in config and "metrics" in config:
            self.refuse("metrics", "cannot be given beside metric: one objective is `metric`, more are `metrics`")
        method = find_method(config.get("method"))
        if method and method.learns and not {"metric", "metrics"} & config.keys():
            self.refuse("metric", f"is required by method {method.name}: {{name: …, goal: minimize or maximize}}")
        if "early_terminate" in config and "metric" not in config:
            self.refuse("metric", "is required by early_terminate: {name: …, goal: minimize or maximize}")

    # Parameters

    def parameters(self, config: dict[str, Any]) -> list[tuple[str, Parameter]]:
        """Key path and parameter, of those that can be read."""
        scheduler = config.get("scheduler")
        if "parameters" not in config:
            if not (isinstance(scheduler, dict) and scheduler.get("search_space")):
                self.refuse("parameters", "is required: the search space, as {lr: {min: 0.001, max: 0.1}}")
            return []
        paths: dict[str, str] = {}
        found = list(self.nested("parameters", "", config["parameters"]))
        for path, parameter in found:
            if parameter.name in paths:
                self.refuse(path, f"{parameter.name} is given twice, also at {paths[parameter.name]}")
            paths.setdefault(parameter.name, path)
        return found

    def nested(self, path: str, prefix: str, raw: Any) -> Iterator[tuple[str, Parameter]]:
        if not self.is_mapping(path, raw, "{lr: {min: 0.001, max: 0.1}}"):
            return
        if not raw:
            self.refuse(path, "is empty, but must name one parameter at least")
        for key, config in raw.items():
            here = f"{path}.{key}"
            if not isinstance(key, str) or not HYDRA_NAME.fullmatch(key):
                self.refuse(here, f"the name {_show(key)} must be letters, digits and _ . - / @, a letter or _ first")
            if not isinstance(config, dict):
                wanted = f"{{{'values' if isinstance(config, list) else 'value'}: {_show(config)}}}"
                self.refuse(here, f"{_show(config)} is {_kind(config)}, but must be a mapping, as {wanted}")
            elif "parameters" in config:
                self.known_keys(here, config, ("parameters",), "a nested parameter")
                yield from self.nested(f"{here}.parameters", f"{prefix}{key}.", config["parameters"])
            elif (parameter := self.parameter(here, f"{prefix}{key}", config)) is not None:
                yield here, parameter
            else:
                self.unreadable.add(f"{prefix}{key}")

    def parameter(self, path: str, name: str, config: dict[str, Any]) -> Parameter | None:
        """The parameter; None where its distribution cannot be told or lacks a key."""
        before = len(self.violations)
        if "when" in config:
            rest = {key: value for key, value in config.items() if key != "when"}
            parameter = self.parameter(path, name, rest)
            config.update(rest)  # with text that stands for a number made one
            return read_when(self, path, config["when"], parameter)
        self.parameter_values(path, config)
        distribution = self.distribution(path, config)
        if distribution is None:
            return None
        law = LAWS[distribution]
        self.keys_of_law(path, config, distribution)
        self.bounds(path, config, distribution)
        if len(self.violations) > before:
            return None
        read = {key: config.get(key, law.defaults.get(key)) for key in law.keys}
        lists: dict[str, Any] = {key: tuple(config[key]) for key in ("values", "probabilities") if key in read}
        return Parameter(name, distribution, **{**read, **lists})

    def parameter_values(self, path: str, config: dict[str, Any]) -> None:
        """What holds for a key whatever the distribution."""
        for key in ("min", "max"):
            self.number(f"{path}.{key}", config, key, exact=True)
        self.number(f"{path}.mu", config, "mu")
        for key in ("sigma", "q", "a", "b"):
            self.number(f"{path}.{key}", config, key, above=0)
        if "value" in config:
            config["value"] = self.numbers_in_text(path, "value", [config["value"]])[0]
        if "values" in config:
            values = config["values"]
            if not isinstance(values, list) or not values:
                self.refuse(f"{path}.values", f"{_show(values)} must be a list of one value at least")
            else:
                config["values"] = self.numbers_in_text(path, "values", values)
        if "probabilities" in config:
            self.probabilities(f"{path}.probabilities", config["probabilities"], config.get("values"))

    def probabilities(self, path: str, raw: Any, values: Any) -> None:
        if not isinstance(raw, list) or not raw:
            self.refuse(path, f"{_show(raw)} must be a list with a probability for each of values")
            return
        read = [self.number(f"{path}[{i}]", raw, i, least=0) for i in range(len(raw))]
        if isinstance(values, list) and len(values) != len(raw):
            self.refuse(path, f"{len(raw)} probabilities for {len(values)} values: each value needs one")
        total = math.fsum(number for number in read if number is not None)
        if None not in read and not math.isclose(total, 1, rel_tol=0, abs_tol=1.001e-5):
            self.refuse(path, f"{_show(raw)} sum to {total:g}, but must sum to 1")

    def numbers_in_text(self, path: str, key: str, values: list[Any]) -> list[Any]:
        """Exponent forms made numbers, where all of ``values`` are numbers then."""
        read = [exponent_form(value) if is_exponent_form(value) else value for value in values]
        if self.quotes_seen or not all(map(_is_number, read)):
            return values
        for text, number in zip(values, read, strict=True):
            if isinstance(text, str):
                self.notes.append(text_note(f"{path}.{key}", text, number))
        return read

    def distribution(self, path: str, config: dict[str, Any]) -> str | None:
        """As given, or inferred as W&B does."""
        if "distribution" in config:
            name: str | None = self.choice(f"{path}.distribution", config["distribution"], tuple(LAWS))
            return name
        if "value" in config:
            return "constant"
        if "values" in config:
            return "categorical_w_probabilities" if "probabilities" in config else "categorical"
        if {"min", "max"} <= config.keys():
            integers = isinstance(config["min"], int) and isinstance(config["max"], int)
            return "int_uniform" if integers else "uniform"
        if "min" in config or "max" in config:
            missing, bound = ("max", "min") if "min" in config else ("min", "max")
            self.refuse(f"{path}.{missing}", f"is required beside {bound}")
        elif given := [key for key in config if key in PARAMETER_KEYS]:
            fitting = [name for name, law in LAWS.items() if set(given) <= set(law.keys)]
            hint = f"give one, as {_either(fitting)}" if fitting else "and none has them all"
            self.refuse(path, f"{_both(given)} without a distribution; {hint}")
        else:
            self.refuse(path, f"{_show(config)} is no parameter, but must have {SHORTEST}")
        self.known_keys(path, config, PARAMETER_KEYS, "a parameter")
        return None

    def keys_of_law(self, path: str, config: dict[str, Any], distribution: str) -> None:
        keys = LAWS[distribution].keys
        for key in config:
            others = [name for name, law in LAWS.items() if key in law.keys]
            if key in keys or key == "distribution":
                continue
            if others:
                inferred = "" if "distribution" in config else " (inferred)"
                rule = f"{distribution}{inferred} has {_both(keys)}; {key} goes with {_either(others)}"
                self.refuse(f"{path}.{key}", f"{_show(config[key])} is not used: {rule}")
            else:
                self.known_keys(path, {key: None}, ("distribution", *keys), distribution)
        for key in LAWS[distribution].required:
            if key not in config:
                self.refuse(f"{path}.{key}", f"is required by {distribution}")

    def bounds(self, path: str, config: dict[str, Any], distribution: str) -> None:
        given = {key: config[key] for key in ("min", "max") if _is_number(config.get(key))}
        for key, bound in given.items():
            if distribution == "int_uniform" and not isinstance(bound, int):
                self.refuse(f"{path}.{key}", f"{bound} is a float, but int_uniform needs an integer; use uniform")
            if distribution.endswith("_values") and bound <= 0:
                self.refuse(f"{path}.{key}", f"{bound} must be > 0, as {distribution} takes its logarithm")
            if distribution in EXPONENT_LAWS and abs(bound) > EXPONENT_LIMIT:
                rule = f"the bounds of {distribution} are exponents of e, within ±{EXPONENT_LIMIT}"
                self.refuse(f"{path}.{key}", f"{bound}: {rule}; {distribution}_values takes the values themselves")
            if distribution != "int_uniform" and not _fits_float(bound):
                self.refuse(f"{path}.{key}", f"an integer of {bound.bit_length()} bits is too large for a float")
        if len(given) == 2 and given["min"] >= given["max"]:
            self.refuse(f"{path}.min", f"{given['min']} must be less than max, {given['max']}")
        if distribution in EXPONENT_LAWS:
            rule = "where min and max are base-e exponents"
            self.notes.append(f"{path}: uses {distribution}, {rule}; {distribution}_values takes the values themselves")

    # What any key may need

    def plain(self, path: str, value: Any) -> Any:
        """A deep copy in the objects that YAML and JSON know."""
        if value is None or type(value) in (bool, int, float, str):
            return value
        if isinstance(value, Mapping):
            return {self.plain(path, key): self.plain(_join(path, key), item) for key, item in value.items()}
        if isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray):
            return [self.plain(f"{path}[{i}]", item) for i, item in enumerate(value)]
        for kind in (int, float, str):
            if isinstance(value, kind):
                return kind(value)
        if hasattr(value, "tolist"):  # numpy's scalars and arrays
            return self.plain(path, value.tolist())
        rule = "must be text, a number, true, false, null, a list or a mapping"
        self.refuse(path, f"{_show(value)} is a {type(value).__name__}, but {rule}")
        return None

    def known_keys(self, path: str, config: Mapping[Any, Any], known: Iterable[str], what: str) -> None:
        known = tuple(known)
        for key in config:
            if key not in known:
                close = get_close_matches(str(key), known, 1)
                hint = f"did you mean {close[0]}? " if close else ""
                self.refuse(_join(path, key), f"unknown key; {hint}{what} has {_both(known)}")

    def is_mapping(self, path: str, raw: Any, example: str) -> bool:
        if not isinstance(raw, dict):
            self.refuse(path, f"{_show(raw)} is {_kind(raw)}, but must be a mapping, as {example}")
        return isinstance(raw, dict)

    def choice(self, path: str, value: Any, choices: tuple[str, ...]) -> Any:
        """``value``, if it is one of ``choices``; else None."""
        if isinstance(value, str) and value in choices:
            return value
        close = get_close_matches(str(value), choices, 1)
        given = "is required" if value is None else f"{_show(value)} is not known"
        hint = f"did you mean {close[0]}? It" if close else "it"
        self.refuse(path, f"{given}; {hint} must be {_either(choices)}")
        return None

    def number(
        self,
        path: str,
        config: Any,
        key: str | int,
        *,
        above: int | None = None,
        least: int | None = None,
        exact: bool = False,
    ) -> int | float | None:
        """The number at ``key``, None where it is absent or wrong; text that means one is replaced by it.

        ``exact``: an integer may be larger than any float.
        """
        if isinstance(config, dict) and key not in config:
            return None
        raw = config[key]
        number = _parsed(raw) if isinstance(raw, str) else raw
        if not _is_number(number) or not (exact or _fits_float(number)):
            self.refuse(path, f"{_show(raw)} is {_kind(raw)}, but must be a finite number")
            return None
        if isinstance(raw, str):
            self.notes.append(text_note(path, raw, number))
        config[key] = number
        if above is not None and not number > above:
            self.refuse(path, f"{_show(raw)} must be > {above}")
            return None
        if least is not None and not number >= least:
            self.refuse(path, f"{_show(raw)} must be >= {least}")
            return None
        return number

    def integer(self, path: str, config: dict[str, Any], key: str, *, least: int) -> int | None:
        number = self.number(path, config, key)
        if number is None:
            return None
        if number != int(number) or number < least:
            self.refuse(path, f"{number} must be an integer >= {least}")
            return None
        config[key] = int(number)
        return int(number)


def _is_number(value: object) -> TypeGuard[int | float]:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and (isinstance(value, int) or math.isfinite(value))
    )


def _fits_float(number: int | float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:
        return False


def _parsed(text: str) -> int | float | None:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return None


def _keys(kind: type[Metric] | type[EarlyTerminate]) -> tuple[str, ...]:
    return tuple(item.name for item in fields(kind))


def _drop_null(config: dict[str, Any]) -> None:
    for key in [key for key, value in config.items() if value is None]:
        del config[key]


def _join(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)


def _show(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:79]}…"


def _kind(value: object) -> str:
    names = {
        bool: "a boolean",
        int: "a number",
        float: "a number",
        str: "text",
        list: "a list",
        dict: "a mapping",
    }
    return "null" if value is None else names.get(type(value), f"a {type(value).__name__}")


def _either(names: Sequence[str]) -> str:
    return _listed(names, "or")


def _both(names: Sequence[str]) -> str:
    return _listed(names, "and")


def _listed(names: Sequence[str], last: str) -> str:
    return f" {last} ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
