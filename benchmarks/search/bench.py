"""Compares searches on tasks that they were not made for, on a simulated clock, and prints the tables as Markdown.

    python -m benchmarks.search.bench run                       # development tasks, the quick searches
    python -m benchmarks.search.bench run --full --processes 2  # all tasks, searches, seeds: days
    python -m benchmarks.search.bench run --searches ours --label ours@warp --out runs.jsonl
    python -m benchmarks.search.bench compare ours@warp ours optuna-gp --runs runs.jsonl
    python -m benchmarks.search.bench tasks                     # what there is, and on which side

Every run depends on its seed alone; those in `--out` are not repeated. TaskSet's curves take part if `BENCH_CURVES`
names their folder. Peers get environments of their own, beside this file.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.search import environments
from benchmarks.search.comparison import format_comparison, format_means
from benchmarks.search.runs import EPOCHS_OF, PROBING, PROTOCOLS, Job, carry_out, read_runs
from benchmarks.search.searchers import PEERS, SEARCHES, SLOW
from benchmarks.search.tasks import FAMILIES, find_split, list_tasks, load_task, tabular, taskset

BUDGETS = (10, 20, 30, 50, 100)
QUICK = ("random", "tpe", "wandb", "ours", "optuna-gp", PROBING)
OUT = Path(__file__).parent / ".cache" / "runs.jsonl"


def list_jobs(options: argparse.Namespace) -> Iterator[Job]:
    for protocol in options.protocols:
        for workers in options.workers:
            for search in options.searches:
                slow = search in SLOW
                for task in options.tasks:
                    epochs = protocol != "trials"
                    if epochs and task.split("/")[0] in (*tabular.FAMILIES, "synthetic"):
                        continue  # they have one epoch
                    if search == PROBING and (protocol, workers) != ("epochs-hyperband", options.workers[0]):
                        continue  # it is a rule for epochs, and the same for any number of workers
                    trials = EPOCHS_OF if epochs else min(options.trials, options.slow_trials if slow else 10**9)
                    for seed in range(options.slow_seeds if slow else options.seeds):
                        label = options.label if search == "ours" else ""
                        yield Job(search, task, seed, workers, protocol, trials, label)


def install(searches: list[str]) -> list[str]:
    """Make the environments of the peers; return the searches that can take part, and say why the others cannot."""
    able = []
    for search in searches:
        try:
            if search in PEERS:
                environments.find_python(PEERS[search][0])
            able.append(search)
        except subprocess.CalledProcessError as error:
            print(f"{search} is left out, because it cannot be installed:\n{error.stderr[-600:]}", file=sys.stderr)
    return able


def read_list(text: str) -> list[str]:
    return [part for part in text.split(",") if part]


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--split", choices=["dev", "heldout", "all"], help="default: dev; with --full all")
    shared.add_argument("--families", type=read_list, default=list(FAMILIES), help=f"of {', '.join(FAMILIES)}")
    shared.add_argument("--tasks", type=read_list, default=[], help="names, in place of a split and families")
    shared.add_argument("--budgets", type=read_list, default=[str(k) for k in BUDGETS])
    shared.add_argument("--seen", action="store_true", help="at equal epochs: the best value so far, not the final one")
    run = commands.add_parser("run", parents=[shared], help="make runs and print the tables")
    run.add_argument("--full", action="store_true", help="everything; days on two cores")
    run.add_argument("--searches", type=read_list, help=f"of {', '.join((*SEARCHES, PROBING))}")
    run.add_argument(
        "--protocols", type=read_list, help=f"of {', '.join(PROTOCOLS)}; default: trials, epochs-hyperband"
    )
    run.add_argument("--workers", type=read_list, default=["1", "8"])
    run.add_argument("--trials", type=int, help="default: 30; with --full 100")
    run.add_argument("--slow-trials", type=int, default=50, help="the most for peers that take a second an ask")
    run.add_argument("--seeds", type=int, help="default: 1; with --full 10")
    run.add_argument("--slow-seeds", type=int, help="of peers that take a second an ask; default: 1; with --full 5")
    run.add_argument("--label", default="", help="what ours is stored as, to compare variants: ours@NAME")
    run.add_argument("--processes", type=int, default=2)
    run.add_argument("--out", type=Path, default=OUT, help="a .jsonl or .jsonl.gz file: read first, then added to")
    run.add_argument("--no-table", action="store_true")
    compare = commands.add_parser("compare", parents=[shared], help="compare the first search with each other one")
    compare.add_argument("names", nargs="+", help="searches or labels")
    compare.add_argument("--runs", type=Path, nargs="+", default=[OUT])
    table = commands.add_parser("table", parents=[shared], help="print each search's mean regret")
    table.add_argument("--runs", type=Path, nargs="+", default=[OUT])
    commands.add_parser("tasks", parents=[shared], help="list the tasks")
    options = parser.parse_args()
    options.budgets = tuple(int(k) for k in options.budgets)
    full = getattr(options, "full", False)
    options.split = options.split or ("all" if full or options.command == "tasks" else "dev")
    if not options.tasks:
        split = None if options.split == "all" else options.split
        options.tasks = list_tasks(split, tuple(options.families))
    if options.command == "run":
        options.searches = options.searches or [*SEARCHES, PROBING] if full else options.searches or list(QUICK)
        options.protocols = options.protocols or (list(PROTOCOLS) if full else ["trials", "epochs-hyperband"])
        options.workers = [int(k) for k in options.workers]
        options.trials = options.trials or (100 if full else 30)
        options.seeds = options.seeds or (10 if full else 1)
        options.slow_seeds = options.slow_seeds or min(options.seeds, 5)
    return options


def main() -> int:
    options = parse_options()
    if taskset.FAMILY in getattr(options, "families", []) and taskset.find_folder() is None:
        print("TaskSet is left out: BENCH_CURVES does not name the folder of its curves", file=sys.stderr)
    if options.command == "tasks":
        for name in options.tasks:
            task = load_task(name)
            print(f"{find_split(name):8} {name:50} {len(task.space):3} parameters, {task.epochs} epochs")
        return 0
    if options.command == "run":
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        options.searches = install(options.searches)
        failed = carry_out(list(list_jobs(options)), options.out, processes=options.processes)
        if not options.no_table:
            mine = [r for r in read_runs(options.out) if r["task"] in set(options.tasks)]
            print(format_means(mine, options.budgets, seen=options.seen))
        return int(failed > 0)
    runs = [run for run in read_runs(*options.runs) if run["task"] in set(options.tasks)]
    if options.command == "table":
        print(format_means(runs, options.budgets, seen=options.seen))
        return 0
    first, *others = options.names
    for other in others:
        print(f"\n### {first} and {other}\n{format_comparison(runs, first, other, options.budgets, seen=options.seen)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
