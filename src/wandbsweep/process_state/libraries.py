"""The settings of libraries that belong to the whole process."""

from __future__ import annotations

import gc
import sys
from collections.abc import Hashable
from typing import Any, Final

from wandbsweep.process_state.parts import ABSENT, ModuleSettings, Part, make_attributes, make_functions


class MatplotlibStyle:
    """What figures look like by default."""

    name = "matplotlib.rcParams"

    def read(self) -> dict[Hashable, Any]:
        params = getattr(sys.modules.get("matplotlib"), "rcParams", None)
        # Reading the backend chooses one.
        return {} if params is None else {name: value for name, value in dict.items(params) if name != "backend"}

    def write(self, item: Hashable, value: Any) -> None:
        if value is not ABSENT:
            sys.modules["matplotlib"].rcParams[item] = value


class Figures:
    """The open figures of pyplot."""

    name = "figure"

    def read(self) -> dict[Hashable, Any]:
        pyplot: Any = sys.modules.get("matplotlib.pyplot")
        return dict.fromkeys(pyplot.get_fignums(), True) if hasattr(pyplot, "get_fignums") else {}

    def write(self, item: Hashable, value: Any) -> None:
        if value is ABSENT:
            sys.modules["matplotlib.pyplot"].close(item)


class Jax:
    """JAX's configuration."""

    name = "jax.config"

    def read(self) -> dict[Hashable, Any]:
        return dict(getattr(getattr(sys.modules.get("jax"), "config", None), "values", {}))

    def write(self, item: Hashable, value: Any) -> None:
        if value is not ABSENT:
            sys.modules["jax"].config.update(item, value)


class InductorOptions:
    """The options of the compiler behind ``torch.compile``: hundreds, of which a hash is quicker to read."""

    name = "torch._inductor"

    def __init__(self) -> None:
        self._saved: dict[Hashable, Any] = {}

    def read(self) -> dict[Hashable, Any]:
        config: Any = sys.modules.get("torch._inductor.config")
        if not hasattr(config, "get_hash"):
            return {}
        value = config.get_hash()
        if value not in self._saved:
            self._saved[value] = config.save_config()
        return {"config": value}

    def write(self, item: Hashable, value: Any) -> None:
        if value is not ABSENT:
            sys.modules["torch._inductor.config"].load_config(self._saved[value])


PARTS: Final[tuple[Part, ...]] = (
    ModuleSettings(
        "numpy",
        {
            "errors": (lambda numpy: numpy.geterr(), lambda numpy, value: numpy.seterr(**value)),
            "print options": (
                lambda numpy: numpy.get_printoptions(),
                lambda numpy, value: numpy.set_printoptions(**value),
            ),
        },
    ),
    ModuleSettings(
        "torch",
        {
            **make_attributes("backends.fp32_precision", "backends.cuda.matmul.fp32_precision"),
            **make_attributes("backends.cudnn.conv.fp32_precision", "backends.cudnn.rnn.fp32_precision"),
            **make_attributes("backends.cuda.matmul.allow_tf32", "backends.cudnn.allow_tf32"),
            **make_attributes("backends.cudnn.benchmark", "backends.cudnn.deterministic", "backends.cudnn.enabled"),
            **make_attributes("backends.cuda.matmul.allow_fp16_reduced_precision_reduction"),
            **make_attributes("backends.cuda.matmul.allow_bf16_reduced_precision_reduction"),
            **make_attributes("backends.cuda.matmul.allow_fp16_accumulation", "backends.cudnn.benchmark_limit"),
            **make_attributes("backends.mkldnn.enabled", "backends.mkldnn.deterministic"),
            **make_attributes("backends.mkldnn.matmul.fp32_precision", "backends.mkldnn.conv.fp32_precision"),
            **make_attributes("backends.mkldnn.rnn.fp32_precision", "utils.deterministic.fill_uninitialized_memory"),
            **make_functions(get_float32_matmul_precision="set_float32_matmul_precision"),
            **make_functions(get_default_dtype="set_default_dtype", is_grad_enabled="set_grad_enabled"),
            **make_functions(get_deterministic_debug_mode="set_deterministic_debug_mode"),
            **make_functions(get_num_threads="set_num_threads", get_num_interop_threads="set_num_interop_threads"),
            "default device": (
                lambda torch: str(torch.get_default_device()),
                lambda torch, value: torch.set_default_device(None if value == "cpu" else value),
            ),
            "anomaly detection": (
                lambda torch: (torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()),
                lambda torch, value: torch.autograd.set_detect_anomaly(*value),
            ),
            "GPU": (
                lambda torch: torch.cuda.current_device() if torch.cuda.is_initialized() else 0,
                lambda torch, value: torch.cuda.set_device(value),
            ),
            "autocast": (
                lambda torch: tuple(torch.is_autocast_enabled(device) for device in ("cpu", "cuda")),
                lambda torch, value: [
                    torch.set_autocast_enabled(d, v) for d, v in zip(("cpu", "cuda"), value, strict=True)
                ],
            ),
            "sharing strategy": (
                lambda torch: torch.multiprocessing.get_sharing_strategy(),
                lambda torch, value: torch.multiprocessing.set_sharing_strategy(value),
            ),
        },
    ),
    ModuleSettings(
        "torch.backends.cuda",
        make_functions(
            flash_sdp_enabled="enable_flash_sdp",
            mem_efficient_sdp_enabled="enable_mem_efficient_sdp",
            math_sdp_enabled="enable_math_sdp",
            cudnn_sdp_enabled="enable_cudnn_sdp",
        ),
    ),
    ModuleSettings("torch._dynamo.config", make_functions(get_config_copy="load_config")),
    InductorOptions(),
    ModuleSettings(
        "sklearn", {"config": (lambda module: module.get_config(), lambda module, value: module.set_config(**value))}
    ),
    ModuleSettings("keras.config", make_functions(floatx="set_floatx", dtype_policy="set_dtype_policy")),
    # A second ray.init() or mlflow.start_run() would raise.
    ModuleSettings(
        "ray", {"session": (lambda ray: ray.is_initialized(), lambda ray, is_open: None if is_open else ray.shutdown())}
    ),
    ModuleSettings(
        "mlflow",
        {"run": (lambda mlflow: bool(mlflow.active_run()), lambda mlflow, is_open: is_open or mlflow.end_run())},
    ),
    MatplotlibStyle(),
    Figures(),
    Jax(),
)


def release_memory() -> None:
    """Release the GPU memory that a trial no longer uses, and let torch forget the models that it has compiled."""
    dynamo: Any = sys.modules.get("torch._dynamo")
    if hasattr(dynamo, "reset"):
        dynamo.reset()
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    if cuda is not None and cuda.is_initialized():
        gc.collect()
        cuda.empty_cache()
        cuda.reset_peak_memory_stats()
