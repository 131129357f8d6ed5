"""A product with the affinity as softmax attention with q = k = unit rows, so that no tile is written to memory."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["WIDEST_HEAD", "attention_product", "attention_serves"]

WIDEST_HEAD = 256


def attention_serves(units: Tensor) -> bool:
    """True on CUDA for nodes of at most 256 channels, the widest head of PyTorch's fused kernels."""
    return units.device.type == "cuda" and units.shape[1] <= WIDEST_HEAD


def attention_product(units: Tensor, vectors: Tensor, gamma: float, degrees: Tensor) -> Tensor:
    """A X = diag(d) softmax(U U^T / gamma) X for unit rows U (M, D), X (M, b) and d = A 1 (M, 1): (M, b), float32.

    X is processed in zero-padded blocks of D columns, as the kernels need values as wide as the keys. On CUDA the memory is
    that of the operands; elsewhere it depends on PyTorch's choice of kernel.
    """
    width, columns = units.shape[1], vectors.shape[1]
    heads = -(-columns // width)
    padded = vectors.new_zeros(len(vectors), heads * width)
    padded[:, :columns] = vectors
    values = padded.reshape(len(vectors), heads, width).transpose(0, 1)[None]  # (1, h, M, D)
    keys = units[None, None].expand(1, heads, -1, -1)
    made = torch.nn.functional.scaled_dot_product_attention(keys, keys, values, scale=1 / gamma)
    return made[0].transpose(0, 1).reshape(len(vectors), -1)[:, :columns] * degrees
