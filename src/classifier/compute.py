"""How the machine computes: threads, float32's precision, the memory format, and ``torch.compile``."""

from __future__ import annotations

import logging
import os
import shutil
import sysconfig
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from omegaconf import DictConfig
from torch import Tensor, nn
from torch._dynamo.callback import callback_handler

log = logging.getLogger(__name__)

CompileMode = Literal["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"]
MatmulPrecision = Literal["highest", "high", "medium"]
_DETERMINISTIC = (None, False, True, "warn")


@dataclass(frozen=True)
class Compute:
    """The options of ``cfg.compute``, checked."""

    channels_last: bool = False
    compile: bool | CompileMode = False
    dynamic_batch: bool = True
    float32_matmul_precision: MatmulPrecision | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        for name in ("channels_last", "dynamic_batch"):
            _require(name, getattr(self, name), (False, True))
        _require("compile", self.compile, (False, True, *get_args(CompileMode)))
        _require("float32_matmul_precision", self.float32_matmul_precision, (None, *get_args(MatmulPrecision)))

    @property
    def mode(self) -> CompileMode | None:
        """The mode of ``torch.compile``; None: do not compile."""
        return "default" if self.compile is True else self.compile or None


def prepare_process(cfg: DictConfig) -> Compute:
    """Set what belongs to the whole process, before the training touches a GPU; an agent restores it after the trial.

    Raises:
        ValueError: An option is invalid, or the machine cannot compile.
    """
    unknown = set(cfg.get("compute") or {}) - set(Compute.__dataclass_fields__)
    if unknown:
        raise ValueError(
            f"Unknown key(s) of `compute`: {', '.join(map(str, sorted(unknown)))}. Valid keys are "
            f"{', '.join(Compute.__dataclass_fields__)}"
        )
    compute = Compute(**(cfg.get("compute") or {}))
    if not torch.cuda.is_available():
        # Lightning has torch look for GPUs by NVML, in every optimization step: without one, for 0.1 ms.
        os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "0"
    deterministic = cfg.trainer.get("deterministic")
    _require("deterministic", deterministic, _DETERMINISTIC, group="trainer")
    if deterministic:
        _make_cublas_deterministic()
    if compute.threads is not None:
        torch.set_num_threads(compute.threads)
    if compute.float32_matmul_precision is not None:
        torch.set_float32_matmul_precision(compute.float32_matmul_precision)
    if compute.mode:
        _require_compiler()
    return compute


def _require(name: str, value: Any, choices: tuple[Any, ...], *, group: str = "compute") -> None:
    if not any(type(value) is type(choice) and value == choice for choice in choices):
        valid = ", ".join(map(_format, choices))
        raise ValueError(f"The value of `{group}.{name}` is {_format(value)}; the choices are {valid}")


def _format(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _make_cublas_deterministic() -> None:
    """Set the workspace that cuBLAS needs to be deterministic. It reads the variable when it is first used."""
    name = "CUBLAS_WORKSPACE_CONFIG"
    if name not in os.environ and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        log.warning(
            "trainer.deterministic: this process has used its GPU before, without %s=:4096:8, so matrix products may "
            "still differ between runs. Set the variable before the start, or use hydra.sweeper.isolation=process.",
            name,
        )
    os.environ.setdefault(name, ":4096:8")


def _require_compiler() -> None:
    """Raise ValueError if torch's inductor could not build code here: it would say so in a hundred lines."""
    compilers = [os.environ["CXX"]] if "CXX" in os.environ else ["g++", "clang++"]
    headers = Path(sysconfig.get_path("include"), "Python.h")
    if torch.cuda.is_available():  # Triton's own compiler builds the kernels, and only a C compiler its launchers
        compilers = [os.environ["CC"]] if "CC" in os.environ else ["gcc", "clang", "cc"]
    if not any(map(shutil.which, compilers)):
        missing = f"the compiler {' or '.join(compilers)}"
    elif not headers.exists():
        missing = f"Python's headers ({headers}; the package python3-dev)"
    else:
        return
    raise ValueError(f"`compute.compile` needs {missing}, which this machine lacks: install it, or set it to false")


def prepare_module(module: LightningModule, network: nn.Module, compute: Compute) -> None:
    """Change the memory format of ``network``, and of a copy with averaged weights, and compile both, in place.

    The keys of their state and their classes stay the same, so that a checkpoint can be loaded with other options.

    Args:
        module: Its ``forward`` calls ``network``, or the copy, if any, in ``module.ema``.
        network: Takes images ``(n, channels, height, width)``.
        compute: The options.
    """
    for each in filter(None, (network, getattr(module, "ema", None))):
        if compute.channels_last:
            each.to(memory_format=torch.channels_last)
            each.register_forward_pre_hook(_use_channels_last)
        if compute.mode:
            each.compile(mode=compute.mode, dynamic=None if compute.dynamic_batch else False)
    if compute.mode and compute.dynamic_batch:
        module.register_forward_pre_hook(_mark_batch)  # of `module`, since what `network` does is compiled


def _use_channels_last(network: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    images, *rest = arguments
    return (images.contiguous(memory_format=torch.channels_last) if images.ndim == 4 else images, *rest)


def _mark_batch(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
    """Let ``torch.compile`` make code for any number of images; without it, it does so only for the second number."""
    torch._dynamo.maybe_mark_dynamic(arguments[0], 0)


def find_image_dtype(precision: str) -> torch.dtype:
    """Return the type in which a network takes its images under Lightning's ``trainer.precision``."""
    kinds = {"bf16": torch.bfloat16, "16": torch.float16, "64": torch.float64}
    return kinds.get(str(precision).partition("-")[0], torch.float32)


class CompileTimer(Callback):
    """Logs the seconds that ``torch.compile`` has taken, if any: a line each time, ``compile_seconds`` per epoch."""

    def __init__(self) -> None:
        self.seconds = 0.0
        """In all."""
        self.count = 0
        """How many times something was compiled."""
        self._began = 0.0
        self._listening = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if not self._listening:
            callback_handler.register_start_callback(self._begin)
            callback_handler.register_end_callback(self._end)
            self._listening = True

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self._listening:
            self._listening = False
            with suppress(ValueError):  # torch.compiler.reset() has removed them
                callback_handler.remove_start_callback(self._begin)
                callback_handler.remove_end_callback(self._end)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self.teardown(trainer, pl_module, "fit")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.count:
            pl_module.log("compile_seconds", self.seconds, sync_dist=True, reduce_fx="max")

    def _begin(self, *event: object) -> None:
        self._began = time.perf_counter()

    def _end(self, *event: object) -> None:
        seconds = time.perf_counter() - self._began
        self.seconds, self.count = self.seconds + seconds, self.count + 1
        log.info("torch.compile took %.1f s (compilation %d, %.1f s in all)", seconds, self.count, self.seconds)
