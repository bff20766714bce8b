"""Runs one peer at its defaults, in the environment that has it. JSON lines in and out; only `searchers.py` starts it.

{"start": {space, config, seed, trials}}, then {"ask": number} -> parameters and {"tell": number, state, loss, reports}.
"""

import json
import os
import random
import sys
import tempfile
import time
import traceback
import warnings

import numpy as np

warnings.filterwarnings("ignore")


def is_active(entry, params):
    return all(params.get(name) in values for name, values in entry["when"].items())


class Optuna:
    def __init__(self, kind):
        import optuna

        self.optuna, self.kind = optuna, kind
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        if kind == "gp":
            import torch

            torch.set_num_threads(1)

    def start(self, space, config, seed, trials):
        samplers = self.optuna.samplers
        sampler = samplers.GPSampler(seed=seed) if self.kind == "gp" else samplers.TPESampler(seed=seed)
        self.study = self.optuna.create_study(sampler=sampler)
        self.space, self.trials = space, {}

    def ask(self, number):
        trial = self.trials[number] = self.study.ask()
        params = {}
        for entry in self.space:
            if is_active(entry, params):
                params[entry["name"]] = self._suggest(trial, entry)
        return params

    def _suggest(self, trial, entry):
        name, kind = entry["name"], entry["kind"]
        if kind == "ordinal":
            return entry["values"][trial.suggest_int(name, 0, len(entry["values"]) - 1)]
        if kind == "categorical":
            return trial.suggest_categorical(name, entry["values"])
        suggest = trial.suggest_int if kind == "int" else trial.suggest_float
        return suggest(name, entry["low"], entry["high"], log=entry["log"])

    def tell(self, number, state, loss, reports):
        trial, states = self.trials[number], self.optuna.trial.TrialState
        if state == "stopped":
            for step, value in reports:
                trial.report(value, step)
            self.study.tell(trial, state=states.PRUNED)
        elif loss is None:
            self.study.tell(trial, state=states.FAIL)
        else:
            self.study.tell(trial, loss)


class WandB:
    """The engine of W&B's servers. Trials that failed are `failed` to it; stopped ones are `finished`, as there."""

    def __init__(self):
        import sweeps

        self.sweeps = sweeps

    def start(self, space, config, seed, trials):
        self.config, self.runs = config, {}
        np.random.seed(seed)

    def ask(self, number):
        chosen = self.sweeps.next_run(self.config, list(self.runs.values()))
        params = {name: value["value"] for name, value in chosen.config.items()}
        self._add(number, "running", params, [])
        return params

    def tell(self, number, state, loss, reports):
        # The engine uses the best of a run's history, so the best and the last value are enough.
        values = [] if loss is None else [loss, reports[-1][1]]
        params = {name: value["value"] for name, value in self.runs[number].config.items()}
        self._add(number, "finished" if state == "stopped" else state, params, values)

    def _add(self, number, state, params, values):
        self.runs[number] = self.sweeps.SweepRun(
            name=str(number),
            state=self.sweeps.RunState(state),
            config={name: {"value": value} for name, value in params.items()},
            history=[{"metric": value} for value in values],
            summary_metrics={},
        )


class Hebo:
    """HEBO knows neither conditions (it sets every parameter) nor trials that run; it drops results that failed."""

    def __init__(self):
        import torch
        from hebo.design_space.design_space import DesignSpace
        from hebo.optimizers.hebo import HEBO

        torch.set_num_threads(1)
        self.torch, self.design, self.optimizer_class = torch, DesignSpace, HEBO

    def start(self, space, config, seed, trials):
        self.torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        self.space = {entry["name"]: entry for entry in space}
        design = self.design().parse([self._describe(entry) for entry in space])
        self.optimizer = self.optimizer_class(design, scramble_seed=seed)
        self.asked = {}

    @staticmethod
    def _describe(entry):
        found = {"name": entry["name"]}
        if entry["kind"] == "categorical":
            return {**found, "type": "cat", "categories": entry["values"]}
        if entry["kind"] == "ordinal":
            return {**found, "type": "int", "lb": 0, "ub": len(entry["values"]) - 1}
        kinds = {(0, 0): "num", (0, 1): "pow", (1, 0): "int", (1, 1): "pow_int"}
        kind = kinds[entry["kind"] == "int", entry["log"]]
        base = {"base": 10} if entry["log"] else {}
        return {**found, "type": kind, "lb": entry["low"], "ub": entry["high"], **base}

    def ask(self, number):
        self.asked[number] = found = self.optimizer.suggest(1)
        params = {}
        for name, value in found.iloc[0].to_dict().items():
            entry = self.space[name]
            if entry["kind"] == "ordinal":
                value = entry["values"][int(value)]
            elif entry["kind"] == "int":
                value = int(value)
            params[name] = value
        return params

    def tell(self, number, state, loss, reports):
        value = float("nan") if loss is None else loss
        self.optimizer.observe(self.asked.pop(number), np.array([[value]]))


