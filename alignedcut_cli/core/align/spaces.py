"""The spaces where nodes of different slots are comparable: aligned (V W) and brain (V W beta), one matrix per slot."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from alignedcut_cli.core.align.any_threads import eigh
from alignedcut_cli.core.numerics import NumericsError

__all__ = ["brain_factor", "node_transform", "roi_voxels"]

VOXEL_BLOCK = 4096


def roi_voxels(membership: Tensor, areas: Sequence[int]) -> Tensor:
    """The voxels that belong to any of the `areas` (rows of `membership` (R, N)): (N,) bool."""
    return membership[list(areas)].bool().any(0)


def brain_factor(beta: Tensor, voxels: Tensor | None = None) -> Tensor:
    """L (E, r), float64, on beta's device: rows V W L have the cosines of rows V W beta_n over the chosen voxels n.

    L L^T = sum_n beta_n beta_n^T, so that <x L, y L> = <x beta, y beta> for all rows x, y; L = Q sqrt(lambda) from the
    eigendecomposition of that Gram matrix, of which r <= min(E, voxels) eigenvalues are kept: those above rounding error,
    lambda > E eps lambda_max. `beta` is (E, N), `voxels` a mask (N,) or None for all. Without a copy of beta.
    Raises NumericsError if there is no voxel, if beta is not finite, or if it is zero at all voxels.
    """
    chosen = torch.arange(beta.shape[1], device=beta.device) if voxels is None else voxels.nonzero().squeeze(1)
    if not len(chosen):
        raise NumericsError("there is no voxel")
    gram = _gram(beta, chosen)
    if not torch.isfinite(gram).all():
        raise NumericsError(f"beta is not finite at some of {len(chosen)} voxels")
    values, vectors = eigh(gram)  # (E,), (E, E)
    floor = len(gram) * torch.finfo(gram.dtype).eps * values[-1]
    rank = min(int((values > floor).sum()), len(chosen))
    if not rank:
        raise NumericsError(f"beta is zero at all of {len(chosen)} voxels")
    return vectors[:, -rank:] * values[-rank:].sqrt()


def _gram(beta: Tensor, chosen: Tensor) -> Tensor:
    """sum over the `chosen` voxels of beta_n beta_n^T: (E, E) float64, a block of voxels at a time."""
    gram = torch.zeros(len(beta), len(beta), dtype=torch.float64, device=beta.device)
    for block in chosen.split(VOXEL_BLOCK):
        columns = beta[:, block].double()  # (E, block)
        gram.addmm_(columns, columns.T)
    return gram


def node_transform(weights: Tensor, factor: Tensor | None = None) -> Tensor:
    """T (D, r), float32: rows V T are the nodes of a slot in aligned space (T = W), or with L in brain space (T = W L).

    `weights` W is (D, E), `factor` L (E, r) from `brain_factor`.
    """
    return weights.float() if factor is None else (weights.double() @ factor).float()
