"""Taps: where in each block of a vision transformer, or of a U-Net's attention, features are read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn

from alignedcut_cli.errors import UnavailableError

__all__ = ["TAPS", "attention_heads", "has_attention", "read_taps"]

Store = Callable[[Tensor], None]
Handles = Sequence[Any]
"""Handles that remove a tap's hooks."""

_INSIDE_WINDOWS = ("attn", "q", "k", "v")


class _Done(Exception):
    """Raised once every wanted tap has been read, to skip the rest of the forward pass."""


class _Untappable(Exception):
    """Raised with the reason why a block has no such tap."""


def has_attention(block: nn.Module) -> bool:
    """Whether a block has attention, under one of the names in timm's blocks."""
    return any(hasattr(block, name) for name in ("attn", "attns", "attn_out", "in_proj"))


def _hook_output(
    module: nn.Module, store: Store, pick: Callable[[Any], Tensor] | None = None, call: int = 0
) -> Handles:
    """Store the output of a module at its call number `call` (from 0) in a forward pass."""
    calls = count()

    def read(_module: nn.Module, _inputs: Any, output: Any) -> None:
        if next(calls) == call:
            store(pick(output) if pick else output)

    return [module.register_forward_hook(read)]


def _hook_sum(modules: Iterable[nn.Module], store: Store) -> Handles:
    """Store the sum of the outputs of parallel modules."""
    branches = list(modules)
    given: list[Tensor] = []

    def read(output: Tensor) -> None:
        given.append(output)
        if len(given) == len(branches):
            store(torch.stack(given).sum(0))

    return [handle for module in branches for handle in _hook_output(module, read)]


def _tap_branch(part: int, block: Any, store: Store) -> Handles:
    """The contribution of attention (`part` 0) or MLP (1) to the residual stream: after LayerScale, before the addition."""
    if hasattr(block, "ls_1"):
        return _hook_output((block.ls_1, block.ls_2)[part], store)
    if hasattr(block, "attns"):
        return _hook_sum((block.attns, block.ffns)[part], store)
    if hasattr(block, "in_proj"):
        return _tap_parallel(part, block, store)
    if hasattr(block, "drop_path"):  # called after each branch in turn; TNT's inner transformer comes first
        return _hook_output(block.drop_path, store, call=part + 2 * hasattr(block, "attn_in"))
    return _hook_output((block.drop_path1, block.drop_path2)[part], store)


def _tap_parallel(part: int, block: Any, store: Store) -> Handles:
    """A branch of a block whose attention and MLP read the same input and share a LayerScale."""
    project = (getattr(block, "attn_out_proj", None), getattr(block, "mlp_out_proj", None))[part]
    if project is None:
        raise _Untappable("its attention and MLP share one output projection")
    return _hook_output(project, store, lambda output: block.drop_path(block.ls(output)))


def _tap_block(block: nn.Module, store: Store) -> Handles:
    """The residual stream after the block: in TNT the second of two streams, that of the patches."""
    return _hook_output(block, store, lambda output: output[1] if isinstance(output, tuple) else output)


