"""The state of the interpreter and of the standard library."""

from __future__ import annotations

import gc
import logging
import warnings
from collections.abc import Hashable
from typing import Any, Final

from wandbsweep.process_state.parts import ABSENT, ModuleSettings, Part, make_attributes, make_functions, make_lists


def _set_collecting(gc_module: Any, enabled: bool) -> None:
    gc_module.enable() if enabled else gc_module.disable()


def _write_filters(module: Any, value: Any) -> None:
    module.filters[:] = value
    with warnings.catch_warnings():  # which makes Python forget what it has decided by other filters
        pass


class Logging:
    """Levels, handlers and filters of all loggers. A logger without any is left out."""

    name = "logging"
    _DEFAULTS: Final[dict[str, Any]] = {
        "level": logging.NOTSET,
        "handlers": (),
        "filters": (),
        "propagate": True,
        "disabled": False,
    }

    def read(self) -> dict[Hashable, Any]:
        found: dict[Hashable, Any] = {("", "disable"): logging.root.manager.disable}
        for name, logger in [("", logging.root), *logging.root.manager.loggerDict.items()]:
            if isinstance(logger, logging.Logger):
                for item, default in self._DEFAULTS.items():
                    value = getattr(logger, item)
                    value = tuple(value) if isinstance(value, list) else value
                    if value != default:
                        found[name, item] = value
        return found

    def write(self, item: Hashable, value: Any) -> None:
        assert isinstance(item, tuple)
        name, attribute = item
        if attribute == "disable":
            logging.disable(value)
            return
        logger = logging.getLogger(name) if name else logging.root
        value = self._DEFAULTS[attribute] if value is ABSENT else value
        if attribute == "level":
            logger.setLevel(value)  # and not the attribute alone: loggers remember what is enabled
        elif attribute == "handlers":
            removed = [handler for handler in logger.handlers if handler not in value]
            logger.handlers[:] = value
            for handler in removed:
                handler.close()
        elif attribute == "filters":
            logger.filters[:] = value
        else:
            setattr(logger, attribute, value)


PARTS: Final[tuple[Part, ...]] = (
    # First, so that a filter of the trial does not turn what follows into errors.
    ModuleSettings(
        "warnings",
        {
            **make_attributes("filters", "showwarning", "_showwarnmsg_impl", "formatwarning"),
            "filters[:]": (lambda module: tuple(module.filters), _write_filters),
        },
    ),
    ModuleSettings(
        "sys",
        {
            **make_attributes("stdin", "stdout", "stderr", "displayhook", "excepthook", "unraisablehook"),
            **make_attributes("argv", "path", "meta_path", "path_hooks"),
            **make_lists("argv", "path", "meta_path", "path_hooks"),
            **make_functions(getrecursionlimit="setrecursionlimit", getswitchinterval="setswitchinterval"),
            **make_functions(gettrace="settrace", getprofile="setprofile"),
        },
    ),
    ModuleSettings("threading", make_attributes("excepthook")),
    ModuleSettings("tempfile", make_attributes("tempdir")),
    ModuleSettings("socket", make_functions(getdefaulttimeout="setdefaulttimeout")),
    ModuleSettings(
        "gc",
        {
            "isenabled": (lambda module: module.isenabled(), _set_collecting),
            "threshold": (lambda module: gc.get_threshold(), lambda module, value: gc.set_threshold(*value)),
        },
    ),
    ModuleSettings(
        "locale", {"locale": (lambda m: m.setlocale(m.LC_ALL), lambda m, value: m.setlocale(m.LC_ALL, value))}
    ),
    ModuleSettings(
        "multiprocessing",
        {
            "start method": (
                lambda module: module.get_start_method(allow_none=True),
                lambda module, value: module.set_start_method(value, force=True),
            )
        },
    ),
    # A new policy has no event loop, neither a closed one nor the none that asyncio.run leaves.
    ModuleSettings("asyncio.events", make_attributes("_event_loop_policy")),
    ModuleSettings(
        "logging", make_functions(getLoggerClass="setLoggerClass", getLogRecordFactory="setLogRecordFactory")
    ),
    Logging(),
)
