"""The tasks on which searches are compared, by family, and their division into development and held out."""

from __future__ import annotations

from functools import cache

from benchmarks.search.tasks import own, synthetic, tabular, taskset
from benchmarks.search.tasks.base import Split, Task, split_of

FAMILIES = (taskset.FAMILY, *tabular.FAMILIES, own.FAMILY, own.SMOOTH, synthetic.FAMILY)


def list_tasks(split: Split | None = None, families: tuple[str, ...] = FAMILIES) -> list[str]:
    """Return the names of all tasks that can be had here, of both sides if `split` is None."""
    names = [*taskset.list_names(), *tabular.list_names(), *own.list_names(), *synthetic.list_names()]
    return [n for n in names if n.split("/")[0] in families and split in (None, find_split(n))]


def find_split(name: str) -> Split:
    family = name.split("/")[0]
    if family in (own.FAMILY, own.SMOOTH):
        return own.split_of(name.split("/")[1])
    return split_of(synthetic.find_source(name) if family == synthetic.FAMILY else name)


@cache
def load_task(name: str) -> Task:
    family = name.split("/")[0]
    if family == taskset.FAMILY:
        return taskset.TaskSet(name)
    if family in tabular.FAMILIES:
        return tabular.Tabular(name)
    if family == synthetic.FAMILY:
        return synthetic.Synthetic(name)
    if family in (own.FAMILY, own.SMOOTH):
        return own.load_task(name)
    raise ValueError(f"The task is {name}, but its family must be one of {', '.join(FAMILIES)}")
