"""Taps: where in each block of a vision transformer a feature is read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from alignedcut_cli.errors import UnavailableError

__all__ = ["TAPS", "read_taps"]

Store = Callable[[Tensor], None]


class _Done(Exception):
    """Every wanted layer has been read: the rest of the forward pass is not needed."""


def _hook_output(module: nn.Module, store: Store, pick: Callable[[Tensor], Tensor] | None = None) -> Any:
    def read(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        store(pick(output) if pick else output)

    return module.register_forward_hook(read)


def _tap_attn(block: Any, store: Store) -> Any:
    """The attention sub-layer's contribution to the residual stream: after LayerScale, before the addition."""
    if hasattr(block, "ls_1"):
        return _hook_output(block.ls_1, store)
    return _hook_output(block.drop_path1, store)


def _tap_mlp(block: Any, store: Store) -> Any:
    """The MLP's contribution to the residual stream: after LayerScale, before the addition."""
    if hasattr(block, "ls_2"):
        return _hook_output(block.ls_2, store)
    return _hook_output(block.drop_path2, store)


def _tap_block(block: nn.Module, store: Store) -> Any:
    """The residual stream after the block."""
    return _hook_output(block, store)


def _tap_projection(part: int, block: Any, store: Store) -> Any:
    """q, k or v as the block's projection gives it, heads side by side, before any normalisation or rotation."""
    attention = block.attn
    if isinstance(attention, nn.MultiheadAttention):
        weight, bias = attention.in_proj_weight, attention.in_proj_bias
        return _hook_output(
            block.ln_1, store, lambda normed: nn.functional.linear(normed, weight, bias).chunk(3, -1)[part]
        )
    if getattr(attention, "qkv", None) is None:
        return _hook_output((attention.q_proj, attention.k_proj, attention.v_proj)[part], store)
    if getattr(attention, "q_bias", None) is None:
        return _hook_output(attention.qkv, store, lambda fused: fused.chunk(3, -1)[part])
    bias = torch.cat([attention.q_bias, attention.k_bias, attention.v_bias])
    weight = attention.qkv.weight

    def read(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        store(nn.functional.linear(inputs[0], weight, bias).chunk(3, -1)[part])

    return attention.register_forward_pre_hook(read)


TAPS: dict[str, Callable[[Any, Store], Any]] = {
    "attn": _tap_attn,
    "block": _tap_block,
    "mlp": _tap_mlp,
    "q": partial(_tap_projection, 0),
    "k": partial(_tap_projection, 1),
    "v": partial(_tap_projection, 2),
}


def read_taps(
    forward: Callable[[Tensor], Any], blocks: Sequence[nn.Module], layers: Sequence[int], tap: str, images: Tensor
) -> list[Tensor]:
    """The tapped features of the wanted layers for a batch, in the order of `layers` (ascending): each (B, tokens, D).

    The forward pass ends with the last wanted block. Raises UnavailableError if a block has no such tap.
    """
    found: dict[int, Tensor] = {}
    with ExitStack() as hooks:
        for layer in layers:
            try:
                hook = TAPS[tap](blocks[layer], partial(found.__setitem__, layer))
            except AttributeError:
                raise _no_tap(blocks[layer], tap, layer) from None
            hooks.callback(hook.remove)
        hooks.callback(blocks[layers[-1]].register_forward_hook(_stop_forward).remove)
        with suppress(_Done):
            forward(images)
    for layer in layers:
        if layer not in found:
            raise _no_tap(blocks[layer], tap, layer)
    return [found[layer] for layer in layers]


def _stop_forward(_module: nn.Module, _inputs: Any, _output: Tensor) -> None:
    raise _Done


def _no_tap(block: nn.Module, tap: str, layer: int) -> UnavailableError:
    return UnavailableError(
        "tap-missing", f"layer {layer} ({type(block).__name__}) has no tap {tap!r}", "Choose another --tap or --model"
    )


def patch_tokens(features: Tensor, class_token: bool, prefix: int) -> Tensor:
    """Class token first, then the patches, without register tokens: (B, 1 + patches, D) or (B, patches, D)."""
    if class_token and prefix == 1:
        return features
    patches = features[:, prefix:]
    return torch.cat([features[:, :1], patches], 1) if class_token else patches
