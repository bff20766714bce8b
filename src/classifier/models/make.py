"""``make_network``: the network that ``conf/model`` describes, with its pretrained weights."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from omegaconf import DictConfig
from torch import nn

from classifier.instantiate import detach, instantiate
from classifier.models.heads import freeze_backbone
from classifier.models.pretrained import State, load_weights, read_weights

log = logging.getLogger(__name__)


def make_network(config: DictConfig, *, input_shape: Sequence[int], classes: int) -> nn.Module:
    """Make the network that a configuration describes, whoever has written its ``_target_``.

    ``weights`` and ``freeze`` are read here; everything else goes to the target.

    Args:
        config: ``cfg.model``.
        input_shape: Channels, height and width of an image.
        classes: The number of logits.

    Raises:
        ValueError: An unknown value, or weights that are not those of this network.
        OSError: The weights cannot be downloaded.
    """
    options = detach(config)
    source, freeze = options.pop("weights", None), options.pop("freeze", None)
    if freeze not in (None, "backbone"):
        raise ValueError(f"The value of `model.freeze` is {freeze!r}; the choices are null and backbone")
    state = read_weights(str(source), name=options.get("name")) if source else None
    if state and options.get("stem") == "auto":
        options["stem"] = _find_stem(state)
    network: nn.Module = instantiate(options, _partial_=True)(input_shape=input_shape, classes=classes)
    if state:
        load_weights(network, state, source=str(source))
    if freeze:
        if not state:
            log.warning("model.freeze=backbone without model.weights: the backbone keeps its random weights.")
        freeze_backbone(network)
    return network


def _find_stem(state: State) -> str:
    """Return the stem of the ResNet whose weights these are; ``auto`` if they are of another network."""
    first = next((value for value in state.values() if value.ndim == 4), None)
    return "auto" if first is None else {3: "small", 7: "imagenet"}.get(first.shape[-1], "auto")
