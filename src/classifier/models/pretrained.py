"""Pretrained weights: torchvision's by name, or from a file, which may be a checkpoint of an earlier training."""

from __future__ import annotations

import logging
import pickle
import re
import warnings
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.vision_transformer import interpolate_embeddings

from classifier.models.heads import find_head
from classifier.models.vision import find_first_convolution, fold_channels

log = logging.getLogger(__name__)

State = dict[str, Tensor]

_WRAPPERS = ("state_dict", "model_state_dict", "model")
"""Keys under which trainings keep a network's state in their checkpoints."""

_AUXILIARY = ("AuxLogits.", "aux1.", "aux2.")
"""Classifiers that only torchvision's own training of inception_v3 and googlenet had."""

# What NumPy's arrays are pickled with: a checkpoint of ours holds the state of its generator.
_TRUSTED: list[Any] = [numpy.ndarray, numpy.dtype, type(numpy.dtype("uint32")), numpy.empty(0).__reduce__()[0]]


def read_weights(source: str, *, name: str | None) -> State:
    """Read the tensors of a file, or download pretrained weights of torchvision.

    Args:
        source: A path; or the name of weights, as ``DEFAULT``, ``IMAGENET1K_V2`` or ``ResNet50_Weights.IMAGENET1K_V2``.
        name: The architecture in torchvision; None: another network, which has no weights there.

    Raises:
        ValueError: There is no such file and there are no such weights, or the file holds something else.
        OSError: The weights cannot be downloaded.
    """
    path = Path(source).expanduser()
    if path.is_file():
        return _read_file(path)
    known = "torchvision has no weights for this model"
    if name is not None:
        enum = torchvision.models.get_model_weights(name)
        prefix, _, member = source.rpartition(".")
        if member in enum.__members__ and prefix in ("", enum.__name__):
            return _download(enum[member])
        known = f"torchvision's weights for {name} are {', '.join(enum.__members__) or 'none'}"
    raise ValueError(f"The value of `model.weights` is {source!r}: there is no file {path.absolute()}, and {known}")


def load_weights(network: nn.Module, state: State, *, source: str) -> None:
    """Copy pretrained weights into a network. A head for other classes is left out, and the log says so.

    Args:
        network: What gets the weights.
        state: What ``read_weights`` returned.
        source: Its name in messages.

    Raises:
        ValueError: The backbone is another one; the message lists all differences.
    """
    own: State = network.state_dict()
    name = find_head(network)[0]
    head = f"{name}." if name else ""  # a network may be a single layer
    found = _adapt(_rename(state, own), network, own)
    fitting = {key for key in own if key in found and found[key].shape == own[key].shape}
    differences = {
        "missing": [key for key in own if key not in found and not key.endswith("num_batches_tracked")],
        "unknown": [key for key in found if key not in own],
        "of another shape": [key for key in own if key in found and key not in fitting],
    }
    for kind, keys in differences.items():
        differences[kind] = [_describe(key, found, own) for key in keys if not key.startswith(head)]
    if any(differences.values()):
        listed = "; ".join(f"{len(keys)} {kind}: {_shorten(keys)}" for kind, keys in differences.items() if keys)
        raise ValueError(f"The value of `model.weights` is {source!r}, whose weights are of another network: {listed}")
    with_head = all(key in fitting for key in own if key.startswith(head))
    with torch.no_grad():
        for key in fitting:
            if with_head or not key.startswith(head):
                own[key].copy_(found[key])
    log.info("Weights: %s%s", source, "" if with_head else f", without its head ({name}), which does not fit")


def _read_file(path: Path) -> State:
    try:
        with torch.serialization.safe_globals(_TRUSTED), warnings.catch_warnings(action="ignore"):
            found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        unsafe = _find_unsafe(path)
        reason = f"it holds objects of {', '.join(unsafe)}" if unsafe else str(error).splitlines()[0]
        raise ValueError(
            f"The weights in {path} are not loaded: {reason}. Only tensors and plain values are read from a file; "
            "save the state_dict alone: torch.save(model.state_dict(), path)"
        ) from error
    except (RuntimeError, EOFError, OSError) as error:
        raise ValueError(
            f"The weights in {path} are not loaded: it is damaged, or no file of torch: {error}"
        ) from error
    for key in _WRAPPERS:
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    state = {key: value for key, value in found.items() if isinstance(value, Tensor)} if isinstance(found, dict) else {}
    if not state:
        raise ValueError(f"There are no weights in {path}: a dictionary of tensors is expected, a network's state_dict")
    return state


def _find_unsafe(path: Path) -> list[str]:
    try:
        return torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except (RuntimeError, ValueError, pickle.UnpicklingError):  # an old format
        return []


def _download(weights: Any) -> State:
    target = Path(torch.hub.get_dir(), "checkpoints", weights.url.rpartition("/")[2])
    try:
        state: State = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except OSError as error:  # URLError is one
        raise OSError(
            f"{weights} cannot be downloaded ({error}). Get {weights.url} elsewhere and put it to {target}, "
            "or name a file in `model.weights`"
        ) from error
    except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise ValueError(
            f"The file {target} of {weights} is damaged ({error}). Remove it if it is there, and try again"
        ) from error
    return state


def _rename(state: State, own: State) -> State:
    """Return the state under the network's names: without what a training or a wrapper has put in front of them."""
    # torchvision's files of DenseNets have older names, which it also renames.
    state = {re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2.", key): state[key] for key in state}
    prefixes = {prefix for key in state for prefix in accumulate(re.findall(r"[^.]+\.", key))} | {""}
    # Of equally good ones the averaged weights, which are what was evaluated.
    best = max(sorted(prefixes), key=lambda prefix: (sum(prefix + key in state for key in own), "ema" in prefix))
    return {key[len(best) :]: value for key, value in state.items() if key.startswith(best)}


def _adapt(state: State, network: nn.Module, own: State) -> State:
    """Return the state for images of another size or with another number of channels."""
    state = {key: value for key, value in state.items() if key in own or not key.startswith(_AUXILIARY)}
    if isinstance(network, torchvision.models.VisionTransformer) and "encoder.pos_embedding" in state:
        state = dict(interpolate_embeddings(network.image_size, network.patch_size, state))
    if (convolution := find_first_convolution(network)) is not None:
        key = f"{convolution[0]}.weight"
        if key in state and state[key].ndim == 4 and state[key].shape[1] == 3 != own[key].shape[1]:
            state[key] = fold_channels(state[key], own[key].shape[1])
    return state


def _describe(key: str, found: State, own: State) -> str:
    if key in found and key in own:
        return f"{key} {tuple(found[key].shape)} instead of {tuple(own[key].shape)}"
    return key


def _shorten(keys: Sequence[str], most: int = 4) -> str:
    return ", ".join(keys[:most]) + (f" and {len(keys) - most} more" if len(keys) > most else "")
