"""The sweeper's configuration, ``hydra.sweeper.*``: each key's meaning and default, and the values it takes."""

# Hydra imports this module whenever any application starts, since the plugin's schema is made of it: it must stay cheap
# to import. There is no `from __future__ import annotations`, because the schema needs the annotations as types.

import re
from collections.abc import Callable
from dataclasses import Field, dataclass, field, fields
from typing import Any

from wandbsweep.errors import SweepError

CONTROLLERS = ("embedded", "wandb")
ISOLATIONS = ("process", "none")
OUTPUTS = ("terminal", "log")

LEASE_S = 60.0
MAX_ATTEMPTS = 3
MAX_FAILURES = 5

_SHORTEST_LEASE_S = 1.0  # on a busy machine a thread may wait for most of a second until it runs


@dataclass(frozen=True)
class Settings:
    """The settings of one multirun. Raises SweepError if one of them has no valid value."""

    controller: str = "embedded"
    """What decides which trials run and which stop. ``embedded``: our own, on this machine's files or your database.
    ``wandb``: W&B's servers. ``WANDB_ENTITY`` and ``WANDB_PROJECT``, or the sweep's own ``entity`` and ``project``, say
    where the sweep is made."""
    sweep: dict[str, Any] = field(default_factory=dict)
    """A W&B sweep configuration that is merged into the application's own key ``sweep``."""
    params: dict[str, Any] | None = None
    """Overrides that are read as if they came first on the command line, as by Hydra's own sweeper:
    ``params: {lr: "0.1,0.2", model: "choice(mlp,convnet)"}``."""
    sweep_id: str | None = None
    """The sweep to join or resume, as it was started. null: a new sweep."""
    agents: int | None = None
    """Number of agents, each a job of the launcher. null: 1, or, with ``count``, as many as the trials need."""
    count: int | None = None
    """Number of trials that an agent runs. null: until the sweep is over."""
    agents_at_once: int | None = None
    """The most agents that run at once, as ``%2`` in ``sbatch --array=1-12%2``: it replaces the launcher's own limit
    (``hydra.launcher.array_parallelism``, ``n_jobs``). null: the launcher's own."""
    storage: str | None = None
    """Optuna storage URL: ``postgresql://…``, ``mysql://…``, ``sqlite:///…``. null: ``journal.log`` in the sweep's
    directory. A password belongs in the environment: ``postgresql://me:${oc.env:DB_PASSWORD}@host/sweeps``."""
    seed: int | None = None
    """Seed of the search. null: a random one."""
    gpus_per_agent: int | None = None
    """On one machine: how many GPUs of ``CUDA_VISIBLE_DEVICES`` each agent gets for itself. null: every agent sees
    all."""
    lease_s: float = LEASE_S
    """Seconds of silence after which the agent of a running trial counts as dead, and another agent gets the trial."""
    max_attempts: int = MAX_ATTEMPTS
    """How often the process or the agent of a trial may die before it stays crashed. Preemption does not count."""
    max_failures: int = MAX_FAILURES
    """Abort the sweep if its first ``max_failures`` trials all fail; pause it if later this many in a row do."""
    detach: bool = False
    """Submit the agents and return, for submitit's launchers. The agents then need no launching process."""
    dry_run: bool = False
    """Show what the command would start: the space, example trials, jobs, disk and warnings. Nothing is written, and no
    job is launched."""
    endless: bool = False
    """Allow a random or bayes sweep that nothing would end."""
    isolation: str | None = None
    """``process``: each trial in its own process, forked from one that has imported the task, so that a crash ends no
    agent. ``none``: in the agent, where a debugger works. null: ``none`` under the basic launcher, else ``process``."""
    output: str = "terminal"
    """Where the output of trials appears. ``terminal``: as without a sweep, where a trial's process writes. ``log``: in
    the trial's log file."""
    preload: list[str] = field(default_factory=list)
    """Modules that each agent imports once for all its trials, under ``isolation=process``: ``[torch, lightning]``.
    What else a trial imports stays in that trial. Name no module that reads at import what
    trials set, such as an environment variable, and none that starts threads."""

    resume_key: str | None = None
    """The application's key that takes the path of a checkpoint, such as ``ckpt_path``. In attempts that resume a trial
    it is set to the trial's newest checkpoint (``current_trial().checkpoint``). null: none."""

    def __post_init__(self) -> None:
        faults = [fault for fault in map(self._find_fault, fields(self)) if fault]
        if faults:
            raise SweepError("\n".join(f"hydra.sweeper.{fault}" for fault in faults))

    def _find_fault(self, key: "Field[Any]") -> str | None:
        value = getattr(self, key.name)
        if key.name not in _RULES or (value is None and key.default is None):
            return None
        is_valid, requirement = _RULES[key.name]
        return None if is_valid(value) else f"{key.name}: the value is {value!r}{requirement}"


FOREIGN_KEYS = (
    *("n_trials", "direction", "directions", "sampler", "n_jobs", "max_batch_size", "study_name", "max_failure_rate"),
    *("search_space", "custom_search_space", "ax_config", "optim", "parametrization"),
)
"""Keys of Hydra's basic, Optuna, Ax and Nevergrad sweepers. ``bridge.foreign_sweepers`` reads their spaces and names
our settings for the other keys."""

_MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
_RESUME_KEY = re.compile(r"\+{0,2}[^\W\d]\w*(\.\w+)*")
_POSITIVE = (lambda value: value >= 1, ", but must be an integer >= 1")

_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "controller": (lambda value: value in CONTROLLERS, f"; the choices are {', '.join(CONTROLLERS)}"),
    "agents": _POSITIVE,
    "count": _POSITIVE,
    "agents_at_once": _POSITIVE,
    "seed": (lambda value: value >= 0, ", but must be an integer >= 0"),
    "gpus_per_agent": _POSITIVE,
    "lease_s": (lambda value: value >= _SHORTEST_LEASE_S, f", but must be at least {_SHORTEST_LEASE_S:g} seconds"),
    "max_attempts": _POSITIVE,
    "max_failures": _POSITIVE,
    "preload": (
        lambda value: all(isinstance(name, str) and _MODULE.fullmatch(name) for name in value),
        ", but must be a list of modules, such as [torch, lightning]",
    ),
    "output": (lambda value: value in OUTPUTS, f"; the choices are {', '.join(OUTPUTS)}"),
    "resume_key": (
        lambda value: _RESUME_KEY.fullmatch(value) is not None,
        ", but must be a key of the configuration, such as ckpt_path or trainer.resume_from",
    ),
    "isolation": (lambda value: value in ISOLATIONS, f"; the choices are {', '.join(ISOLATIONS)}, or null"),
}
"""By key, whether a value is valid, and what the message says of one that is not."""