def _tap_projection(part: int, block: Any, store: Store) -> Handles:
    """q, k or v as the block's projection returns it, heads concatenated, before any normalisation or rotary embedding."""
    if hasattr(block, "attn1"):
        return _hook_output((block.attn1.to_q, block.attn1.to_k, block.attn1.to_v)[part], store)
    if hasattr(block, "in_proj"):
        return _hook_output(block.in_proj, store, lambda fused: fused.split(block.in_split, -1)[1 + part])
    if hasattr(block, "attns"):
        raise _Untappable(f"it has {len(block.attns)} attentions side by side, each with its own q, k and v")
    attention = block.attn_out if hasattr(block, "attn_out") else block.attn
    if isinstance(attention, nn.MultiheadAttention):
        weight, bias = attention.in_proj_weight, attention.in_proj_bias
        return _hook_output(
            block.ln_1, store, lambda normed: nn.functional.linear(normed, weight, bias).chunk(3, -1)[part]
        )
    if hasattr(attention, "qk"):
        if part == 2:
            return _hook_output(attention.v, store)
        return _hook_output(attention.qk, store, lambda fused: fused.chunk(2, -1)[part])
    if getattr(attention, "qkv", None) is None:
        return _hook_output((attention.q_proj, attention.k_proj, attention.v_proj)[part], store)
    if getattr(attention, "q_bias", None) is None:
        return _hook_output(attention.qkv, store, lambda fused: fused.chunk(3, -1)[part])
    bias = torch.cat([attention.q_bias, attention.k_bias, attention.v_bias])
    weight = attention.qkv.weight

    def read(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        store(nn.functional.linear(inputs[0], weight, bias).chunk(3, -1)[part])

    return [attention.register_forward_pre_hook(read)]


TAPS: dict[str, Callable[[Any, Store], Handles]] = {
    "attn": partial(_tap_branch, 0),
    "block": _tap_block,
    "mlp": partial(_tap_branch, 1),
    "q": partial(_tap_projection, 0),
    "k": partial(_tap_projection, 1),
    "v": partial(_tap_projection, 2),
}


def read_taps(
    forward: Callable[[Tensor], Any],
    blocks: Sequence[nn.Module],
    layers: Sequence[int],
    taps: Sequence[str],
    images: Tensor,
    grid: tuple[int, int],
) -> dict[str, list[Tensor]]:
    """The features of the wanted layers for a batch at each tap, in the order of `layers` (ascending): each (B, tokens, D).

    The forward pass stops where the last of them is read. Raises UnavailableError if a block has no such tap.
    """
    found: dict[tuple[str, int], Tensor] = {}
    wanted = [(tap, layer) for tap in taps for layer in layers]

    def store(key: tuple[str, int], window: int, output: Tensor) -> None:
        found[key] = _tokens(output, grid, window)
        if len(found) == len(wanted):
            raise _Done

    with ExitStack() as hooks:
        for tap, layer in wanted:
            window = getattr(blocks[layer], "window_size", 0) if tap in _INSIDE_WINDOWS else 0
            try:
                handles = TAPS[tap](blocks[layer], partial(store, (tap, layer), window))
            except (AttributeError, _Untappable) as error:
                raise _no_tap(blocks[layer], tap, layer, error) from None
            for handle in handles:
                hooks.callback(handle.remove)
        with suppress(_Done):
            forward(images)
    for tap, layer in wanted:
        if (tap, layer) not in found:
            raise _no_tap(blocks[layer], tap, layer)
    return {tap: [found[tap, layer] for layer in layers] for tap in taps}


def _tokens(output: Tensor, grid: tuple[int, int], window: int) -> Tensor:
    """A layer's tap as (B, tokens, D): windows merged back into the grid, rows and columns flattened."""
    if window:
        from timm.models.vision_transformer_sam import window_unpartition

        padded = (-(-grid[0] // window) * window, -(-grid[1] // window) * window)
        output = window_unpartition(output.reshape(-1, window, window, output.shape[-1]), window, grid, padded)
    return output.flatten(1, 2) if output.ndim == 4 else output


def attention_heads(block: Any) -> tuple[int, float | None] | None:
    """(heads, scale of q k^T before the softmax) of a block's attention; None where unknown.

    The scale is None where it is not a plain number.
    """
    if hasattr(block, "attn1"):
        return block.attn1.heads, float(block.attn1.scale)
    for module in (block, *(getattr(block, name, None) for name in ("attn", "attn_out"))):
        heads = getattr(module, "num_heads", None)
        if isinstance(heads, int) and heads > 0:
            if isinstance(module, nn.MultiheadAttention):
                return heads, module.head_dim**-0.5
            scale = getattr(module, "scale", None)
            return heads, scale if isinstance(scale, float) else None
    return None


def _no_tap(block: nn.Module, tap: str, layer: int, error: Exception | None = None) -> UnavailableError:
    reason = f": {error}" if isinstance(error, _Untappable) else ""
    told = f"layer {layer} ({type(block).__name__}) has no tap {tap!r}{reason}"
    return UnavailableError("tap-missing", told, "Choose another --tap or --model")


def patch_tokens(features: Tensor, class_token: bool, prefix: int) -> Tensor:
    """Class token first, then the patches, without register tokens: (B, 1 + patches, D) or (B, patches, D)."""
    if class_token and prefix == 1:
        return features
    patches = features[:, prefix:]
    return torch.cat([features[:, :1], patches], 1) if class_token else patches
