"""The stability of a cut against cuts that were made anew on images drawn again, dense and in float64."""

from __future__ import annotations

import torch
from torch import Tensor

from alignedcut_cli.core.graph.bootstrap import (
    Stability,
    bootstrap_cut,
    columns_for,
    replicate_bytes,
    stable_count,
)
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


def stability(
    features: Tensor,
    draws: Tensor,
    eigenvectors: int = COUNT,
    images: Tensor = IMAGE_OF,
    weights: Tensor | None = None,
    **options: int,
) -> Stability:
    def read(start: int, stop: int) -> Tensor:
        return features[start:stop]

    total = len(features)
    cut = ncut_lowrank(read, total, eigenvectors, nodes=total, weights=weights)
    assert cut.extension is not None
    options = {"tile": 40, **options}
    return bootstrap_cut(
        read, lambda ids: features[ids], total, cut.extension, images, draws, eigenvectors, weights=weights, **options
    )


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
    """Each replicate refitted, its own degrees included, which the bootstrap leaves as they were."""
    features, draws = scenes(), drawn(12)
    found = stability(features, draws)
    kept, eigenvalues, _ = reference(features, draws, frozen=False)
    assert float((found.kept - kept).abs().mean()) < 0.01
    assert float((found.kept.mean(0) - kept.mean(0)).abs().max()) < 0.01
    assert float((found.eigenvalues - eigenvalues).abs().mean()) < 0.005


def test_what_is_in_one_image_alone_does_not_stay() -> None:
    """A kind that one image of 15 holds has an eigenvector, which a third of the draws never see."""
    generator = torch.Generator().manual_seed(3)
    kinds = torch.arange(TOKENS).remainder(3).repeat(IMAGES, 1)
    kinds[4, :] = 3
    centres = 4 * torch.eye(4, 8)
    features = (centres[kinds] + 0.4 * torch.randn(IMAGES, TOKENS, 8, generator=generator)).reshape(-1, 8)
    found = stability(features, drawn(40), eigenvectors=4)
    assert stable_count(found.kept) == 3
    assert found.matches.mean(0)[:3].min() > 0.95
    assert found.moves[IMAGE_OF == 4].median() > 1.5 * found.moves[IMAGE_OF != 4].median()


def test_passes_and_tiles_change_nothing() -> None:
    features, draws = scenes(), drawn(7)
    whole = stability(features, draws)
    parts = stability(features, draws, budget=2 * replicate_bytes(columns_for(COUNT), 1))
    assert torch.equal(whole.kept, parts.kept)
    other = stability(features, draws, tile=17)
    torch.testing.assert_close(whole.kept, other.kept, atol=1e-5, rtol=0)
    torch.testing.assert_close(whole.moves, other.moves, atol=1e-4, rtol=0)


def test_weights_are_copies_of_nodes() -> None:
    features, draws = scenes(), drawn(5)
    times = torch.ones(len(features))
    times[::3] = 2
    copies = torch.repeat_interleave(torch.arange(len(features)), times.long())
    weighted = stability(features, draws, weights=times)
    plain = stability(features[copies], draws, images=IMAGE_OF[copies])
    torch.testing.assert_close(weighted.kept, plain.kept, atol=2e-3, rtol=0)
    torch.testing.assert_close(weighted.eigenvalues, plain.eigenvalues, atol=1e-3, rtol=0)
    torch.testing.assert_close(weighted.moves[copies], plain.moves, atol=1e-2, rtol=0)


def test_a_draw_of_every_image_once_moves_nothing() -> None:
    found = stability(scenes(), torch.ones(2, IMAGES).double())
    torch.testing.assert_close(found.kept, torch.ones_like(found.kept), atol=1e-9, rtol=0)
    torch.testing.assert_close(found.matches, torch.ones_like(found.matches), atol=1e-9, rtol=0)
    assert float(found.moves.max()) < 1e-5


def test_the_count_of_stable_eigenvectors_ends_at_the_first_that_is_not() -> None:
    draws = torch.tensor([[1.0, 0.95, 0.5, 1.0], [1.0, 0.9, 0.9, 1.0]])
    assert stable_count(draws) == 2
    assert stable_count(draws, 0.6) == 4
    assert stable_count(draws, 0.99) == 1
