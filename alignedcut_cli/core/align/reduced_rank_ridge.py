"""Reduced-rank ridge regression over all slots jointly, in closed form, in the dual."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from alignedcut_cli.core.align.any_threads import eigh, norm_of_all, qr, side_by_side
from alignedcut_cli.core.align.scores import mean_r_squared
from alignedcut_cli.core.numerics import NumericsError

__all__ = [
    "ALPHAS",
    "Choice",
    "Problem",
    "Ridge",
    "Smoother",
    "Spectrum",
    "best_rank",
    "choose",
    "mean_nodes",
    "ranks_up_to",
    "read_out",
    "reduced_rank",
    "smoother",
    "spectra_of",
    "spectrum",
    "stacking_weights",
    "try_penalty",
    "weigh_slots",
]

ALPHAS = tuple(10.0 ** (power / 2) for power in range(-7, 7))
"""Candidate ridge penalties, in units of the mean squared norm of an image's features in one slot."""
_LOST = 1e-6
_ROUNDS, _LEAST = 6, 0.05
_SCORED_VOXELS = 2048


@dataclass(frozen=True)
class Spectrum:
    """X X^T = U diag(values) U^T of one slot's centred features X (B, D): values (k,) descending, U (B, k), k <= B, D."""

    values: Tensor
    vectors: Tensor


@dataclass(frozen=True)
class Smoother:
    """The fitted mean of slots is Q diag(shares) Q^T Y: shares (k,) in 0..1 descending, Q (B, k); with its penalties."""

    shares: Tensor
    vectors: Tensor
    alpha: float
    agree: float


@dataclass(frozen=True)
class Ridge:
    """A fit: W_i (D_i, E) of each slot and beta (E, N) with orthonormal rows, by descending explained variance."""

    transforms: list[Tensor]
    beta: Tensor


@dataclass(frozen=True)
class Choice:
    """The penalty and the rank with the best mean R^2 on held-out images, that R^2, and the best R^2 of each penalty."""

    alpha: float
    rank: int
    score: float
    tried: dict[float, float]


def spectrum(features: Tensor) -> Spectrum:
    """The spectrum of X X^T for one slot's centred features X (B, D), by the smaller of X X^T and X^T X.

    Directions below 1e-6 of the largest eigenvalue are rounding errors and left out. Dtype and device of `features`.
    Raises NumericsError if X is zero.
    """
    images, channels = features.shape
    if images <= channels:
        return Spectrum(*_positive(features @ features.T))
    values, vectors = _positive(features.T @ features)
    return Spectrum(values, (features @ vectors) / values.sqrt())


def spectra_of(features: Sequence[Tensor]) -> list[Spectrum]:
    """The spectrum of each slot."""
    return side_by_side(lambda number: spectrum(features[number]), len(features), features[0].device)


