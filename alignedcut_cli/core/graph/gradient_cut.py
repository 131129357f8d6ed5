"""The cut of many graphs by gradient descent on soft groups (Zhang, Yunis and Maire 2023).

For comparison with the direct solver, and in mini-batches for data sets whose graphs do not fit in memory at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from alignedcut_cli.core.graph.certificate import Certificate, orthogonality_defect, weighted_gram
from alignedcut_cli.core.graph.mean_of_graphs import GridMap, LayerGraph, MeanOperator
from alignedcut_cli.core.graph.ncut import Cut
from alignedcut_cli.core.graph.sparse_graph import SparseGraph
from alignedcut_cli.core.numerics import NumericsError, Tick, fix_signs, stream

__all__ = ["BATCH", "EPOCHS", "UPDATES", "GradientCut", "gradient_cut_of_data_set", "gradient_cut_of_image"]

UPDATES, EPOCHS, BATCH = 100, 200, 40
"""Of the single-image formulation: its 2000 steps accumulate 20 gradients each, which are equal for fixed graphs."""
_STEPS_OF_A_BATCH, _CHANNELS, _HIDDEN = 5, 32, 128
_AVERAGING = 0.99
GraphsOf = Callable[[Tensor], Sequence[LayerGraph]]
"""From ids of images (b,) to the graphs among them, over their patches image by image."""


@dataclass(frozen=True)
class GradientCut:
    """The cut, and the loss of each step (T, 3): total, of the eigenvalues, of the overlaps."""

    cut: Cut
    losses: Tensor


class _QuadraticForms(torch.autograd.Function):
    """z_c^T L N R z_c of each column of Z (n, k), with diagonal L and R (n,): (k,). Its gradient is that of both sides."""

    @staticmethod
    def forward(ctx: object, columns: Tensor, graph: SparseGraph, left: Tensor, right: Tensor) -> Tensor:
        ahead, back = torch.zeros_like(columns), torch.zeros_like(columns)
        graph.add_product((right[:, None] * columns).contiguous(), 1.0, ahead)
        graph.add_product((left[:, None] * columns).contiguous(), 1.0, back)
        ahead, back = left[:, None] * ahead, right[:, None] * back
        ctx.save_for_backward(ahead + back)  # type: ignore[attr-defined]
        return (columns * ahead).sum(0)

    @staticmethod
    def backward(ctx: object, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        (both,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return both * grads[0], None, None, None


def _pooled(groups: Tensor, fine: tuple[int, int], layer: LayerGraph) -> Tensor:
    """Soft groups (M, k) averaged onto a layer's grid: (m, k)."""
    return groups if fine == layer.grid else GridMap(fine, layer.grid).down(groups)


def _terms(groups: Tensor, fine: tuple[int, int], layer: LayerGraph, *, random_walk: bool) -> tuple[Tensor, Tensor]:
    """(mean |z^T W z - 1|, mean squared overlap of two groups) of one graph, groups being columns of unit length.

    random_walk: W = D^-1 A on the averaged groups; else W = D^-1/2 A D^-1/2 on these times D^1/2.
    """
    small = _pooled(groups, fine, layer)
    root = torch.from_numpy(layer.graph.degrees).sqrt()
    one = torch.ones_like(root)
    left, right = (torch.where(root > 0, 1 / root.clamp_min(1e-12), 0), root) if random_walk else (one, one)
    columns = nn.functional.normalize(small if random_walk else small * root[:, None], dim=0)
    values = _QuadraticForms.apply(columns, layer.graph, left, right)
    overlaps = columns.T @ columns
    overlaps = overlaps - torch.diag(overlaps.diagonal())
    return (values - 1).abs().mean(), overlaps.square().mean()  # type: ignore[operator]


def gradient_cut_of_image(
    layers: Sequence[LayerGraph], eigenvectors: int = 20, *, updates: int = UPDATES, seed: int = 0
) -> GradientCut:
    """The cut of one image's graphs by the convolutional formulation.

    X = softmax over k channels of three 3 x 3 convolutions (batch norm, ReLU) of a learnt input, k = `eigenvectors`;
    loss: the mean over graphs of 2 mean_c |z_c^T N z_c - 1| + 2 mean of squared overlaps, with Adam at 0.002. The
    pseudo-eigenvectors are the left singular vectors of the normalized X.
    """
    operator = MeanOperator(layers)
    fine = operator.grid
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream(seed, "gradient"))
        given = nn.Parameter(torch.randn(1, _HIDDEN, *fine))
        parts: list[nn.Module] = []
        for _ in range(3):
            parts += [nn.Conv2d(_HIDDEN, _HIDDEN, 3, padding=1), nn.BatchNorm2d(_HIDDEN), nn.ReLU()]
        network = nn.Sequential(*parts, nn.Conv2d(_HIDDEN, eigenvectors, 1))

    def groups() -> Tensor:
        return network(given).softmax(1)[0].flatten(1).T  # (M, k)

    losses = []
    descent = torch.optim.Adam([given, *network.parameters()], lr=2e-3)
    for _ in range(updates):
        found = groups()
        terms = [_terms(found, fine, layer, random_walk=False) for layer in layers]
        parted = [torch.stack(one).mean() for one in zip(*terms, strict=True)]
        loss = 2 * parted[0] + 2 * parted[1]
        losses.append([float(one.detach()) for one in (loss, *parted)])
        descent.zero_grad()
        loss.backward()
        descent.step()
    with torch.no_grad():
        found = groups()
    return GradientCut(_cut_of(found, eigenvectors, [(torch.arange(len(found)), operator)]), torch.tensor(losses))


