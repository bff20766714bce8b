"""``check_values``: refuses values of the configuration that are out of their range, before anything is computed."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf


@dataclass(frozen=True)
class Rule:
    """What a value must be: in words, and as a test."""

    words: str
    accepts: Callable[[Any], bool]

    def __or__(self, other: Rule) -> Rule:
        return Rule(f"{self.words}, or {other.words}", lambda value: bool(self.accepts(value) or other.accepts(value)))


def _whole(least: int, most: float = math.inf) -> Rule:
    words = f"a whole number >= {least}" + (f" and <= {most}" if most < math.inf else "")
    return Rule(words, lambda value: type(value) is int and least <= value <= most)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _is_device_choice(value: Any) -> bool:
    numbers = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else [value]
    return value in (-1, "-1", "auto") or (
        numbers != [value] and all(str(number).strip().isdigit() for number in numbers)
    )


def _one_of(*choices: Any) -> Rule:
    words = " or ".join("null" if choice is None else str(choice).lower() for choice in choices)
    return Rule(words, lambda value: any(type(value) is type(choice) and value == choice for choice in choices))


def _each(rule: Rule, count: int | None = None) -> Rule:
    """A list whose values all follow ``rule``."""
    words = f"a list{f' of {count}' if count else ''}, each {rule.words}"
    return Rule(
        words,
        lambda value: (
            isinstance(value, Sequence)
            and not isinstance(value, str)
            and count in (None, len(value))
            and all(map(rule.accepts, value))
        ),
    )


NULL = _one_of(None)
FLAG = _one_of(True, False)
POSITIVE = Rule("a number > 0", lambda value: _is_number(value) and value > 0)
NOT_NEGATIVE = Rule("a number >= 0", lambda value: _is_number(value) and value >= 0)
BELOW_1 = Rule("a number >= 0 and < 1", lambda value: _is_number(value) and 0 <= value < 1)
INSIDE_0_1 = Rule("a number > 0 and < 1", lambda value: _is_number(value) and 0 < value < 1)
SHARE = Rule("a number > 0 and <= 1", lambda value: _is_number(value) and 0 < value <= 1)
NUMBER = Rule("a number", _is_number)
SEED = _whole(0, 2**32 - 1)
# Lightning takes 1.0 for all batches, and 1 for one.
BATCHES = Rule("a whole number of batches >= 1", _whole(1).accepts) | Rule(
    "a fraction of them > 0 and <= 1.0", lambda value: type(value) is float and 0 < value <= 1
)
DURATION = Rule(
    "a time such as 00:01:30:00 (days:hours:minutes:seconds)",
    lambda value: isinstance(value, str) and re.fullmatch(r"\d+(:\d+){3}", value) is not None,
)
IMAGES = Rule("a number of images >= 0", lambda value: _is_number(value) and value >= 0 and value % 1 == 0) | Rule(
    "a fraction of them below 1", BELOW_1.accepts
)

RULES: dict[str, Rule] = {
    "seed": SEED,
    "test": FLAG,
    "report_every_n_steps": _whole(1) | NULL,
    "checkpoint_every_s": NOT_NEGATIVE,
    "misclassified": _whole(0),
    "print_config": FLAG,
    "model.hidden": _each(_whole(1)),
    "model.channels": _each(_whole(1)),
    "model.width": POSITIVE,
    "model.dropout": BELOW_1,
    "model.image_size": _whole(1) | NULL,
    "module.ema": INSIDE_0_1 | NULL,
    "module.label_smoothing": BELOW_1,
    "optimizer.lr": NOT_NEGATIVE,
    "optimizer.head_lr": POSITIVE | NULL,
    "optimizer.weight_decay": NOT_NEGATIVE,
    "optimizer.decay_norms_and_biases": FLAG,
    "optimizer.betas": _each(BELOW_1, 2),
    "optimizer.momentum": BELOW_1,
    "optimizer.nesterov": FLAG,
    "scheduler.div_factor": POSITIVE,
    "scheduler.final_div_factor": POSITIVE,
    "scheduler.cycle_momentum": FLAG,
    "scheduler.base_momentum": BELOW_1,
    "scheduler.max_momentum": BELOW_1,
    "trainer.max_epochs": _whole(1) | _one_of(-1, None),
    "trainer.max_steps": _whole(1) | _one_of(-1),
    "trainer.devices": _whole(1) | Rule("-1, auto or a list of devices", _is_device_choice),
    "trainer.num_nodes": _whole(1),
    "trainer.gradient_clip_val": NOT_NEGATIVE | NULL,
    "trainer.accumulate_grad_batches": _whole(1),
    "trainer.limit_train_batches": BATCHES | NULL,
    "trainer.limit_val_batches": BATCHES | _one_of(0, 0.0, None),
    "trainer.limit_test_batches": BATCHES | _one_of(0, 0.0, None),
    "trainer.fast_dev_run": FLAG | _whole(0),
    "trainer.check_val_every_n_epoch": _whole(1) | NULL,
    "trainer.val_check_interval": BATCHES | DURATION | NULL,
    "trainer.num_sanity_val_steps": _whole(-1),
    "trainer.log_every_n_steps": _whole(0),
    "trainer.enable_checkpointing": FLAG,
    "trainer.enable_progress_bar": FLAG,
    "trainer.enable_model_summary": FLAG,
    "trainer.use_distributed_sampler": FLAG,
    "compute.threads": _whole(1) | NULL,
    "data.batch_size": _whole(1),
    "data.eval_batch_size": _whole(1) | NULL,
    "data.val_size": IMAGES,
    "data.test_size": IMAGES,
    "data.limit_train": _whole(1) | NULL,
    "data.drop_last": FLAG,
    "data.seed": SEED,
    "data.split_seed": SEED,
    "data.mean": _each(NUMBER) | NULL,
    "data.std": _each(POSITIVE) | NULL,
    "data.download": FLAG,
    "data.num_workers": _whole(0),
    "data.channels": _one_of(1, 3),
    "data.image_size": _whole(1) | NULL,
    "data.resize": _whole(1) | NULL,
    "data.min_scale": SHARE,
    "data.memory_limit_mib": NOT_NEGATIVE,
    "data.augment.crop_padding": _whole(0),
    "data.augment.cutout": _whole(0),
    "data.augment.mixup": Rule("a number >= 0 and < 1e6", lambda value: _is_number(value) and 0 <= value < 1e6),
    "callbacks.early_stopping.patience": _whole(0),
    "callbacks.early_stopping.min_delta": NOT_NEGATIVE,
    "callbacks.progress_bar.leave": FLAG,
}
"""Numbers and switches of ``conf/``. Choices of words are checked where they are used, and so is what depends on the
data or on the length of the training, such as ``scheduler.warmup_steps``."""

_KNOWN = ("classifier.", "lightning.", "torch.")
"""Packages whose options have these meanings; a model, a data set or a callback of your own has its own."""


def check_values(cfg: DictConfig) -> None:
    """Check the values for which there is a rule.

    Raises:
        ValueError: A value breaks its rule, or fits no other value.
    """
    for key, rule in RULES.items():
        group, _, name = key.rpartition(".")
        options = OmegaConf.select(cfg, group) if group else cfg
        if not OmegaConf.is_dict(options) or name not in options or not _is_known(options):
            continue
        value = options[name]
        value = OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
        if not rule.accepts(value):
            raise ValueError(f"The value of `{key}` is {_show(value)}, but must be {rule.words}")
    average, precision = OmegaConf.select(cfg, "module.ema"), str(cfg.trainer.get("precision"))
    if average is not None and precision in ("16-true", "bf16-true"):
        raise ValueError(
            f"The value of `module.ema` is {average}, but must be null with trainer.precision={precision}: weights of "
            "16 bits have too few digits for an average"
        )


def _is_known(options: DictConfig) -> bool:
    target = options.get("_target_")
    return target is None or str(target).startswith(_KNOWN)


def _show(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
