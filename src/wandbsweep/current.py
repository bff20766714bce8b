"""``current_trial()``: what training code sees of the sweep that runs it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wandbsweep.checkpoints import find_checkpoint
from wandbsweep.faults import check_loss
from wandbsweep.memory import measure_peaks as measure_peaks
from wandbsweep.memory import reset_peaks as reset_peaks  # for trainings that report their peaks
from wandbsweep.trial import CONTINUE, Decision, as_number, as_step
from wandbsweep.trial_link import ADDRESS, TrialLink, parse_address

DIRECTORY = "WANDBSWEEP_DIRECTORY"
"""The environment variable with the trial's directory, for the processes that its training starts."""

log = logging.getLogger(__name__)

WANDB_OPTIONS = ("group", "name", "id", "resume", "tags")
"""The options of ``wandb.init`` that ``CurrentTrial.wandb`` may have."""

Send = Callable[[int, Mapping[str, float]], Decision]


def _continue(*_: object) -> Decision:
    return CONTINUE


def _own() -> bool:
    return True


def _do_nothing() -> None:
    pass


def _return_step(step: int) -> int:
    return step


def _find_no_interruption() -> str:
    return ""


@dataclass(eq=False)
class CurrentTrial:
    """The trial that this process is running; outside a sweep a null object that accepts reports and never stops."""

    number: int | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    """Flat: dotted name -> value, the swept parameters only."""
    resumed: bool = False
    """Whether an earlier attempt of the same trial was interrupted, or frozen (``early_terminate: {type: thaw}``)."""
    sweep_id: str | None = None
    metric: str | None = None
    """The name of the metric that the sweep optimises."""
    goal: str = "minimize"
    """Whether to ``minimize`` or ``maximize`` that metric."""
    address: str = field(default="", repr=False)
    """Where other processes of the trial report; empty: there can be none."""
    send: Send = field(default=_continue, repr=False)
    """Passes a report to the controller and returns its decision."""
    poll: Callable[[], Decision] = field(default=_continue, repr=False)
    """Returns what was decided since the last report: a stop if the trial was cancelled or taken over."""
    is_owner: Callable[[], bool] = field(default=_own, repr=False)
    """Returns whether the trial is still this agent's."""
    reinstall_handlers: Callable[[], None] = field(default=_do_nothing, repr=False)
    """Puts the agent's signal handlers back after the training has installed its own."""
    reach: Callable[[int], int] = field(default=_return_step, repr=False)
    """Tells the agent which step the training has reached, and returns the highest that any of its processes has."""
    tell_clear: Callable[[], None] = field(default=_do_nothing, repr=False)
    """Tells the agent that the interruption came after the training's own end."""
    poll_interrupt: Callable[[], str] = field(default=_find_no_interruption, repr=False)
    """Returns why the training must end, if this process gets no signal that says so; empty: it need not."""
    decision: Decision = CONTINUE
    """The last answer; a stop is final."""
    listening: bool = field(default=False, repr=False)
    """Whether the training checks ``preempted`` regularly. Then even Ctrl-C waits for it."""
    interrupt_requested: bool = field(default=False, repr=False)
    """Whether the training knows that it must end. What it then returns is not the trial's result."""
    _interrupt_reason: str = field(default="", repr=False)
    """Set by a signal's handler, before the training knows of it."""
    _last_step: int = field(default=-1, repr=False)
    """The highest step that this process has reported or trained to; -1: none."""
    checkpoint_read: bool = field(default=False, repr=False)
    """Whether the training has asked for ``checkpoint``."""
    _link: TrialLink | None = field(default=None, repr=False)

    def __reduce__(self) -> Any:
        """Leave callbacks and decisions behind: in another process, the copy is that process's current trial."""
        identity = (self.number, self.params, self.resumed, self.sweep_id, self.metric, self.goal, self.address)
        return _restore, identity

    def attach(self, link: TrialLink) -> None:
        """Report through ``link`` from now on."""

        def send(step: int, metrics: Mapping[str, float]) -> Decision:
            answer = link.report(step, metrics)
            if (
                answer.interrupted and not answer.decision.freezes
            ):  # the agent received the signal first; this is not a decision of the controller
                self.interrupt(answer.decision.reason)
                return CONTINUE
            return answer.decision

        self._link, self.address = link, link.address
        self.send, self.poll, self.is_owner = send, link.poll, link.owns
        self.reach, self.tell_clear, self.poll_interrupt = link.reach, link.clear, link.poll_interrupt

    def __bool__(self) -> bool:
        return self.number is not None

    @property
    def records(self) -> bool:
        """Whether reports are recorded: in a trial, and in a run of ``wandbsweep evaluate``, which is no trial."""
        return bool(self) or self.send is not _continue

    @property
    def wandb(self) -> dict[str, Any]:
        """Options of ``wandb.init`` that group the trial's run by its sweep and let a later attempt continue it.

        Empty outside a sweep. In a sweep of W&B's own there is no ``id``, since W&B has chosen it.
        """
        if not self:
            return {}
        name = f"{self.sweep_id}-{self.number}" if self.sweep_id else f"trial-{self.number}"
        options = {"group": self.sweep_id, "name": name, "tags": [tag for tag in ("wandbsweep", self.sweep_id) if tag]}
        if self.sweep_id and not os.environ.get("WANDB_SWEEP_ID"):
            options |= {"id": name, "resume": "allow" if self.resumed else None}
        return options

    @property
    def directory(self) -> Path:
        """The trial's own directory, the same for all its attempts; outside a sweep the working directory."""
        return Path(os.environ.get(DIRECTORY, "")) if self else Path()

    @property
    def checkpoint(self) -> Path | None:
        """The newest checkpoint in ``directory`` if an earlier attempt was interrupted or frozen, else None.

        Checkpoints are files whose names end with ``.ckpt``, ``.pt`` or ``.pth``. One that was not written to its end
        does not count.
        """
        checkpoint = self.find_checkpoint()
        self.checkpoint_read = True
        return checkpoint

    def find_checkpoint(self) -> Path | None:
        """Return ``checkpoint`` without noting that the training has asked for it."""
        return find_checkpoint(self.directory) if self.resumed and DIRECTORY in os.environ else None

    def report(self, step: int, metrics: Mapping[str, float]) -> Decision:
        """Report ``metrics`` to the sweep, and return whether the training is to stop.

        If ``decision.stop`` is true, end the training cleanly.

        Args:
            step: What the training counts, such as epochs or batches. Reporting a step again replaces its metrics.
            metrics: The value of each metric by name. Scalars of any array library are accepted.

        Raises:
            ValueError: ``step`` is not a whole number, or a value is not a number.
        """
        sent = as_step(step), {name: _as_float(name, value) for name, value in metrics.items()}
        self._last_step = max(self._last_step, sent[0])
        if not self.decision.stop:
            self.decision = self.send(*sent)
            self.interrupt_requested |= self.decision.freezes
            if self._interrupt_reason and not self.decision.stop:
                self.decision = self.acknowledge()
        return self.decision

    def note_step(self, step: int) -> None:
        """Note that the training has reached ``step``: what is measured after it needs a later one."""
        self._last_step = self.reach(max(self._last_step, step))

    @property
    def last_step(self) -> int:
        """The highest step that the trial's processes have reported or trained to; -1: none."""
        self._last_step = self.reach(self._last_step)
        return self._last_step

    def check_loss(self, step: int, loss: Any) -> None:
        """Raise DivergedError if ``loss`` is NaN or infinite: the trial has failed, and is not tried again.

        On a GPU this waits for the loss to be computed, so check every few steps. Outside a sweep it does nothing.

        Args:
            step: The step that computed it.
            loss: A number, or a scalar of any array library.

        Raises:
            DivergedError: The loss is NaN or infinite.
            ValueError: ``loss`` is not a number.
        """
        if self.records:
            check_loss(_as_float("loss", loss), step)

    @property
    def preempted(self) -> bool:
        """Whether this process is to end. If so, save what is needed to resume, and return; the trial will be resumed.

        This is also true when the trial is frozen; then it may be resumed.

        ``report`` then answers with a stop as well.
        """
        self._interrupt_reason = self._interrupt_reason or self.poll_interrupt()
        if self._interrupt_reason and not self.decision.stop:
            self.decision = self.acknowledge()
        return self.interrupt_requested

    def interrupt(self, reason: str) -> None:
        """Ask the training to end. Safe in a signal handler: it only notes the reason."""
        self._interrupt_reason = reason

    def stop(self, reason: str) -> None:
        """Have the next report answer with a stop; may be called from a thread that runs next to the training."""
        if not self.decision.stop:
            self.decision = Decision(stop=True, reason=reason)

    def acknowledge(self) -> Decision:
        """Note that the training now knows that it must end, and return the decision that says so."""
        self.interrupt_requested = True
        return Decision(stop=True, reason=self._interrupt_reason or "interrupted")

    def clear(self) -> None:
        """Forget the interruption: the training had already reached its own end."""
        if self.interrupt_requested:
            self.interrupt_requested, self.decision = False, CONTINUE
            self.tell_clear()


