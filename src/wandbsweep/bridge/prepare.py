"""Turns a multirun command into a sweep that is ready to be launched. Everything is checked before it is written."""

from __future__ import annotations

from wandbsweep.bridge.composition import check_composition
from wandbsweep.bridge.create import is_free, write_sweep
from wandbsweep.bridge.join import join_hosted_sweep, join_sweep, resume_sweep
from wandbsweep.bridge.multirun import Multirun
from wandbsweep.bridge.prepared import PreparedSweep, make_prepared_sweep
from wandbsweep.bridge.search_space import read_space, refuse_endless
from wandbsweep.search.make import make_search
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.sweep.directory import make_sweep_id, refuse_orphaned_journal
from wandbsweep.sweep.launch_record import HostedPlace
from wandbsweep.sweep.override_strings import format_overrides


def prepare_sweep(multirun: Multirun) -> PreparedSweep:
    """Create the sweep that a multirun command asks for, or join or resume the one that exists.

    Args:
        multirun: The command.

    Returns:
        The sweep.

    Raises:
        SweepError: The command is not valid; nothing is written then. A plain comma list that does not compose raises
            Hydra's own errors instead.
    """
    settings = multirun.settings
    if settings.sweep_id is not None:
        is_hosted = settings.controller == "wandb"
        return join_hosted_sweep(multirun, settings.sweep_id) if is_hosted else join_sweep(multirun, settings.sweep_id)
    return _create_or_resume(multirun)


def _create_or_resume(multirun: Multirun) -> PreparedSweep:
    config, settings = multirun.config, multirun.settings
    sweep_id = make_sweep_id()
    directory = multirun.find_directory(sweep_id)

    spec, plain_grid = read_space(config, settings, multirun.line)
    refuse_endless(spec, settings)
    if not is_free(directory, plain_grid):
        return resume_sweep(multirun, directory, spec)
    if settings.controller == "embedded":
        refuse_orphaned_journal(directory)
    point = make_search(spec, seed=settings.seed or 0, plain_grid=plain_grid).draw(0) or {}
    if plain_grid is None:
        check_composition(multirun, spec)
    else:  # Hydra reports what is wrong
        multirun.loader.load_sweep_config(config, format_overrides(multirun.line.slots, point))

    hosted = None
    if settings.controller == "wandb":  # last, since nothing removes a sweep from W&B again
        sweep_id, hosted = _create_at_wandb(spec)
        directory = multirun.find_directory(sweep_id)
    snapshot = multirun.find_sources()
    record = multirun.describe_launch(sweep_id, snapshot, plain_grid=plain_grid, hosted=hosted)
    if not write_sweep(directory, config, snapshot, record, spec):
        return resume_sweep(multirun, directory, spec)
    return make_prepared_sweep(config, directory, record, spec, joined=False)


def _create_at_wandb(spec: SweepSpec) -> tuple[str, HostedPlace]:
    from wandbsweep.controllers.hosted.create import start_hosted_sweep

    made = start_hosted_sweep(spec)
    return made.sweep_id, HostedPlace(made.entity, made.project)
