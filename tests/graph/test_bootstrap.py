"""The stability of a cut against cuts that were made anew on images drawn again, dense and in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from alignedcut_cli.core.graph.bootstrap import Stability, bootstrap_cut, replicate_bytes, stable_count
from alignedcut_cli.core.graph.lowrank import ncut_lowrank
from tests.helpers.reference import dense_affinity

IMAGES, TOKENS, COUNT = 15, 12, 5


def scenes(seed: int = 0) -> Tensor:
    """Rows (IMAGES * TOKENS, 6) whose kinds come in other shares in every image: three common ones, one rare."""
    generator = torch.Generator().manual_seed(seed)
    centres = 2 * torch.randn(4, 6, generator=generator)
    shares = torch.tensor([1.0, 0.8, 0.6, 0.1]) * torch.rand(IMAGES, 4, generator=generator)
    kinds = torch.multinomial(shares, TOKENS, replacement=True, generator=generator)
    noise = torch.randn(IMAGES, TOKENS, 6, generator=generator)
    return (centres[kinds] + noise).reshape(-1, 6)


def drawn(replicates: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    picks = torch.randint(IMAGES, (replicates, IMAGES), generator=generator)
    return torch.stack([torch.bincount(pick, minlength=IMAGES) for pick in picks]).double()


IMAGE_OF = torch.arange(IMAGES).repeat_interleave(TOKENS)


def stability(features: Tensor, draws: Tensor, **options: object) -> Stability:
    def read(start: int, stop: int) -> Tensor:
        return features[start:stop]

    weights = options.get("weights")
    cut = ncut_lowrank(read, len(features), COUNT, nodes=len(features), weights=weights)  # type: ignore[arg-type]
    assert cut.extension is not None
    return bootstrap_cut(
        read, lambda ids: features[ids], len(features), cut.extension, IMAGE_OF, draws, COUNT, tile=40, **options
    )  # type: ignore[arg-type]


def functions(features: Tensor, counts: Tensor, degrees: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Eigenvalues and the eigenvectors, as functions of every node of the sample, of the graph of copies of nodes.

    Node i is there `counts` (M,) times: A has as many rows, and all of it is decomposed. A node that was not drawn has
    the value of the eigenfunction there, d^-1/2 sum_j A_ij d_j^-1/2 x_j / lambda. Own degrees unless they are given.
    """
    matrix = dense_affinity(features)
    copies = torch.repeat_interleave(torch.arange(len(features)), counts.long())
    found = matrix[:, copies].sum(1) if degrees is None else degrees
    root = found.rsqrt()
    values, vectors = torch.linalg.eigh(root[copies, None] * matrix[copies][:, copies] * root[copies])
    values, vectors = values.flip(0)[:COUNT], vectors.flip(1)[:, :COUNT]
    return values, root[:, None] * matrix[:, copies] @ (root[copies, None] * vectors) / values


def reference(features: Tensor, draws: Tensor, frozen: bool) -> tuple[Tensor, Tensor, Tensor]:
    """(kept, eigenvalues, moves) from graphs of copies, by projectors and loops."""
    everywhere = torch.ones(len(features))
    degrees = dense_affinity(features).sum(1)
    _, own = functions(features, everywhere)
    kept, eigenvalues, moved = [], [], torch.zeros(len(features), dtype=torch.float64)
    for draw in draws:
        values, found = functions(features, draw[IMAGE_OF], degrees if frozen else None)
        basis = torch.linalg.qr(found).Q
        kept.append((basis.T @ own).norm(dim=0))
        eigenvalues.append(values / values[0])
        found = found / found.norm(dim=0)
        left, _, right = torch.linalg.svd(found.T @ own)
        moved += (found @ (left @ right) - own).square().sum(1) / len(draws)
    return torch.stack(kept), torch.stack(eigenvalues), (moved / own.square().sum(1)).sqrt()


def test_a_replicate_is_the_cut_of_the_copies_with_the_degrees_of_the_sample() -> None:
    features, draws = scenes(), drawn(6)
    found = stability(features, draws)
    kept, eigenvalues, moves = reference(features, draws, frozen=True)
    torch.testing.assert_close(found.kept, kept, atol=2e-3, rtol=0)
    torch.testing.assert_close(found.eigenvalues, eigenvalues, atol=1e-3, rtol=0)
    torch.testing.assert_close(found.moves.double(), moves, atol=1e-2, rtol=0)


def test_it_is_near_cuts_that_were_made_anew() -> None:
    features, draws = scenes(), drawn(12)
    found = stability(features, draws)
    kept, eigenvalues, _ = reference(features, draws, frozen=False)
    print((found.kept - kept).abs().max(), (found.eigenvalues - eigenvalues).abs().max(), kept.mean(0), found.kept.mean(0), eigenvalues.mean(0),found.eigenvalues.mean(0))
    assert (found.kept - kept).abs().mean() < 0.01