class Smac:
    """SMAC3's facade for hyperparameters: a random forest and log expected improvement."""

    def __init__(self):
        import smac
        from ConfigSpace import (
            CategoricalHyperparameter,
            ConfigurationSpace,
            InCondition,
            OrdinalHyperparameter,
            UniformFloatHyperparameter,
            UniformIntegerHyperparameter,
        )
        from ConfigSpace.conditions import AndConjunction
        from smac.runhistory.dataclasses import TrialValue
        from smac.runhistory.enumerations import StatusType

        self.smac, self.value, self.status, self.space_class = smac, TrialValue, StatusType, ConfigurationSpace
        self.all_of, self.one_of = AndConjunction, InCondition
        self.kinds = {
            "categorical": CategoricalHyperparameter,
            "ordinal": OrdinalHyperparameter,
            "float": UniformFloatHyperparameter,
            "int": UniformIntegerHyperparameter,
        }
        self.folder = tempfile.TemporaryDirectory()

    def start(self, space, config, seed, trials):
        made = {}
        self.values = {entry["name"]: entry.get("values") for entry in space}
        for entry in space:
            kind = self.kinds[entry["kind"]]
            if "values" in entry:
                made[entry["name"]] = kind(entry["name"], list(range(len(entry["values"]))))
            else:
                made[entry["name"]] = kind(entry["name"], entry["low"], entry["high"], log=entry["log"])
        known = self.space_class(seed=seed)
        known.add(list(made.values()))
        for entry in space:
            parts = [
                self.one_of(made[entry["name"]], made[parent], [self.values[parent].index(v) for v in values])
                for parent, values in entry["when"].items()
            ]
            if parts:
                known.add(parts[0] if len(parts) == 1 else self.all_of(*parts))
        scenario = self.smac.Scenario(
            known, deterministic=True, n_trials=trials, seed=seed, output_directory=self.folder.name
        )
        facade = self.smac.HyperparameterOptimizationFacade
        self.facade = facade(scenario, lambda config, seed=0: 0.0, overwrite=True, logging_level=50)
        self.asked, self.worst = {}, None

    def ask(self, number):
        self.asked[number] = found = self.facade.ask()
        params = dict(found.config)
        return {n: self.values[n][int(v)] if self.values[n] else v for n, v in params.items()}

    def tell(self, number, state, loss, reports):
        # Its default cost of a failure, infinity, ends in an error of its forest; so it is the worst cost so far.
        self.worst = max([cost for cost in (self.worst, loss) if cost is not None], default=1.0)
        failed = {"cost": self.worst, "status": self.status.CRASHED}
        value = self.value(**failed) if loss is None else self.value(cost=loss)
        self.facade.tell(self.asked.pop(number), value, save=False)


def main():
    kind = sys.argv[1]
    # What a library prints must not come between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    makers = {"tpe": lambda: Optuna("tpe"), "gp": lambda: Optuna("gp"), "bayes": WandB, "hebo": Hebo, "smac": Smac}
    peer = makers[kind]()
    for line in sys.stdin:
        message = json.loads(line)
        try:
            if "start" in message:
                answer = peer.start(**message["start"])
            elif "ask" in message:
                answer = peer.ask(message["ask"])
            else:
                answer = peer.tell(message["tell"], message["state"], message["loss"], message["reports"])
            reply = {"answer": answer, "cpu": time.process_time()}
        except Exception:  # of the peer: the benchmark records it and goes on
            reply = {"error": traceback.format_exc()[-2000:]}
        answers.write(json.dumps(reply, default=lambda x: x.item()) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
