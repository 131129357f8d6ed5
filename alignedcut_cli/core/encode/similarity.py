"""Similarity of two sets of features of the same images: unbiased centred kernel alignment (CKA), and Procrustes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from alignedcut_cli.core.encode.rdm import centre_both

__all__ = [
    "DrawnGram",
    "biased_cka",
    "cka",
    "cka_draws",
    "cka_of",
    "drawn_gram",
    "largest_components",
    "procrustes_draws",
]

_ROWS = 4096


def biased_cka(one: Tensor, other: Tensor) -> float:
    """Linear CKA <K, L> / (|K| |L|) of Gram matrices (n, n) centred over images (Kornblith et al. 2019).

    Tends to 1 where features outnumber images, even for unrelated ones: compare by `cka`.
    """
    left, right = centre_both(one.double()), centre_both(other.double())
    return float((left * right).sum() / (left.norm() * right.norm()))


def cka(one: Tensor, other: Tensor) -> float:
    """HSIC_u(K, L) / sqrt(HSIC_u(K, K) HSIC_u(L, L)) of Gram matrices (n, n), n >= 4; near 0 for independent features.

    HSIC_u is the mean of K_ij L_ij over pairs of images, minus twice that of K_ij L_jk over triples, plus that of
    K_ij L_kl over quadruples of distinct images (Song et al. 2012). NaN where HSIC_u of a set with itself is not positive.
    """
    return float(cka_draws(one, other, torch.ones(1, len(one), dtype=torch.float64, device=one.device)))


def cka_draws(one: Tensor, other: Tensor, weights: Tensor) -> Tensor:
    """`cka` under each weighting (T, n) of images, such as bootstrap counts: (T,) float64; products in `weights`' dtype.

    A tuple of distinct images has the product of their weights. Features are centred over all n images. Of many pairs,
    `drawn_gram` of each and `cka_of` of each pair take two products of (T, n) with (n, n) a pair, and not eight.
    """
    weights = weights.to(one.device)
    return cka_of(drawn_gram(one, weights), drawn_gram(other, weights))


@dataclass(frozen=True)
class DrawnGram:
    """A Gram matrix under weightings of images.

    gram     (n, n), of centred features, 0 on the diagonal
    sums     K w (T, n)
    spread   HSIC_u(K, K) (T,), float64
    weights  (T, n), and `counts`, the total weight of ordered pairs, triples and quadruples of images, (T,) each
    """

    gram: Tensor
    sums: Tensor
    spread: Tensor
    weights: Tensor
    counts: tuple[Tensor, ...]

    @property
    def numbers(self) -> int:
        """How many it holds, but for what it shares with others."""
        return self.gram.numel() + self.sums.numel() + self.spread.numel()


def drawn_gram(gram: Tensor, weights: Tensor, like: DrawnGram | None = None) -> DrawnGram:
    """What `cka_of` needs of a Gram matrix (n, n), under the weightings (T, n) on its device; `like` one of the same."""
    matrix = _near_zero(gram).to(weights)
    sums = weights @ matrix
    counts = like.counts if like else tuple(_tuples(weights.double(), size) for size in (2, 3, 4))
    return DrawnGram(matrix, sums, _hsic(matrix * matrix, sums, sums, weights, counts), weights, counts)


def cka_of(one: DrawnGram, other: DrawnGram) -> Tensor:
    """`cka_draws` of two, under the weightings of both: (T,) float64."""
    shared = _hsic(one.gram * other.gram, one.sums, other.sums, one.weights, one.counts)
    own = one.spread * other.spread
    return shared / own.where(own > 0, torch.nan).sqrt()


def _near_zero(gram: Tensor) -> Tensor:
    """The Gram matrix of centred features, 0 on the diagonal: HSIC_u is unchanged, and its terms are small."""
    centred = centre_both(gram.double())
    return centred.fill_diagonal_(0)


def _hsic(product: Tensor, a: Tensor, b: Tensor, weights: Tensor, counts: Sequence[Tensor]) -> Tensor:
    """Unbiased HSIC under each weighting (T, n), from K L elementwise (n, n), K w and L w (T, n): (T,) float64.

    K and L have zero diagonals; `counts` are `_tuples` of 2, 3 and 4.
    """
    both = weights @ product, weights.square() @ product
    weights, a, b = weights.double(), a.double(), b.double()
    squares = weights.square()
    pairs = (both[0] * weights).sum(1)
    twice = (both[1] * squares).sum(1)  # w_i^2 w_j^2 K_ij L_ij
    once = (both[1] * weights).sum(1)  # w_i^2 w_j K_ij L_ij
    triples = (weights * a * b).sum(1) - once
    crossed = (squares * a * b).sum(1) - twice  # w_i^2 w_j w_l K_ij L_il, j != l
    quadruples = (weights * a).sum(1) * (weights * b).sum(1) - 4 * crossed - 2 * twice
    return pairs / counts[0] - 2 * triples / counts[1] + quadruples / counts[2]


def _tuples(weights: Tensor, size: int) -> Tensor:
    """The total weight of ordered tuples of `size` distinct images: size! times the elementary symmetric polynomial."""
    powers = [weights.pow(power).sum(1) for power in range(1, size + 1)]
    found = [torch.ones_like(powers[0])]
    for number in range(1, size + 1):  # Newton's identities
        signed = [(-1) ** (i - 1) * found[number - i] * powers[i - 1] for i in range(1, number + 1)]
        found.append(torch.stack(signed).sum(0) / number)
    return math.factorial(size) * found[size]


def largest_components(rows: Tensor, count: int) -> Tensor:
    """The scores of centred rows (n, D) on their first `count` principal components: (n, at most count) float64."""
    centred = rows.double() - rows.double().mean(0)
    left, values, _ = torch.linalg.svd(centred, full_matrices=False)
    return (left * values)[:, :count]


def procrustes_draws(one: Tensor, other: Tensor, images: Tensor, weights: Tensor) -> Tensor:
    """The similarity of rows (n, p) and (n, q) after the best rotation and scale under each weighting (T, B): (T,) float64.

    |X^T Y|_* / (|X|_F |Y|_F) of weighted, centred rows: 1 for the same shape, above 0 by chance. `images` (n,) is the image
    whose weight each row has.
    """
    left, right = one.double(), other.double()
    split = left.shape[1]
    both = torch.cat([left - left.mean(0), right - right.mean(0), left.new_ones(len(left), 1)], 1)
    sums = both.new_zeros(weights.shape[1], both.shape[1] ** 2)
    for start in range(0, len(both), _ROWS):
        part = both[start : start + _ROWS]
        sums.index_add_(0, images[start : start + _ROWS], (part[:, :, None] * part[:, None, :]).flatten(1))
    moments = (weights.to(sums) @ sums).unflatten(1, (both.shape[1], -1))  # (T, p + q + 1, p + q + 1)
    total = moments[:, -1, -1, None, None]
    centred = moments[:, :-1, :-1] - moments[:, :-1, -1:] * moments[:, -1:, :-1] / total
    size = centred.diagonal(dim1=1, dim2=2)
    own = (size[:, :split].sum(1) * size[:, split:].sum(1)).sqrt()
    shared = torch.linalg.svdvals(centred[:, :split, split:]).sum(1)
    return shared / own.where(own > 0, torch.nan)
