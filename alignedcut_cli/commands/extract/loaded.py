"""The model that a process has loaded: kept for the next task that wants the same weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from alignedcut_cli.store.canonical import digest

if TYPE_CHECKING:
    import torch

    from alignedcut_cli.backbones.load import Backbone, WeightsFile

__all__ = ["loaded"]


@dataclass(frozen=True)
class _Wanted:
    """A model with its weights on a device; `identity` is all that tells it from others."""

    identity: str
    device: torch.device
    backbone: Backbone = field(compare=False)
    weights: WeightsFile = field(compare=False)


def loaded(backbone: Backbone, weights: WeightsFile, known: str, device: torch.device) -> Backbone:
    """A planned model with its weights, whose digest is `known`; the one that is loaded already if it is the same."""
    about = [backbone.id.label, backbone.resolved, backbone.preprocess.as_object(), backbone.choices, known]
    return _load(_Wanted(digest(about), device, backbone, weights))


@lru_cache(maxsize=1)
def _load(wanted: _Wanted) -> Backbone:
    return wanted.backbone.load(wanted.weights, wanted.device)
