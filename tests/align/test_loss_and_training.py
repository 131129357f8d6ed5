"""Channel align: the loss and its gradient against the equations as written, and what training does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from torch import Tensor
from torch.nn.functional import normalize

from alignedcut_cli.core.align.consensus import agree_on_places
from alignedcut_cli.core.align.descent import LOGGED
from alignedcut_cli.core.align.loss import (
    Weights,
    agreement_loss,
    align_pooled,
    covariance_loss,
    eigen_loss,
    predict,
    total_loss,
    zero_loss,
)
from alignedcut_cli.core.align.projector import normalised_affinity, top_projector
from alignedcut_cli.core.align.reduced_rank_ridge import (
    ALPHAS,
    Problem,
    choose,
    ranks_up_to,
    reduced_rank,
    smoother,
    spectrum,
    stacking_weights,
    weigh_slots,
)
from alignedcut_cli.core.align.scores import r_squared
from alignedcut_cli.core.align.train import STARTS, Alignment, Draw, Settings, fit_alignment
from alignedcut_cli.core.numerics import NumericsError
from tests.helpers.reference import (
    affinity_projector,
    align_terms,
    consensus_transforms,
    dense_affinity,
    normal,
    top_projector_of,
)


def rotation(size: int, seed: int = 0) -> Tensor:
    return torch.linalg.qr(normal(size, size, seed=seed))[0]


def symmetric(*shape: int, seed: int = 0) -> Tensor:
    matrix = normal(*shape, shape[-1], seed=seed)
    return matrix + matrix.mT


def with_spectrum(values: Sequence[float], seed: int = 0) -> Tensor:
    """A symmetric matrix with these eigenvalues."""
    basis = rotation(len(values), seed)
    return basis @ torch.diag(torch.tensor(values, dtype=torch.float64)) @ basis.T


WIDTHS = (7, 9, 12)


def step(images: int = 6, places: int = 5, channels: int = 8, voxels: int = 11) -> tuple[list[Tensor], list[Tensor]]:
    """Tokens (B, P, D_i) of three slots, and responses, W_1, W_2, W_3, beta and eps, all float64."""
    tokens = [normal(images, places, width, seed=width) + 0.3 for width in WIDTHS]
    parameters = [normal(width, channels, seed=30 + width) / 3 for width in WIDTHS]
    return tokens, [normal(images, voxels), *parameters, normal(channels, voxels, seed=1), normal(voxels, seed=2)]


def gradients(loss: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
    found = torch.autograd.grad(loss, parameters, allow_unused=True, retain_graph=True)
    return [torch.zeros_like(one) if grad is None else grad for one, grad in zip(parameters, found, strict=True)]


@pytest.mark.parametrize("sampled", [None, 12], ids=["all tokens", "12 nodes"])
def test_the_loss_and_its_gradient_are_the_equations_as_written(sampled: int | None) -> None:
    tokens, (responses, *parameters) = step()
    parameters = [tensor.requires_grad_() for tensor in parameters]
    *transforms, beta, eps = parameters
    nodes = [block.flatten(0, 1)[normal(30, seed=len(block)).argsort()[:sampled]] for block in tokens]
    expected = align_terms(tokens, nodes, responses, transforms, beta, eps)
    factors = {"eigen": 0.7, "zero": 0.9, "cov": 0.4, "agree": 0.6}
    pooled = [block.mean(1) for block in tokens]
    found = total_loss(pooled, nodes, responses, transforms, beta, eps, Weights(**factors))
    total = expected["brain"] + sum(factor * expected[name] for name, factor in factors.items())
    for name, term in {**expected, "total": total}.items():
        ours = getattr(found, name)
        torch.testing.assert_close(ours, term, atol=1e-9, rtol=1e-9)
        torch.testing.assert_close(gradients(ours, parameters), gradients(term, parameters), atol=1e-6, rtol=1e-6)
    assert found.closed == 0


def test_the_gradient_of_the_loss_is_that_of_finite_differences() -> None:
    tokens, (responses, *parameters) = step(images=4, places=3, channels=7, voxels=3)
    pooled, nodes = [block.mean(1) for block in tokens], [block.flatten(0, 1) for block in tokens]

    def loss(*parameters: Tensor) -> Tensor:
        *transforms, beta, eps = parameters
        return total_loss(pooled, nodes, responses, transforms, beta, eps, Weights(1.0, 1.0, 1.0, 1.0)).total

    assert torch.autograd.gradcheck(loss, [tensor.requires_grad_() for tensor in parameters], atol=1e-6)


def test_the_default_weights_are_those_of_the_paper() -> None:
    assert Weights() == Weights(eigen=1.0, zero=0.01, cov=0.01, agree=0.0)


@pytest.mark.parametrize("name", ["eigen", "zero", "cov", "agree"])
def test_a_term_of_weight_zero_is_not_computed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens, (responses, *transforms, beta, eps) = step()
    pooled, nodes = [block.mean(1) for block in tokens], [block.flatten(0, 1) for block in tokens]
    weights = Weights(0.5, 0.1, 0.1, 0.1)
    whole = total_loss(pooled, nodes, responses, transforms, beta, eps, weights)
    functions = {"eigen": "eigen_loss", "zero": "zero_loss", "cov": "covariance_loss", "agree": "agreement_loss"}
    monkeypatch.delattr(f"alignedcut_cli.core.align.loss.{functions[name]}")
    found = total_loss(pooled, nodes, responses, transforms, beta, eps, replace(weights, **{name: 0.0}))
    assert float(getattr(found, name)) == 0
    torch.testing.assert_close(found.total, whole.total - getattr(weights, name) * getattr(whole, name))


def test_the_prediction_is_the_mean_of_brain_space() -> None:
    """Sec. 2.1: AvgPool(1/n sum_i B_i) + eps with B_i = V_i W_i beta."""
    tokens, (_, *transforms, beta, eps) = step()
    brain = torch.stack([block @ matrix @ beta for block, matrix in zip(tokens, transforms, strict=True)])
    pooled = [block.mean(1) for block in tokens]
    torch.testing.assert_close(predict(pooled, transforms, beta, eps), brain.mean((0, 2)) + eps)
    torch.testing.assert_close(align_pooled(pooled, transforms) @ beta + eps, predict(pooled, transforms, beta, eps))


def test_normalised_affinity_is_equation_three() -> None:
    features = torch.stack([normal(9, 4, seed=seed) for seed in range(3)])
    for gamma in (1.0, 0.3):
        normal_matrix, affinity = normalised_affinity(features, gamma)
        for slot in range(3):
            expected = dense_affinity(features[slot], gamma)
            root = torch.diag(expected.sum(1) ** -0.5)
            torch.testing.assert_close(affinity[slot], expected)
            torch.testing.assert_close(normal_matrix[slot], root @ expected @ root)
    _, affinity = normalised_affinity(torch.cat([torch.zeros(1, 4).double(), features[0]]))
    torch.testing.assert_close(affinity[0], torch.full((10,), -1.0).double().exp())


def test_the_gradient_of_the_projector_passes_gradcheck() -> None:
    matrices = symmetric(2, 7).requires_grad_()
    assert torch.autograd.gradcheck(lambda given: top_projector((given + given.mT) / 2, 3)[0], [matrices])
    features = normal(2, 8, 5).requires_grad_()
    assert torch.autograd.gradcheck(lambda nodes: top_projector(normalised_affinity(nodes)[0], 3)[0], [features])


def projector_gradient(matrix: Tensor, count: int, upstream: Tensor) -> Tensor:
    matrix = matrix.clone().requires_grad_()
    projector, _ = top_projector(matrix, count)
    return torch.autograd.grad((projector * upstream).sum(), matrix)[0]


def assert_is_the_slope(matrix: Tensor, count: int, upstream: Tensor, gradient: Tensor) -> None:
    """Raise AssertionError unless <gradient, S> is the central difference of <upstream, P> for random symmetric S."""
    torch.testing.assert_close(gradient, gradient.mT)
    for seed in range(5):
        direction, size = symmetric(len(matrix), seed=50 + seed), 1e-5
        above, below = (top_projector_of(matrix + sign * size * direction, count) for sign in (1, -1))
        slope = ((above - below) * upstream).sum() / (2 * size)
        torch.testing.assert_close((gradient * direction).sum(), slope, atol=1e-6, rtol=1e-5)


SPECTRA = {
    "generic": [0.1, 0.2, 0.45, 0.5, 0.8, 1.1, 1.4, 2.0],
    "kept pair": [0.1, 0.2, 0.45, 0.5, 0.8, 1.5, 1.5, 2.0],
    "all kept": [0.1, 0.2, 0.45, 0.5, 0.8, 1.5, 1.5, 1.5],
    "dropped": [0.1, 0.1, 0.1, 0.5, 0.5, 1.1, 1.4, 2.0],
    "both": [-0.4, -0.4, 0.3, 0.3, 0.3, 2.0, 2.0, 2.0],
}


@pytest.mark.parametrize("values", SPECTRA.values(), ids=SPECTRA)
def test_repeated_eigenvalues_on_one_side_of_the_gap_do_no_harm(values: list[float]) -> None:
    upstream = normal(8, 8, seed=3)
    for matrix in (with_spectrum(values), torch.diag(torch.tensor(values, dtype=torch.float64))):
        assert_is_the_slope(matrix, 3, upstream, projector_gradient(matrix, 3, upstream))


@pytest.mark.parametrize("values", [SPECTRA["kept pair"], SPECTRA["all kept"]])
def test_a_gradient_through_eigenvectors_fails_where_kept_eigenvalues_meet(values: list[float]) -> None:
    upstream = normal(8, 8, seed=3)
    matrix = torch.diag(torch.tensor(values, dtype=torch.float64)).requires_grad_()
    kept = torch.linalg.eigh(matrix)[1][:, -3:]
    through = torch.autograd.grad((kept @ kept.T * upstream).sum(), matrix)[0]
    assert not torch.isfinite(through).all()
    with pytest.raises(AssertionError):
        assert_is_the_slope(matrix.detach(), 3, upstream, through)


@pytest.mark.parametrize("width", [1e-12, 1e-6, 3e-5, 1e-3, 0.1])
def test_the_gap_is_relative_to_the_largest_eigenvalue(width: float) -> None:
    matrix = with_spectrum([-5.0, 0.1, 0.5, 1.0, 1.0 + width, 1.2])
    for scale in (1.0, 1e-6, 1e6):
        projector, is_open = top_projector(scale * matrix, 2, gap=1e-5)
        assert bool(is_open) == (width > 5e-5)
        torch.testing.assert_close(projector @ projector, projector)
        gradient = projector_gradient(scale * matrix, 2, normal(6, 6, seed=1))
        assert bool(gradient.any()) == bool(is_open)
        assert torch.isfinite(gradient).all()


def test_an_exactly_closed_gap_has_no_gradient() -> None:
    for matrix in (torch.eye(6).double(), torch.zeros(6, 6).double(), with_spectrum([0.1, 0.2, 1.0, 1.0, 1.5, 2.0])):
        assert not top_projector(matrix, 3)[1]
        assert not projector_gradient(matrix, 3, normal(6, 6, seed=1)).any()


def test_rotating_the_matrix_rotates_the_projector_and_its_gradient() -> None:
    matrix, upstream, turn = symmetric(9), symmetric(9, seed=1), rotation(9, seed=2)
    torch.testing.assert_close(top_projector(turn @ matrix @ turn.T, 4)[0], turn @ top_projector(matrix, 4)[0] @ turn.T)
    found = projector_gradient(turn @ matrix @ turn.T, 4, turn @ upstream @ turn.T)
    torch.testing.assert_close(found, turn @ projector_gradient(matrix, 4, upstream) @ turn.T)


def test_a_batch_is_its_matrices_one_by_one() -> None:
    matrices, upstream = symmetric(2, 3, 6), normal(2, 3, 6, 6, seed=1)
    matrices[1, 0] = with_spectrum([0.1, 0.2, 1.0, 1.0, 1.5, 2.0])
    projectors, is_open = top_projector(matrices, 3)
    slopes = projector_gradient(matrices, 3, upstream)
    assert is_open.tolist() == [[True] * 3, [False, True, True]]
    for index in np.ndindex(2, 3):
        torch.testing.assert_close(projectors[index], top_projector(matrices[index], 3)[0])
        torch.testing.assert_close(slopes[index], projector_gradient(matrices[index], 3, upstream[index]))


def test_duplicated_nodes_have_a_projector_and_a_gradient() -> None:
    """Four nodes three times: N has four eigenvalues above 0 and eight at 0, so that the gaps after 1 to 4 are open."""
    features = normal(4, 6).repeat(3, 1).requires_grad_()
    matrix = normalised_affinity(features)[0]
    assert [bool(top_projector(matrix, count)[1]) for count in range(1, 9)] == [True] * 4 + [False] * 4
    projector, _ = top_projector(matrix, 3)
    torch.testing.assert_close(projector[:4, :4] * 3, top_projector(normalised_affinity(features[:4])[0], 3)[0])
    for count in (3, 6):
        upstream = normal(12, 12, seed=1)
        gradient = projector_gradient(matrix.detach(), count, upstream)
        assert torch.isfinite(gradient).all()
        if count == 3:
            assert_is_the_slope(matrix.detach(), count, upstream, gradient)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 50.0])
@pytest.mark.parametrize("channels", [8, 13])
def test_a_rotation_and_a_scale_cost_nothing(channels: int, scale: float) -> None:
    before = [normal(20, 8, seed=seed) for seed in range(3)]
    turns = [scale * rotation(channels, seed)[:8] for seed in range(3)]
    after = torch.stack([rows @ turn for rows, turn in zip(before, turns, strict=True)]).requires_grad_()
    loss, closed = eigen_loss(before, after)
    assert float(loss.detach()) < 1e-10
    assert closed == 0
    loss.backward()
    assert torch.isfinite(after.grad).all()
    squeezed, _ = eigen_loss(before, after.detach() * torch.linspace(0.1, 3, channels))
    assert float(squeezed) > 0.1


def test_features_before_carry_no_gradient() -> None:
    before = normal(20, 8).requires_grad_()
    eigen_loss([before], (before.detach() + normal(20, 8, seed=1)).unsqueeze(0).requires_grad_())[0].backward()
    assert before.grad is None


@pytest.mark.parametrize("side", ["before", "after", "both"])
def test_slots_with_a_closed_gap_are_left_out_and_counted(side: str) -> None:
    before, after = [normal(12, 5, seed=seed) for seed in range(4)], torch.stack([normal(12, 7, seed=9)] * 4)
    duplicated = normal(4, 12, seed=5).repeat(3, 1)  # four distinct nodes: no gap after 6
    if side != "after":
        before[1] = duplicated[:, :5]
    if side != "before":
        after[1] = duplicated[:, :7]
    after.requires_grad_()
    loss, closed = eigen_loss(before, after)
    assert closed == 1
    others = [0, 2, 3]
    torch.testing.assert_close(loss, eigen_loss([before[slot] for slot in others], after[others])[0])
    loss.backward()
    assert torch.isfinite(after.grad).all()
    assert [bool(slot.any()) for slot in after.grad] == [True, False, True, True]


def test_without_an_open_gap_the_loss_is_zero() -> None:
    nodes = normal(4, 8).repeat(3, 1)
    for after in (torch.stack([nodes, nodes + 1]), torch.zeros(2, 12, 8).double()):
        after.requires_grad_()
        loss, closed = eigen_loss([nodes, nodes], after)
        assert (float(loss.detach()), closed) == (0.0, 2)
        loss.backward()
        assert not after.grad.any()


def test_the_number_of_eigenvectors_is_that_of_the_equation() -> None:
    before, after = normal(12, 5), normal(12, 7, seed=1)
    for count in (1, 3, 8):
        difference = affinity_projector(before, count) - affinity_projector(after, count)
        expected = (difference * (-dense_affinity(before)).exp()).norm()
        torch.testing.assert_close(eigen_loss([before], after.unsqueeze(0), count)[0], expected)


@pytest.mark.parametrize(("nodes", "channels"), [(5, 11), (11, 11), (30, 11), (2, 3), (40, 1)])
def test_covariance_loss_is_that_of_numpy(nodes: int, channels: int) -> None:
    after = normal(nodes, channels) + 7
    covariance = np.cov(after.numpy(), rowvar=False).reshape(channels, channels)
    expected = (covariance**2).sum() - (np.diag(covariance) ** 2).sum()
    assert float(covariance_loss(after)) == pytest.approx(expected / channels, abs=1e-12)
    slots = normal(2, nodes, channels)
    torch.testing.assert_close(covariance_loss(slots), covariance_loss(slots.flatten(0, 1)))


def test_zero_loss_has_a_minimum_at_zero_mean() -> None:
    after = normal(2, 15, 6)
    centred = after - after.mean((0, 1))
    assert float(zero_loss(centred)) < 1e-12
    shift = torch.tensor([1.0, -1.0, 0.5, -0.5, 2.0, -2.0], dtype=torch.float64)
    assert float(zero_loss(centred + shift)) == pytest.approx(7 / 6)


def test_agreement_loss_is_zero_where_slots_say_the_same_up_to_a_factor() -> None:
    one, offsets = normal(1, 20, 6), 9 * normal(3, 1, 6, seed=1)
    assert float(agreement_loss(one * torch.tensor([1.0, 0.1, 30.0])[:, None, None] + offsets)) < 1e-12
    assert float(agreement_loss(torch.cat([one, -one / 2]) + offsets[:2])) == pytest.approx(1)  # cosines 1 and -1
    orthogonal = torch.linalg.qr(torch.cat([torch.ones(20, 1).double(), normal(20, 2)], 1))[0][:, 1:].T.unsqueeze(2)
    assert float(agreement_loss(orthogonal)) == pytest.approx(1 - 0.5**0.5)
    silent = torch.zeros(3, 20, 6, dtype=torch.float64).requires_grad_()
    loss = agreement_loss(silent)
    assert float(loss.detach()) == 1
    loss.backward()
    assert torch.isfinite(silent.grad).all()


Study = tuple[list[Tensor], Tensor, Draw]
FIT, HELDOUT = torch.arange(150), torch.arange(150, 200)


def draw_from(tokens: Sequence[Tensor]) -> Draw:
    """Nodes drawn with replacement, the same places in all slots."""

    def draw(rows: Tensor, count: int, generator: torch.Generator) -> list[Tensor]:
        images = rows[torch.randint(len(rows), (count,), generator=generator)]
        places = torch.randint(tokens[0].shape[1], (count,), generator=generator)
        return [block[images, places] for block in tokens]

    return draw


def make_tokens(dtype: torch.dtype = torch.float32) -> tuple[list[Tensor], Tensor]:
    """Tokens (200, 10, D_i) of three slots with a common mean, and responses (200, 30), of 4 shared dimensions."""
    shared = normal(200, 4)
    tokens = []
    for width in (12, 20, 33):
        image = shared @ normal(4, width, seed=width) + normal(200, width, seed=1 + width)
        tokens.append((image[:, None] + 2 * normal(200, 10, width, seed=2 + width) + 5 * normal(width)).to(dtype))
    return tokens, (3 + shared @ normal(4, 30, seed=1) + normal(200, 30, seed=2)).to(dtype)


@pytest.fixture(scope="module")
def study() -> Study:
    tokens, responses = make_tokens()
    return [block.mean(1) for block in tokens], responses, draw_from(tokens)


def train(study: Study, **changes: object) -> Alignment:
    pooled, responses, draw = study
    settings = Settings(**{"dim": 8, "epochs": 6, "batch": 40, "nodes": 40, **changes})
    return fit_alignment(pooled, responses, draw, FIT, HELDOUT, settings)


def made_by(found: Alignment, pooled: Sequence[Tensor]) -> Tensor:
    return predict(pooled, found.transforms, found.beta, found.eps)


def heldout_score(found: Alignment, study: Study) -> float:
    pooled, responses, _ = study
    return float(r_squared(made_by(found, [mean[HELDOUT] for mean in pooled]), responses[HELDOUT]).mean())


@pytest.mark.parametrize("init", sorted(STARTS))
def test_training_predicts_images_that_it_has_not_seen(study: Study, init: str) -> None:
    found = train(study, init=init, epochs=20, rate=0.05)
    assert heldout_score(found, study) > 0.25
    assert float(found.heldout[found.best]) == pytest.approx(heldout_score(found, study), abs=1e-5)
    assert float(found.heldout.max()) == float(found.heldout[found.best])
    assert [tuple(matrix.shape) for matrix in found.transforms] == [(12, 8), (20, 8), (33, 8)]
    assert (tuple(found.beta.shape), tuple(found.eps.shape)) == ((8, 30), (30,))
    assert not any(tensor.requires_grad for tensor in [*found.transforms, found.beta, found.eps])


def test_a_random_start_improves(study: Study) -> None:
    found = train(study, init="random", epochs=20, rate=0.05)
    assert float(found.heldout[0]) < 0
    assert float(found.heldout[found.best]) > 0.25
    totals = found.losses[:, LOGGED.index("total")]
    assert float(totals[-4:].mean()) < 0.8 * float(totals[:4].mean())
    assert found.start is None
    steps = found.heldout.diff().abs()
    assert float(steps[-1]) < 0.05 * float(steps.max())


def test_a_random_start_is_that_of_its_seed(study: Study) -> None:
    """And its aligned nodes have mean square 1, up to which nodes are drawn."""
    first, second, other = (train(study, init="random", epochs=0, seed=seed).beta for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    found, nodes = train(study, init="random", epochs=0, nodes=4000), study[2](FIT, 4000, torch.Generator())
    squares = [(node @ matrix).square().mean() for node, matrix in zip(nodes, found.transforms, strict=True)]
    assert float(torch.stack(squares).mean()) == pytest.approx(1, abs=0.03)


def ridge_maps(study: Study, alpha: float, rank: int, agree: float, ranks: Sequence[int]) -> list[Tensor]:
    """W_i beta of the start from its parts, on features in units of their spread and off the mean token's direction.

    The slots' factors are those of `weigh_slots`. With agreement the slots agree on all tokens too, and each has a
    weight, which is found in the space of all voxels.
    """
    pooled, responses, draw = study
    features, seen, held, planes = [], [], [], []
    for mean, tokens in zip(pooled, draw(FIT, 0, torch.Generator()), strict=True):
        block = mean[FIT].double()
        spread = float((block - block.mean(0)).square().mean().sqrt())
        direction = normalize(block.mean(0), dim=0)
        planes.append((torch.eye(len(direction)).double() - torch.outer(direction, direction)) / spread)
        features.append((block - block.mean(0)) @ planes[-1])
        seen.append((mean[HELDOUT].double() - block.mean(0)) @ planes[-1])
        held.append(tokens.double() @ planes[-1])
    known, aim = ((responses[rows] - responses[FIT].mean(0)).double() for rows in (FIT, HELDOUT))
    problem = Problem.of(features, known, seen, aim)
    factors, choice = weigh_slots(problem, choose(problem, ranks, agree), agree)
    assert choice.alpha == pytest.approx(alpha, rel=1e-3)
    planes = [plane * factor for plane, factor in zip(planes, factors, strict=True)]
    features, seen, held = (
        [block * factor for block, factor in zip(blocks, factors, strict=True)] for blocks in (features, seen, held)
    )
    spectra = [spectrum(block) for block in features]
    fit = reduced_rank(features, spectra, smoother(spectra, alpha, agree), known, rank)
    if not agree:
        return [plane @ matrix @ fit.beta for plane, matrix in zip(planes, fit.transforms, strict=True)]
    transforms = consensus_transforms(features, held, [0] * len(held), known @ fit.beta.T, alpha, agree)
    maps = [block @ matrix @ fit.beta for block, matrix in zip(seen, transforms, strict=True)]
    weights = stacking_weights(torch.stack(maps), aim)
    scaled = [weight * matrix for weight, matrix in zip(weights, transforms, strict=True)]
    beta = best_read_out(pooled_nodes(features, scaled), known, pooled_nodes(seen, scaled), aim)
    return [plane @ matrix @ beta for plane, matrix in zip(planes, scaled, strict=True)]


@pytest.fixture
def whole(monkeypatch: pytest.MonkeyPatch) -> Study:
    """The study with a draw that gives all tokens of the images, and a start that is solved to the end."""
    tokens, responses = make_tokens()
    exact = partial(agree_on_places, tolerance=1e-6)
    monkeypatch.setattr("alignedcut_cli.core.align.ridge_start.agree_on_places", exact)

    def draw(rows: Tensor, _count: int, _generator: torch.Generator) -> list[Tensor]:
        return [block[rows].flatten(0, 1) for block in tokens]

    return [block.mean(1) for block in tokens], responses, draw


def pooled_nodes(features: list[torch.Tensor], transforms: list[torch.Tensor]) -> np.ndarray:
    return sum(x @ w for x, w in zip(features, transforms, strict=True)).numpy() / len(features)


def best_read_out(nodes: np.ndarray, known: torch.Tensor, seen: np.ndarray, aim: torch.Tensor) -> torch.Tensor:
    """The ridge regression of responses on aligned channels, of scikit-learn, with the best penalty on held-out images."""
    values = np.linalg.eigvalsh(nodes.T @ nodes)
    unit = values[values > 1e-6 * values[-1]].mean()
    fits = [Ridge(alpha=alpha * unit, fit_intercept=False).fit(nodes, known.numpy()) for alpha in ALPHAS]
    scores = [r2_score(aim.numpy(), fit.predict(seen)) for fit in fits]
    return torch.from_numpy(fits[int(np.argmax(scores))].coef_.T)


@pytest.mark.parametrize("agree", [0.0, 0.3])
def test_without_epochs_it_is_the_ridge_start(whole: Study, agree: float) -> None:
    found = train(whole, epochs=0, weights=Weights(agree=agree))
    assert found.start is not None
    assert found.start.rank == 8
    assert (len(found.losses), len(found.heldout), found.best) == (0, 1, 0)
    assert float(found.heldout[0]) == pytest.approx(found.start.score, abs=1e-4)
    expected = ridge_maps(whole, found.start.alpha, found.start.rank, agree, [8])
    brain = [matrix.double() @ found.beta.double() for matrix in found.transforms]
    torch.testing.assert_close(brain, expected, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(found.eps, whole[1][FIT].mean(0))


def test_without_a_number_of_channels_the_start_chooses(study: Study) -> None:
    found = train(study, dim=None, epochs=0)
    assert found.start is not None
    assert found.start.rank in ranks_up_to(30)  # voxels, fewer than the 33 channels of the widest slot
    assert 2 <= found.start.rank <= 8
    assert [matrix.shape[1] for matrix in found.transforms] == [found.start.rank] * 3
    expected = ridge_maps(study, found.start.alpha, found.start.rank, Weights().agree, ranks_up_to(30))
    brain = [matrix.double() @ found.beta.double() for matrix in found.transforms]
    torch.testing.assert_close(brain, expected, atol=1e-4, rtol=1e-3)
    assert train(study, dim=None, init="random", epochs=0).beta.shape == (33, 30)


def test_the_ridge_start_takes_the_mean_token_to_zero(study: Study) -> None:
    found = train(study, epochs=0)
    for mean, matrix in zip(study[0], found.transforms, strict=True):
        size = float((mean[FIT] @ matrix).norm(dim=1).mean())
        assert float((mean[FIT].mean(0) @ matrix).norm()) < 1e-4 * size


def test_agreeing_slots_predict_alone(study: Study) -> None:
    pooled, responses, _ = study
    own = []
    for agree in (0.0, 1.0):
        found = train(study, epochs=4, weights=Weights(agree=agree))
        slots = zip(pooled, found.transforms, strict=True)
        alone = [mean[HELDOUT] @ matrix @ found.beta + found.eps for mean, matrix in slots]
        own.append(np.mean([float(r_squared(made, responses[HELDOUT]).mean()) for made in alone]))
    assert own[1] > own[0] + 0.02


def test_agreeing_slots_say_the_same_of_places() -> None:
    """Of tokens of images that were not fitted: closer to the mean of slots, where places are said to be the same."""
    image = normal(200, 1, 6) * torch.tensor([3.0, 0.1, 0.1, 0.1, 0.1, 0.1])
    place = normal(200, 10, 6, seed=1)
    latents = image + place - place.mean(1, keepdim=True)  # images differ in one of what differs in places
    tokens = [(latents @ normal(6, width, seed=width)).float() for width in (12, 20, 33)]
    responses = (image[:, 0] @ normal(6, 30, seed=2) + 0.5 * normal(200, 30, seed=3)).float()
    pooled, draw = [block.mean(1) for block in tokens], draw_from(tokens)
    nodes = draw(HELDOUT, 300, torch.Generator())
    apart = []
    for agree, places in ((10.0, [0, 0, 0]), (10.0, [0, 1, 2]), (0.0, [0, 0, 0])):
        settings = Settings(dim=4, epochs=0, weights=Weights(agree=agree))
        found = fit_alignment(pooled, responses, draw, FIT, HELDOUT, settings, places=places)
        said = torch.stack([normalize(node @ one, dim=1) for node, one in zip(nodes, found.transforms, strict=True)])
        apart.append(float((said - said.mean(0)).square().sum(2).mean()))
    assert apart[0] < 0.8 * apart[1]
    assert apart[0] < 0.8 * apart[2]


def test_the_loss_knows_which_slots_hold_the_same_places() -> None:
    tokens, (responses, *transforms, beta, eps) = step()
    pooled, nodes = [block.mean(1) for block in tokens], [block.flatten(0, 1) for block in tokens]
    after = torch.stack([rows @ matrix for rows, matrix in zip(nodes, transforms, strict=True)])
    each = torch.stack([mean @ matrix for mean, matrix in zip(pooled, transforms, strict=True)])
    images, count = agreement_loss(each), len(tokens)
    for places in ([0] * count, [0, *[1] * (count - 1)], list(range(count))):
        found = total_loss(pooled, nodes, responses, transforms, beta, eps, Weights(agree=1.0), places)
        groups = [[slot for slot in range(count) if places[slot] == place] for place in set(places)]
        said = sum(len(group) * agreement_loss(after[group]) for group in groups) / count
        torch.testing.assert_close(found.agree, (images + said) / 2)


def test_the_start_does_not_depend_on_the_gauge(study: Study) -> None:
    """Other tokens balance the channels otherwise: other W and beta, the same W beta."""
    pooled, responses, draw = study

    def louder(rows: Tensor, count: int, generator: torch.Generator) -> list[Tensor]:
        return [node * torch.linspace(0.1, 3, node.shape[1]) for node in draw(rows, count, generator)]

    plain = Weights(agree=0.0)
    one, other = train(study, epochs=0, weights=plain), train((pooled, responses, louder), epochs=0, weights=plain)
    assert float((one.beta - other.beta).norm()) > 0.1 * float(one.beta.norm())
    brain = [[matrix @ found.beta for matrix in found.transforms] for found in (one, other)]
    torch.testing.assert_close(brain[0], brain[1], atol=1e-5, rtol=1e-4)


def test_the_start_is_balanced() -> None:
    """Aligned nodes have the second moment beta beta^T up to a factor, and mean square 1."""
    tokens, responses = make_tokens(torch.float64)

    def draw(rows: Tensor, _count: int, _generator: torch.Generator) -> list[Tensor]:
        return [block[rows].flatten(0, 1) for block in tokens]

    found = train(([block.mean(1) for block in tokens], responses, draw), epochs=0, dim=3)
    assert found.start is not None
    assert found.start.rank == 3
    nodes = draw(FIT, 0, torch.Generator())
    after = torch.cat([node @ matrix for node, matrix in zip(nodes, found.transforms, strict=True)])
    moment, gram = after.T @ after / len(after), found.beta @ found.beta.T
    assert float(after.square().mean()) == pytest.approx(1)
    torch.testing.assert_close(moment / moment.trace(), gram / gram.trace(), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("init", sorted(STARTS))
def test_the_seed_is_all_that_is_random(study: Study, init: str) -> None:
    first, second, other = (train(study, init=init, epochs=2, seed=seed) for seed in (1, 1, 2))
    for name in ("beta", "eps", "losses", "heldout"):
        assert torch.equal(getattr(first, name), getattr(second, name))
    assert all(torch.equal(one, two) for one, two in zip(first.transforms, second.transforms, strict=True))
    assert not torch.equal(first.losses, other.losses)


def test_every_step_is_logged_and_ticked(study: Study) -> None:
    pooled, responses, draw = study
    ticks: list[int] = []
    settings = Settings(dim=8, epochs=3, batch=40, nodes=40, weights=Weights(0.5, 0.2, 0.1, 0.3), patience=9)
    found = fit_alignment(pooled, responses, draw, FIT, HELDOUT, settings, ticks.append)
    assert found.losses.shape == (3 * 4, len(LOGGED))
    assert len(found.heldout) == 3 + 1
    assert ticks == [1] * 12
    logged = dict(zip(LOGGED, found.losses.T, strict=True))
    parts = 0.5 * logged["eigen"] + 0.2 * logged["zero"] + 0.1 * logged["cov"] + 0.3 * logged["agree"]
    torch.testing.assert_close(logged["total"], logged["brain"] + parts)
    assert not logged["closed"].any()


def test_it_stops_early_and_keeps_the_best_epoch(study: Study) -> None:
    """Far too long steps: held-out images are soon predicted worse."""
    found = train(study, init="random", epochs=60, patience=3, rate=0.1)
    ran = len(found.heldout) - 1
    assert 3 <= ran < 60
    assert ran - (1 + int(found.heldout[1:].argmax())) == 3
    assert found.best == int(found.heldout.argmax()) < ran
    assert heldout_score(found, study) == pytest.approx(float(found.heldout[found.best]), abs=1e-5)
    assert len(found.losses) == 4 * ran


def test_the_start_is_kept_where_training_only_harms(study: Study) -> None:
    """Patience counts from the best epoch since the start, which need not be better than the start."""
    found, start = train(study, rate=0.3, patience=4, epochs=40), train(study, epochs=0)
    assert found.best == 0
    assert len(found.heldout) - 1 == 1 + int(found.heldout[1:].argmax()) + 4 < 40
    assert int(found.heldout[1:].argmax()) > 0
    assert torch.equal(found.beta, start.beta)
    assert all(torch.equal(one, two) for one, two in zip(found.transforms, start.transforms, strict=True))


def test_inputs_are_not_altered(study: Study) -> None:
    tokens, responses = make_tokens()
    pooled = [block.mean(1) for block in tokens]
    before = [tensor.clone() for tensor in [*pooled, *tokens, responses]]
    train((pooled, responses, draw_from(tokens)), epochs=2, rate=0.1)
    assert all(torch.equal(now, then) for now, then in zip([*pooled, *tokens, responses], before, strict=True))


@pytest.mark.parametrize("init", sorted(STARTS))
def test_the_scale_of_a_slot_does_not_matter(init: str) -> None:
    tokens, responses = make_tokens(torch.float64)
    found = []
    for scale in (1.0, 1000.0):
        scaled = [tokens[0], tokens[1] * scale, tokens[2]]
        pooled = [block.mean(1) for block in scaled]
        alignment = train((pooled, responses, draw_from(scaled)), init=init, epochs=2)
        found.append(made_by(alignment, pooled))
    torch.testing.assert_close(found[0], found[1], atol=1e-6, rtol=1e-6)


def test_fitted_tokens_average_to_the_prediction(study: Study) -> None:
    """The mean over slots and tokens of V_i W_i beta, plus eps, is what is predicted from mean tokens."""
    tokens, _ = make_tokens()
    found = train(study, epochs=2)
    brain = [block @ matrix @ found.beta for block, matrix in zip(tokens, found.transforms, strict=True)]  # (B, P, N)
    mean = torch.stack([block.mean(1) for block in brain]).mean(0)
    torch.testing.assert_close(mean + found.eps, made_by(found, study[0]), atol=1e-4, rtol=1e-4)


def test_features_of_zero_are_refused(study: Study) -> None:
    pooled, responses, draw = study
    with pytest.raises(NumericsError, match="are the same for all images"):
        train(([torch.zeros_like(mean) for mean in pooled], responses, draw))


@pytest.mark.parametrize("value", [0.1, 1.0])
@pytest.mark.parametrize("init", sorted(STARTS))
def test_a_slot_that_does_not_vary_is_refused(study: Study, init: str, value: float) -> None:
    pooled, responses, draw = study
    with pytest.raises(NumericsError, match="are the same for all images"):
        train(([torch.full_like(pooled[0], value), *pooled[1:]], responses, draw), init=init)
