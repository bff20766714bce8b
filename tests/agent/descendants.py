"""Trials whose training starts processes, and what these do. The fork server and the processes import this module."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from wandbsweep import CurrentTrial, current_trial
from wandbsweep.trial import JobResult, Trial

ROOT = Path(__file__).parents[2]


def report(step: int, given: CurrentTrial | None = None) -> list[Any]:
    now = current_trial()
    assert given is None or given is now  # one object, so that all code sees the same decision
    decision = now.report(step, {"loss": 1.0 + step})
    return [now.number, dict(now.params), now.metric, decision.stop, os.getpid()]


def send(queue: Any, *arguments: Any) -> None:
    queue.put(report(*arguments))


def by_process(method: str, step: int) -> list[Any]:
    context = multiprocessing.get_context(method)
    queue = context.SimpleQueue()
    process = context.Process(target=send, args=(queue, step, current_trial()))
    process.start()
    process.join()
    assert process.exitcode == 0
    seen: list[Any] = queue.get()
    return seen


def by_pool(step: int) -> list[Any]:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool:
        return pool.submit(report, step).result()


def by_program(step: int) -> list[Any]:
    code = f"import json; from tests.agent.descendants import report; print(json.dumps(report({step})))"
    seen: list[Any] = json.loads(subprocess.check_output([sys.executable, "-c", code], cwd=ROOT))
    return seen


def by_joblib(step: int) -> list[Any]:
    from joblib import Parallel, delayed

    (seen,) = Parallel(n_jobs=2)([delayed(report)(step)])
    result: list[Any] = seen
    return result


MEANS: Mapping[str, Callable[[int], list[Any]]] = {
    "fork": partial(by_process, "fork"),
    "spawn": partial(by_process, "spawn"),
    "forkserver": partial(by_process, "forkserver"),
    "pool": by_pool,
    "program": by_program,
    "joblib": by_joblib,
}
KEPT = ("forkserver", "joblib")
"""Those by which libraries keep processes for later."""


def report_by_all_means(trial: Trial) -> JobResult:
    """Trial 0 by all means, and the later ones by those whose processes libraries would use again."""
    means = MEANS if trial.number == 0 else {name: MEANS[name] for name in KEPT}
    seen = {name: act(step) for step, (name, act) in enumerate(means.items())}
    current_trial().report(len(means), {"loss": 0.5})  # the trial's own process
    return JobResult(payload=(os.getpid(), current_trial().last_step, seen))


def report_as_rank(queue: Any, rank: int) -> None:
    os.environ["RANK"] = str(rank)
    time.sleep(0.05 * (1 - rank))  # rank 1 is first, and waits for what rank 0 is told
    for step in range(10):
        if current_trial().report(step, {"loss": 10.0 * rank + step}).stop:
            break
    queue.put([rank, step])


def report_as_ranks(trial: Trial) -> JobResult:
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    ranks = [context.Process(target=report_as_rank, args=(queue, rank)) for rank in (0, 1)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join()
    return JobResult(payload=sorted(queue.get() for _ in ranks))


def report_spawned(rank: int) -> None:
    for step in range(3):
        current_trial().report(step, {"loss": 10.0 * rank + step})


def report_by_torch(trial: Trial) -> JobResult:
    """Torch tells these processes their rank by an argument alone."""
    import torch.multiprocessing

    torch.multiprocessing.start_processes(report_spawned, nprocs=2, start_method="fork")
    return JobResult()


def outlive(trial: Trial) -> JobResult:
    """The first trial leaves a process behind, which reports while the second one trains."""
    place = Path(os.environ["PLACE"])
    if trial.number == 0:
        current_trial().report(0, {"loss": 0.0})
        if os.fork() == 0:
            await_file(place / "second")
            decision = current_trial().report(1, {"loss": -1.0})
            # Another one starts only now, and finds the address of a trial that is over.
            program = "from wandbsweep import current_trial as now; print(now().number, now().report(1, {}).reason)"
            later = subprocess.check_output([sys.executable, "-c", program], cwd=ROOT, text=True)
            (place / "told.part").write_text(f"{decision.reason}; {later}")
            (place / "told.part").rename(place / "told")
            os._exit(0)
        return JobResult()
    current_trial().report(0, {"loss": 2.0})
    (place / "second").touch()
    await_file(place / "told")
    return JobResult(payload=(place / "told").read_text())


def await_file(path: Path) -> None:
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def clear_environment(trial: Trial) -> JobResult:
    """A forked process needs no environment, and another program without it is in no trial."""
    program = "from wandbsweep import current_trial; print(bool(current_trial()))"
    out = subprocess.check_output([sys.executable, "-c", program], cwd=ROOT, env={}, text=True)
    kept = dict(os.environ)
    os.environ.clear()
    pid = os.fork()
    if pid == 0:
        with suppress(BaseException):
            current_trial().report(0, {"loss": 1.0})
        os._exit(0)
    os.waitpid(pid, 0)
    os.environ.update(kept)
    return JobResult(payload=out.strip())


class FitOnForks:
    """Trains two epochs on two processes that Lightning forks, and tests; a second trial may be stopped."""

    def __init__(self) -> None:
        import torch
        from lightning.pytorch import LightningModule

        class Tiny(LightningModule):
            def __init__(self, queue: Any) -> None:
                super().__init__()
                self.queue = queue
                self.layer = torch.nn.Linear(1, 1)

            def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
                loss: torch.Tensor = self.layer(batch[0]).square().mean()
                return loss

            def validation_step(self, batch: Any, batch_idx: int) -> None:
                self.log("loss", float(self.current_epoch), sync_dist=True)

            def test_step(self, batch: Any, batch_idx: int) -> None:
                self.log("tested", 7.0, sync_dist=True)

            def on_train_end(self) -> None:
                self.queue.put([self.global_rank, self.current_epoch])

            def configure_optimizers(self) -> torch.optim.Optimizer:
                return torch.optim.SGD(self.parameters(), lr=0.1)

        self.module = Tiny

    def __call__(self, trial: Trial) -> JobResult:
        import torch
        from lightning.pytorch import Trainer
        from torch.utils.data import DataLoader, TensorDataset

        from wandbsweep.lightning import SweepCallback

        queue = multiprocessing.get_context("fork").SimpleQueue()
        module, data = self.module(queue), DataLoader(TensorDataset(torch.ones(4, 1)))
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        options = {"accelerator": "cpu", "devices": 2, "strategy": "ddp_fork", "enable_checkpointing": False, **quiet}
        trainer = Trainer(max_epochs=2, callbacks=[SweepCallback()], **options)
        trainer.fit(module, data, data)
        ended = sorted(queue.get() for _ in range(2))
        trainer.test(module, data, verbose=False)
        return JobResult(payload=[ended, sorted(trainer.callback_metrics)])


class Make:
    """What the fork server loads: a function or a class of this module."""

    def __init__(self, act: str) -> None:
        self.act = act

    def __call__(self) -> Any:
        act = globals()[self.act]
        return act() if isinstance(act, type) else act