def gradient_cut_of_data_set(
    graphs_of: GraphsOf,
    images: int,
    grid: tuple[int, int],
    eigenvectors: int = 20,
    *,
    epochs: int = EPOCHS,
    batch: int = BATCH,
    seed: int = 0,
    tick: Tick | None = None,
) -> GradientCut:
    """The cut of a data set by the formulation with free parameters per image, in mini-batches of `batch` images.

    One table (k, rows, cols) per image, initially standard normal, softmax over its k >= 32 channels; loss over a batch:
    sum_l w_l (mean_c |z_c^T D^-1 A z_c - 1| + mean of squared overlaps), with AdamW at 0.01, 5 steps per batch. The
    pseudo-eigenvectors are the left singular vectors of the running mean (0.99) of the softmax tables. Their eigenvalues
    and residuals are computed within batches: exact if one batch holds all. `tick` counts epochs.
    """
    places, channels = grid[0] * grid[1], max(_CHANNELS, eigenvectors)
    random = torch.Generator().manual_seed(stream(seed, "gradient"))
    tables = nn.Parameter(torch.randn(images, channels, places, generator=random))
    mean = tables.detach().softmax(1)
    descent = torch.optim.AdamW([tables], lr=1e-2, weight_decay=0.0)
    losses = []
    for _ in range(epochs):
        for ids, layers in _batches(graphs_of, images, batch, random):
            for _ in range(_STEPS_OF_A_BATCH):
                found = tables[ids].softmax(1).transpose(1, 2).flatten(0, 1)  # (b * P, k)
                terms = [_terms(found, grid, layer, random_walk=True) for layer in layers]
                weights = torch.tensor([layer.weight for layer in layers])
                parted = [(weights * torch.stack(one)).sum() / weights.sum() for one in zip(*terms, strict=True)]
                loss = parted[0] + parted[1]
                losses.append([float(one.detach()) for one in (loss, *parted)])
                descent.zero_grad()
                loss.backward()
                descent.step()
                with torch.no_grad():
                    mean[ids] = _AVERAGING * mean[ids] + (1 - _AVERAGING) * tables[ids].softmax(1)
        if tick:
            tick(1)
    whole = mean.transpose(1, 2).flatten(0, 1)  # (M, k)
    nodes = torch.arange(images * places).reshape(images, places)
    parts = [
        (nodes[ids].reshape(-1), MeanOperator(layers)) for ids, layers in _batches(graphs_of, images, batch, random)
    ]
    return GradientCut(_cut_of(whole, eigenvectors, parts), torch.tensor(losses))


def _batches(
    graphs_of: GraphsOf, images: int, batch: int, random: torch.Generator
) -> Iterator[tuple[Tensor, Sequence[LayerGraph]]]:
    """Every image once, in newly shuffled batches; in their own order if one batch holds all."""
    order = torch.randperm(images, generator=random) if images > batch else torch.arange(images)
    for ids in order.split(batch):
        ids = ids.sort().values
        yield ids, graphs_of(ids)


def _cut_of(groups: Tensor, eigenvectors: int, parts: Sequence[tuple[Tensor, MeanOperator]]) -> Cut:
    """The cut whose vectors are the left singular vectors of soft groups (M, k), ordered by x^T N x within `parts`.

    A part is the ids of some nodes and the operator over these.
    """
    left, sizes, _ = torch.linalg.svd(nn.functional.normalize(groups, dim=0), full_matrices=False)
    if int((sizes > 1e-6 * sizes[0]).sum()) < eigenvectors:
        raise NumericsError(f"gradient descent left fewer than {eigenvectors} groups apart")
    vectors = left[:, :eigenvectors].contiguous()
    values, squares = torch.zeros(eigenvectors), torch.zeros(eigenvectors)
    images = []
    for ids, operator in parts:
        own = vectors[ids].contiguous()
        images.append(operator(own))
        values += (own * images[-1]).sum(0)
    for (ids, _), made in zip(parts, images, strict=True):
        squares += (made - vectors[ids] * values).square().sum(0)
    order = values.argsort(descending=True)
    residuals, smallest = squares.sqrt()[order], max(float(values.min()), torch.finfo(torch.float32).tiny)
    vectors = fix_signs(vectors[:, order].contiguous())
    certificate = Certificate(
        float(residuals.square().mean().sqrt()) / smallest,
        orthogonality_defect(weighted_gram(vectors)),
        len(vectors),
        len(vectors),
    )
    return Cut(vectors, values[order], residuals, torch.arange(len(vectors)), certificate)