class Preempted(BaseException):
    """Raised out of a training that has saved what it needs to be resumed.

    It is not a failure, and not an ``Exception``, so that ``except Exception`` in the training lets it pass.
    """


def _as_float(name: str, value: object) -> float:
    number = as_number(int(value) if isinstance(value, bool) else value)
    if number is None:
        raise ValueError(f"The value of the metric {name!r} is {value!r}, but must be a number")
    return number


_NO_TRIAL = CurrentTrial()
_current = _NO_TRIAL


def current_trial() -> CurrentTrial:
    """Return the trial that this process is part of; it is false in a boolean context outside a sweep.

    The trial is known in its own process, and in all that the training starts from there, however it starts them.
    """
    global _current
    if _current is _NO_TRIAL and (address := os.environ.get(ADDRESS)):
        _current = _find_trial(address)
    return _current


def _find_trial(address: str) -> CurrentTrial:
    """Return the trial that has started this process."""
    number, is_here = parse_address(address)
    if not is_here:
        log.warning("This process is not on the machine of trial %d, so the trial does not get its reports.", number)
        return CurrentTrial(address=address)
    link = TrialLink(address)
    trial: CurrentTrial = link.connect() or CurrentTrial(number)  # the trial is over, so this process must end too
    trial.attach(link)
    return trial


def _restore(*identity: Any) -> CurrentTrial:
    """Return the trial that was pickled: this process's own object, if it is part of the trial."""
    global _current
    trial = CurrentTrial(*identity)
    if not trial.address:
        return trial
    if trial.address == _current.address:
        return _current
    trial.attach(TrialLink(trial.address))
    if _current is _NO_TRIAL and trial.address == os.environ.get(ADDRESS):
        _current = trial
    return trial


def _attach_fork() -> None:
    """Give a process that was forked from a trial its own connection: the callbacks are those of the other process."""
    if _current._link is not None:
        _current._link.close_in_fork()
    if _current and _current.address:
        _current.attach(TrialLink(_current.address))


os.register_at_fork(after_in_child=_attach_fork)


@contextmanager
def running(trial: CurrentTrial) -> Iterator[CurrentTrial]:
    """Make ``trial`` the current one for the duration of a ``with`` block.

    A plain global, not a context variable: training code reports from threads that inherit no context.
    """
    global _current
    outer, _current = _current, trial
    try:
        yield trial
    finally:
        _current = outer