def _positive(gram: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues (k,) descending and eigenvectors (n, k) of a Gram matrix, without rounding errors."""
    values, vectors = eigh(gram)
    kept = int((values > _LOST * values[-1]).sum())
    if not kept:
        raise NumericsError("the features of all images are equal: there is nothing to regress on")
    return values[-kept:].flip(0), vectors[:, -kept:].flip(1)


def smoother(spectra: Sequence[Spectrum], alpha: float, agree: float) -> Smoother:
    """The linear smoother from responses Y (B, N) to the fitted mean of n slots under the objective of `reduced_rank`.

    With K_i = X_i X_i^T and S = 1/n sum_i K_i (alpha + agree K_i)^-1, the fitted mean is (1 + agree) (1 + S)^-1 S Y.
    Work: B^2 sum_i D_i for S, about 9 B^3 for its eigenvectors. Memory: 4 B^2 numbers.
    """
    images = len(spectra[0].vectors)
    total = spectra[0].vectors.new_zeros(images, images)
    for slot in spectra:
        weights = slot.values / ((alpha + agree * slot.values) * len(spectra))
        total.addmm_(slot.vectors * weights, slot.vectors.T)
    values, vectors = _positive(total)
    return Smoother((1 + agree) * values / (1 + values), vectors, alpha, agree)


def reduced_rank(
    features: Sequence[Tensor],
    spectra: Sequence[Spectrum],
    found: Smoother,
    responses: Tensor,
    rank: int,
    products: Tensor | None = None,
) -> Ridge:
    """The minimiser of |Y - 1/n sum_i f_i|^2 + agree/n sum_i |Y - f_i|^2 + alpha/n sum_i |W_i beta|^2, f_i = X_i W_i beta.

    `features` are the slots' centred X_i (B, D_i) with their `spectra`, `responses` Y (B, N) are centred too; W_i
    (D_i, E), beta (E, N), E = `rank`. agree = 0 is reduced-rank ridge regression on all slots concatenated (Mukherjee
    and Zhu 2011), in which slots may predict by their differences; the second term makes every slot predict on its own.
    With H = Q diag(shares) Q^T of `smoother`, beta are the top right singular vectors of diag(shares)^(1/2) Q^T Y, T =
    Y beta^T and W_i = X_i^T (alpha + agree X_i X_i^T)^-1 ((1 + agree) T - H T). The first E' columns are the solution
    of rank E'. If Y has a rank below E, the rest is zero. `products` is Y Y^T, where that is known.
    """
    beta = _right_singular(found.vectors * found.shares.sqrt(), responses, rank, products)  # (e, N)
    target = responses @ beta.T  # (B, e)
    mean = found.vectors @ (found.shares[:, None] * (found.vectors.T @ target))
    residual = (1 + found.agree) * target - mean
    transforms = []
    for block, slot in zip(features, spectra, strict=True):
        shrunk = (slot.vectors.T @ residual) / (found.alpha + found.agree * slot.values)[:, None]
        transforms.append(block.T @ (slot.vectors @ shrunk))  # (D_i, e)
    missing = rank - len(beta)
    return Ridge(
        [torch.nn.functional.pad(matrix, (0, missing)) for matrix in transforms],
        torch.nn.functional.pad(beta, (0, 0, 0, missing)),
    )


def _right_singular(left: Tensor, right: Tensor, rank: int, products: Tensor | None = None) -> Tensor:
    """The top right singular vectors of L^T Y for L (B, k) and Y (B, N) as orthonormal rows (e, N), e <= rank.

    By the smaller Gram matrix, L^T Y Y^T L or Y^T L L^T Y; for the first, without a (k, N) array, and from Y Y^T if known.
    """
    if left.shape[1] > right.shape[1]:
        product = left.T @ right
        return _positive(product.T @ product)[1][:, :rank].T
    gram = left.T @ (right @ right.T if products is None else products) @ left  # (k, k)
    return qr(right.T @ (left @ _positive(gram)[1][:, :rank]))[0].T


@dataclass(frozen=True)
class Problem:
    """The data of model selection: centred X_i (B, D_i) with their spectra, and Y (B, N'), of training images; X_i and Y
    of held-out ones with the same centring; of at most 2048 voxels, evenly spaced; and Y Y^T, which all solutions need."""

    features: list[Tensor]
    spectra: list[Spectrum]
    known: Tensor
    heldout: list[Tensor]
    aim: Tensor
    products: Tensor

    @classmethod
    def of(
        cls,
        features: Sequence[Tensor],
        responses: Tensor,
        heldout: Sequence[Tensor],
        aim: Tensor,
        spectra: Sequence[Spectrum] | None = None,
    ) -> Problem:
        """From `features` X_i (B, D_i), `responses` (B, N), `heldout` (H, D_i), `aim` (H, N), and known `spectra`."""
        count = responses.shape[1]
        columns = torch.linspace(0, count - 1, min(count, _SCORED_VOXELS)).long()
        known, seen = responses[:, columns.to(responses.device)], aim[:, columns.to(aim.device)]
        found = spectra_of(features) if spectra is None else list(spectra)
        (products,) = side_by_side(lambda _: known @ known.T, 1, known.device)
        return cls(list(features), found, known, list(heldout), seen, products)

    def scaled(self, factors: Sequence[float]) -> Problem:
        """The same with each slot's features times a factor."""
        return replace(
            self,
            features=[block * factor for block, factor in zip(self.features, factors, strict=True)],
            spectra=[
                replace(slot, values=slot.values * factor**2)
                for slot, factor in zip(self.spectra, factors, strict=True)
            ],
            heldout=[block * factor for block, factor in zip(self.heldout, factors, strict=True)],
        )

    def fit(self, alpha: float, agree: float, rank: int) -> Ridge:
        """The solution of `reduced_rank`."""
        found = smoother(self.spectra, alpha, agree)
        return reduced_rank(self.features, self.spectra, found, self.known, rank, self.products)


def try_penalty(problem: Problem, ranks: Sequence[int], agree: float, alpha: float) -> tuple[float, int]:
    """Held-out R^2 and the best of `ranks` (ascending) under a penalty in units of `_unit`."""
    fit = problem.fit(alpha * _unit(problem), agree, ranks[-1])
    return best_rank(fit, problem.heldout, problem.aim, ranks)


def _unit(problem: Problem) -> float:
    """The mean squared length of an image's features in one slot."""
    return sum(float(slot.values.sum()) for slot in problem.spectra) / (len(problem.known) * len(problem.spectra))


def choose(
    problem: Problem,
    ranks: Sequence[int],
    agree: float,
    alphas: Sequence[float] = ALPHAS,
    tried: Mapping[float, tuple[float, int]] | None = None,
) -> Choice:
    """The penalty and the one of `ranks` (ascending) that predict held-out images best, fitted on the others.

    `tried` is `try_penalty` of each of `alphas`, where that is known already.
    """
    if not tried:
        found = side_by_side(
            lambda number: try_penalty(problem, ranks, agree, alphas[number]), len(alphas), problem.known.device
        )
        tried = dict(zip(alphas, found, strict=True))
    best = max(tried, key=tried.__getitem__)
    score, rank = tried[best]
    return Choice(best * _unit(problem), rank, score, {alpha: found[0] for alpha, found in tried.items()})


def weigh_slots(plain: Problem, choice: Choice, agree: float) -> tuple[list[float], Choice]:
    """Scaling factors of the slots' features that improve the prediction of held-out images, and the choice with them.

    Banded ridge regression (Nunez-Elizalde, Huth and Gallant 2019) with one band per slot: a slot's features are scaled by
    the square root of |W_i|, as in iteratively reweighted least squares for the sum of |W_i| instead of the sum of
    |W_i|^2, as long as held-out R^2 improves; else all factors are 1. The mean square of all features is preserved.
    `choice` is that of `choose` for factors of 1.
    """
    squares = torch.stack([slot.values.sum() for slot in plain.spectra]).double()
    factors, problem = torch.ones_like(squares), plain
    for _ in range(_ROUNDS):
        fit = problem.fit(choice.alpha, agree, choice.rank)
        lengths = torch.stack([norm_of_all(matrix) for matrix in fit.transforms]).double()
        trial = factors * (lengths / lengths.mean()).clamp_min(_LEAST).sqrt()
        trial *= (squares.sum() / (squares * trial.square()).sum()).sqrt()
        scaled = plain.scaled(trial.tolist())
        middle = max(choice.tried, key=choice.tried.__getitem__)
        found = choose(scaled, [choice.rank], agree, [middle / 10**0.5, middle, middle * 10**0.5])
        if found.score <= choice.score:
            break
        factors, problem, choice = trial, scaled, found
    return factors.tolist(), choice


def best_rank(fit: Ridge, heldout: Sequence[Tensor], aim: Tensor, ranks: Sequence[int]) -> tuple[float, int]:
    """The best mean R^2 on held-out images over ascending `ranks`, and that rank (the smaller on ties)."""
    mean = mean_nodes(heldout, fit.transforms)
    scores = {rank: mean_r_squared(mean[:, :rank] @ fit.beta[:rank], aim) for rank in ranks}
    best = max(scores, key=scores.__getitem__)
    return scores[best], best


def mean_nodes(features: Sequence[Tensor], transforms: Sequence[Tensor]) -> Tensor:
    """1/n sum_i X_i W_i, the mean of n slots' pooled aligned nodes: (B, E)."""
    mean = features[0] @ transforms[0]
    for block, matrix in zip(features[1:], transforms[1:], strict=True):
        mean.addmm_(block, matrix)
    return mean / len(features)


def stacking_weights(each: Tensor, target: Tensor, least: float = 0.05) -> Tensor:
    """Weights c >= 0 (n,) that minimise |T - 1/n sum_i c_i f_i|^2 for predictions (n, H, E) of T (H, E) (Breiman 1996).

    A slot's weight does not change the cosines between its nodes. None is below `least` times the mean, so that a slot
    that does not help to predict keeps its directions. All are 1 where no combination helps.
    """
    from scipy.optimize import nnls

    flat = each.flatten(1).double() / len(each)  # (n, H E)
    basis, factor = qr(flat.T)  # (H E, n), (n, n): |t - flat^T c|^2 = |basis^T t - factor c|^2 + constant
    solved, _ = nnls(factor.cpu().numpy(), (basis.T @ target.flatten().double()).cpu().numpy())
    weights = torch.from_numpy(solved)
    if not float(weights.sum()) > 0:
        return torch.ones(len(each), dtype=each.dtype, device=each.device)
    return weights.clamp_min(least * float(weights.mean())).to(each)


def read_out(
    nodes: Tensor, responses: Tensor, heldout: Tensor, aim: Tensor, alphas: Sequence[float] = ALPHAS
) -> tuple[Tensor, float]:
    """beta (E, N) that minimises |Y - Z beta|^2 + alpha |beta|^2 for aligned channels Z (B, E), and its held-out R^2.

    The penalty is the one with the best mean R^2 on `heldout` (H, E) and `aim` (H, N), over `alphas` in units of the
    mean eigenvalue of Z^T Z. Y (B, N) and Z are centred. Work: B E (E + N), and H E N per penalty. Raises NumericsError
    if Z is zero.
    """
    values, vectors = _positive(nodes.T @ nodes)  # (e,), (E, e)
    coordinates = vectors.T @ (nodes.T @ responses)  # (e, N)
    seen, best, score = heldout @ vectors, 0.0, -float("inf")
    for alpha in alphas:
        shrunk = seen / (values + alpha * values.mean())
        if (found := mean_r_squared(shrunk @ coordinates, aim)) > score:
            best, score = alpha, found
    coordinates /= (values + best * values.mean())[:, None]
    return vectors @ coordinates, score


def ranks_up_to(largest: int) -> list[int]:
    """Ranks from 1 to `largest`, ascending, two per octave."""
    ranks = {largest}
    while largest > 1:
        ranks |= {largest * 3 // 4, largest // 2}
        largest //= 2
    return sorted(ranks - {0})
