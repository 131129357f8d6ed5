"""Brain-space activation of nodes: means over groups of nodes with standard errors over images, moments per voxel."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from alignedcut_cli.core.resample.intervals import clustered_error

__all__ = [
    "Clusters",
    "cell_sums",
    "clustered_difference",
    "clustered_mean",
    "correlation",
    "moments",
    "readout_moments",
    "roi_readout",
]

VOXEL_BLOCK = 4096
Tiles = Iterable[tuple[int, Tensor]]


def roi_readout(beta: Tensor, membership: Tensor) -> Tensor:
    """beta averaged over the voxels of each ROI: (E, R) float64, from `beta` (E, N) and `membership` (R, N) of 0 and 1.

    v W (mean_n beta_n) = mean_n (v W beta_n): the mean activation of an ROI needs no voxel. Every ROI has a voxel.
    """
    weights = membership.double()
    return beta.double() @ (weights / weights.sum(1, keepdim=True)).T


def cell_sums(tiles: Tiles, cells: Tensor, count: int) -> Tensor:
    """Sum of the rows in each cell: (count, R) float64 on the CPU.

    `tiles` are (first row, values (t, R)) that together cover all rows; `cells` (M,) int64 is each row's cell, -1 for none.
    """
    sums: Tensor | None = None
    for start, values in tiles:
        mine = cells[start : start + len(values)]
        kept = mine >= 0
        sums = torch.zeros(count, values.shape[1], dtype=torch.float64) if sums is None else sums
        sums.index_add_(0, mine[kept], values.cpu()[kept].double())
    if sums is None:
        raise ValueError("there are no rows")
    return sums


@dataclass(frozen=True)
class Clusters:
    """A group of nodes image by image: sums (n, R) float64 of their values, and counts (n,) of its nodes, 0 or more."""

    sums: Tensor
    counts: Tensor

    @property
    def nodes(self) -> int:
        return int(self.counts.sum())

    @property
    def images(self) -> int:
        return int((self.counts > 0).sum())

    def scores(self) -> Tensor:
        """The influence of each image on the mean: (sum_b - count_b mean) / nodes, (n, R)."""
        return (self.sums - self.counts.double()[:, None] * self.mean()) / self.nodes

    def mean(self) -> Tensor:
        return self.sums.sum(0) / self.nodes


def clustered_mean(group: Clusters) -> tuple[Tensor, Tensor]:
    """Mean over the nodes of a group, and its standard error over images: (R,), (R,) float64; NaN where undefined.

    se^2 = n / (n - 1) sum_b ((sum_b - count_b mean) / nodes)^2 over the n images that hold the group: the linearised
    (cluster-robust) variance of a ratio. Nodes of one image are not independent: with one node an image it is s / sqrt(n).
    """
    if not group.nodes:
        nothing = torch.full_like(group.sums.sum(0), torch.nan)
        return nothing, nothing
    return group.mean(), _error(group.scores(), group.images)


def clustered_difference(one: Clusters, other: Clusters) -> tuple[Tensor, Tensor]:
    """mean(one) - mean(other), and its standard error over images, which may hold both groups: (R,), (R,) float64.

    An image's score is the difference of its two scores, so that what both groups of an image share cancels.
    """
    if not one.nodes or not other.nodes:
        nothing = torch.full_like(one.sums.sum(0), torch.nan)
        return nothing, nothing
    images = int(((one.counts > 0) | (other.counts > 0)).sum())
    return one.mean() - other.mean(), _error(one.scores() - other.scores(), images)


def _error(scores: Tensor, images: int) -> Tensor:
    return torch.from_numpy(clustered_error(scores.cpu().numpy(), images)).to(scores.device)


def moments(tiles: Tiles, members: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Sizes (k,), means (k, E) and covariances (k, E, E) of the rows of each group; float64, on the CPU.

    `members` (M,) int64 is each row's group, -1 for none. Covariances divide by size - 1; NaN where a group is too small.
    """
    sizes = torch.bincount(members[members >= 0], minlength=count)
    sums = squares = torch.zeros(0)
    for start, rows in tiles:
        if not len(sums):
            sums = torch.zeros(count, rows.shape[1], dtype=torch.float64)
            squares = torch.zeros(count, rows.shape[1], rows.shape[1], dtype=torch.float64)
        mine = members[start : start + len(rows)]
        for group in mine[mine >= 0].unique().tolist():
            part = rows[(mine == group).to(rows.device)].cpu().double()  # (t, E)
            sums[group] += part.sum(0)
            squares[group].addmm_(part.T, part)
    means = sums / sizes.double()[:, None]
    around = squares - sizes.double()[:, None, None] * means[:, :, None] * means[:, None, :]
    # fewer than two rows have no covariance: 0 / 0 is NaN, while x / 0 would be infinite after rounding
    around[sizes < 2] = torch.nan
    return sizes, means, around / (sizes.double() - 1)[:, None, None]


def readout_moments(mean: Tensor, covariance: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of a beta_n over rows a with this mean (E,) and covariance (E, E): (N,), (N,) float64.

    E[a beta_n] = mean beta_n, Var[a beta_n] = beta_n^T C beta_n: exact for every column n of `beta` (E, N), without
    a rows x voxels array or a copy of beta.
    """
    means, deviations = [], []
    for block in beta.split(VOXEL_BLOCK, 1):
        columns = block.double()
        means.append(mean @ columns)
        deviations.append(((covariance @ columns) * columns).sum(0).clamp_min(0).sqrt())
    return torch.cat(means), torch.cat(deviations)


def correlation(left: Tensor, right: Tensor) -> float:
    """Pearson's r of two vectors (N,); NaN where one is constant, has a value that is not finite, or N < 2."""
    if len(left) < 2:
        return float("nan")
    one, other = left.double() - left.double().mean(), right.double() - right.double().mean()
    size = float(one.norm() * other.norm())
    return float(one @ other) / size if size > 0 else float("nan")
