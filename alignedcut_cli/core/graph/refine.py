"""Refinement of an approximate cut by a few exact products with the affinity (subspace iteration)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from alignedcut_cli.core.graph.affinity import affinity_product
from alignedcut_cli.core.graph.certificate import certify, weighted_gram
from alignedcut_cli.core.graph.landmarks import Extension
from alignedcut_cli.core.graph.ncut import Cut
from alignedcut_cli.core.numerics import Tick, fix_signs

__all__ = ["refine"]


def refine(
    units: Tensor,
    cut: Cut,
    products: int,
    *,
    gamma: float = 1.0,
    seed: int = 0,
    weights: Tensor | None = None,
    tile: int = 1024,
    tick: Tick | None = None,
) -> Cut:
    """The cut after k = `products` exact steps: X <- the left singular vectors of N X, N with exact degrees.

    The component of X along an eigenvector with eigenvalue mu shrinks by mu / lambda_c against column c in each step.
    `units` (M, D) are all nodes as unit rows, on the device of the work. Work: (k + 1) (M^2 D + M^2 / 2 exponentials), one
    product being that of the degrees. The certificate is that of the new vectors, and the map of the extension is rotated
    onto them.
    """
    root = units.new_ones(len(units), 1) if weights is None else weights.to(units.device).sqrt()[:, None]
    degrees = affinity_product(units, root.square(), gamma, tile, tick)  # (M, 1)
    scale = root * degrees.rsqrt()
    basis, values = cut.eigenvectors * root, cut.eigenvalues
    for _ in range(products):
        basis, values = _left_singular(scale * affinity_product(units, scale * basis, gamma, tile, tick))
    vectors = fix_signs(basis / root)
    certificate, residuals = certify(
        lambda start, stop: units[start:stop],
        lambda ids: units[ids.to(units.device)],
        vectors,
        values,
        gamma=gamma,
        rank=len(units),
        seed=seed,
        degrees=degrees.squeeze(1),
        weights=weights,
        tile=tile,
    )
    return replace(
        cut,
        eigenvectors=vectors,
        eigenvalues=values,
        residuals=residuals,
        certificate=certificate,
        extension=_rotated(cut.extension, (cut.eigenvectors * root.square()).T @ vectors),
    )


def _left_singular(images: Tensor) -> tuple[Tensor, Tensor]:
    """The left singular vectors (M, C) of N X, and its singular values (C,): the eigenvalues, once X is near."""
    squares, rotation = torch.linalg.eigh(weighted_gram(images))  # ascending
    values = squares.flip(0).clamp_min(torch.finfo(torch.float32).tiny).sqrt()
    return images @ (rotation.flip(1) / values).float(), values.float()


def _rotated(extension: Extension | None, rotation: Tensor) -> Extension | None:
    """The extension with its columns rotated by `rotation` (C, C)."""
    if extension is None:
        return None
    columns = extension.maps[:, :-1] @ rotation
    return replace(extension, maps=torch.cat([columns, extension.maps[:, -1:]], 1))
