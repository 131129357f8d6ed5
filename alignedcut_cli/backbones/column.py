"""The sequence of blocks of a timm model, and the layout of its tokens on the grid of patches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from alignedcut_cli.backbones.taps import has_attention
from alignedcut_cli.errors import UnavailableError

__all__ = ["Column", "read_column"]

_JOINS_LATER = ("blocks_token_only", "cls_attn_blocks", "local_up_to_layer")
"""Attributes of timm's CaiT, XCiT and ConViT, whose class token joins the patches after all or some blocks."""


@dataclass(frozen=True)
class Column:
    """Blocks on one grid of patches, preceded by `prefix` tokens, the first of which is the class token.

    `class_token` is true if every block has one.
    """

    blocks: list[nn.Module]
    size: int
    grid: tuple[int, int]
    class_token: bool
    prefix: int


def read_column(label: str, tower: Any, size: int | None, config: Mapping[str, Any]) -> Column:
    """The blocks of a timm model, for images of `size` px or of the model's own size.

    Raises UnavailableError, with the reason, for a model that has no attention blocks on one grid of patches.
    """
    strides = sorted({_pair(info["reduction"]) for info in getattr(tower, "feature_info", ())})
    if len(strides) > 1:
        told = ", ".join(str(max(stride)) for stride in strides)
        raise _refused(label, tower, f" on one grid of patches: it has strides of {told} px")
    body = getattr(tower, "encoder", tower)
    blocks: list[nn.Module] = list(getattr(body, "blocks", ()))
    embed = getattr(body, "patch_embed", None) or getattr(body, "pixel_embed", None)
    side = getattr(embed, "img_size", None) or size or config.get("input_size", (None,))[-1]
    if not strides or not blocks or not side:
        raise _refused(label, tower, " that states its blocks, their stride and the size of its images")
    if not all(map(has_attention, blocks)):
        raise _refused(label, tower, ": its blocks have no attention")
    (height, width), (down, across) = _pair(side), strides[0]
    has_class = getattr(tower, "cls_token", None) is not None or getattr(tower, "has_class_token", False)
    return Column(
        blocks=blocks,
        size=height,
        grid=_pair(getattr(embed, "grid_size", None) or (height // down, width // across)),
        class_token=has_class and not any(hasattr(tower, part) for part in _JOINS_LATER),
        prefix=getattr(tower, "num_prefix_tokens", 0),
    )


def _pair(value: Any) -> tuple[int, int]:
    return (int(value[0]), int(value[1])) if isinstance(value, tuple | list) else (int(value), int(value))


def _refused(label: str, tower: Any, reason: str) -> UnavailableError:
    told = f"{label} ({type(tower).__name__}) is no vision transformer{reason}"
    return UnavailableError("not-a-vit", told, "See alignedcut models")
