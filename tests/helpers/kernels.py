"""Every kernel of core that takes tensors or a device, each with a small call, for the device tests.

A call gets `on`, which moves tensors, in any nesting, to the device, and the device itself. Node ids stay on the
CPU, where `uniform_sample` makes them; docstrings say what else does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor

from alignedcut_cli.core import numerics
from alignedcut_cli.core.align import (
    any_threads,
    consensus,
    influence,
    loss,
    projector,
    reduced_rank_ridge,
    ridge_start,
    scores,
    spaces,
    train,
    units,
)
from alignedcut_cli.core.embed import affinities, colours, device, tsne
from alignedcut_cli.core.embed.threads import Threads
from alignedcut_cli.core.graph import (
    affinity,
    attention,
    block_krylov,
    bootstrap,
    certificate,
    choose_solver,
    density,
    landmarks,
    lowrank,
    ncut,
    one_pass,
    parallel_tiles,
    quantised_cosines,
    refine,
    sampling,
    sparse_graph,
    subspaces,
)
from alignedcut_cli.core.groups import activations, iou, oracle, resize, similarity, slot_scores
from tests.helpers.encode_kernels import ENCODE_KERNELS
from tests.helpers.map_kernels import MAP_KERNELS
from tests.helpers.reference import clusters

__all__ = ["KERNELS"]

On = Callable[[Any], Any]
NODES, WIDTH, COUNT = 90, 8, 4


def drawn(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


def rows() -> Tensor:
    """Unit rows in clusters (NODES, WIDTH)."""
    return affinity.unit_rows(clusters(NODES, WIDTH, groups=5, spread=0.8))


def readers(on: On) -> tuple[Callable[[int, int], Tensor], Callable[[Tensor], Tensor]]:
    """`read` and `take` as `GraphRows` has them: ids on the CPU, rows on the device."""
    units = on(rows())
    return lambda start, stop: units[start:stop], lambda ids: units[ids.to(units.device)]


def weights() -> Tensor:
    return torch.linspace(0.5, 1.5, NODES)


def orthonormal(columns: int = COUNT) -> Tensor:
    return torch.linalg.qr(drawn(NODES, columns)).Q


def exact_cut(on: On, device: Any) -> Any:
    """Without weights and with; these also on the CPU, where `cut --balance` may leave them."""
    some = ncut.ncut_exact(on(rows()), COUNT, tile=40)
    return some, ncut.ncut_exact(on(rows()), COUNT, weights=weights(), tile=40)


def low_rank(on: On, device: Any, **options: Any) -> Any:
    read, take = readers(on)
    return lowrank.ncut_lowrank(read, NODES, COUNT, nodes=30, tile=40, take=take, **options)


def moments() -> Tensor:
    return subspaces.moments_by_image(drawn(30, 3), drawn(30, 4, seed=1), torch.arange(30) // 10, 3)


def bootstrapped(on: On, device: Any) -> Any:
    read, take = readers(on)
    images, draws = torch.arange(NODES) // 10, torch.ones(3, NODES // 10)
    extension = low_rank(on, device).extension
    return bootstrap.bootstrap_cut(
        read, take, NODES, extension, images, draws, COUNT, weights=on(weights()), columns=20, tile=40
    )


def refined(on: On, device: Any) -> Any:
    return refine.refine(on(rows()), low_rank(on, device, weights=on(weights())), 1, weights=weights(), tile=40)


def certified(on: On, device: Any) -> Any:
    read, take = readers(on)
    values = torch.linspace(1, 0.5, COUNT)
    known = {"degrees": weights(), "weights": weights()}
    options: dict[str, Any] = {"gamma": 1.0, "rank": 5, "seed": 0, "tile": 40}
    return [certificate.certify(read, take, on(orthonormal()), on(values), **options, **some) for some in ({}, known)]


def eigenpairs(on: On, device: Any) -> Any:
    units = on(rows())
    start = on(drawn(NODES, 8))
    return block_krylov.top_eigenpairs(lambda block: affinity.affinity_product(units, block, 1.0, 40), start, COUNT)


def exact_rows(on: On, device: Any) -> Any:
    made = certificate.ExactRows.none(10, COUNT, device)
    made.add(certificate.ExactRows.of(on(drawn(10, 7).abs()), on(drawn(7, COUNT)), on(torch.ones(7))))
    return made.scaled(on(torch.ones(10)))


def passed(on: On, device: Any) -> Any:
    """The steps of a pass in two ranges, as those who share it do them."""
    read, take = readers(on)
    with mock.patch.object(lowrank, "pilot_nodes", return_value=50):
        assert not lowrank.is_whole(NODES, 30)
        pilot = lowrank.pilot_lowrank(take, NODES, COUNT, nodes=30, tile=40, weights=lambda ids: weights()[ids])
    sums, made, ranges = one_pass.Sums.none(pilot), [], one_pass.split(NODES, 50)
    for start, stop in ranges:
        made.append(one_pass.Projected.empty(stop - start, COUNT, len(pilot.guess), on(torch.zeros(1)).device))
        sums.add(one_pass.project(pilot, read, start, stop, made[-1], weights=weights()[start:stop], tile=40))
    coefficients = one_pass.degree_map(pilot, sums.mass)
    degrees = [one_pass.degrees_of(one, coefficients) for one in made]
    some = [weights()[start:stop] for start, stop in ranges]
    gram = one_pass.add_up(map(one_pass.gram_of, made, degrees, some))
    whole = one_pass.Projected(*(torch.cat(parts) for parts in zip(*((p.first, p.spare) for p in made), strict=True)))
    signing = lowrank.signing_nodes(NODES, 0)
    found = one_pass.rotation_of(
        pilot, sums.exact, coefficients, gram, COUNT, NODES, lambda ids: whole.rows(ids.to(gram.device)), signing
    )
    grams = list(map(one_pass.rotate, made, degrees, [found.turn] * 2, [one.first for one in made], some))
    return lowrank.cut_of(pilot, found, torch.cat([one.first for one in made]), one_pass.add_up(grams))


def extended(on: On, device: Any) -> Any:
    return landmarks.Extension(on(rows()[:20]), on(drawn(21, COUNT + 1)), 1.0).rows(on(rows()))


def slots_of(on: On) -> tuple[list[Tensor], Tensor]:
    """Pooled features (24, D_i) of three slots, and responses (24, 10) that they predict."""
    shown = drawn(24, 5, seed=1)
    pooled = [shown @ drawn(5, width, seed=width) + 0.1 * drawn(24, width, seed=9) for width in (6, 7, 7)]
    return on(pooled), on(shown @ drawn(5, 10, seed=2))


def aligned(on: On, device: Any, init: str = "ridge") -> Any:
    pooled, responses = slots_of(on)
    settings = train.Settings(dim=4, weights=loss.Weights(agree=0.3), init=init, epochs=2, batch=8, nodes=12)

    def draw(images: Tensor, count: int, generator: torch.Generator) -> list[Tensor]:
        chosen = torch.randint(len(images), (min(count, 40),), generator=generator)
        return [one[images][chosen.to(one.device)] + 0.1 for one in pooled]

    fit, heldout = on(torch.arange(18)), on(torch.arange(18, 24))
    return train.fit_alignment(pooled, responses, draw, fit, heldout, settings, places=[0, 0, 1])


def ridge(on: On, device: Any) -> Any:
    """The steps of the ridge start in sequence."""
    pooled, responses = slots_of(on)
    features = [one - one.mean(0) for one in pooled]
    spectra = [reduced_rank_ridge.spectrum(one) for one in features]
    found = reduced_rank_ridge.smoother(spectra, 0.1, 0.3)
    fit = reduced_rank_ridge.reduced_rank(features, spectra, found, responses, 4)
    problem = reduced_rank_ridge.Problem.of(features, responses, features, responses)
    choice = reduced_rank_ridge.choose(problem, [2, 4], 0.3, (0.1, 1.0))
    return fit, reduced_rank_ridge.weigh_slots(problem, choice, 0.3)


def started(on: On, device: Any) -> Any:
    """What of the ridge start is had ahead."""
    pooled, responses = slots_of(on)
    fit, heldout = on(torch.arange(18)), on(torch.arange(18, 24))
    spectra = [ridge_start.slot_spectrum(one, fit) for one in pooled]
    problem, ranks = ridge_start.selection(pooled, responses, fit, heldout, spectra, None)
    return [one.values for one in spectra], reduced_rank_ridge.try_penalty(problem, ranks, 0.3, 0.1)


def agreed(on: On, device: Any) -> Any:
    pooled, responses = slots_of(on)
    data = consensus.Consensus(pooled, [one[:20] for one in pooled], [0, 0, 1])
    start = [one.new_zeros(one.shape[1], 10) for one in pooled]
    return consensus.agree_on_places(data, responses, start, 0.1, 0.3)


def all_losses(on: On, device: Any) -> Any:
    pooled, responses = slots_of(on)
    maps = [on(drawn(one.shape[1], 8, seed=3)).requires_grad_() for one in pooled]
    beta, eps = on(drawn(8, 10)), on(torch.zeros(10))
    found = loss.total_loss(pooled, pooled, responses, maps, beta, eps, loss.Weights(agree=0.3), [0, 0, 1])
    found.total.backward()
    return found.total.detach(), [one.grad for one in maps]


def projected(on: On, device: Any) -> Any:
    features = on(rows()).requires_grad_()
    made, is_open = projector.top_projector(projector.normalised_affinity(features)[0], COUNT)
    made.square().sum().backward()
    return made.detach(), is_open, features.grad


def written_down(on: On, device: Any) -> Any:
    """Sums of the device's tiles into float64 on the CPU, as `concepts` computes them; groups are on the CPU."""
    tiles = [(start, on(rows()[start : start + 40])) for start in range(0, NODES, 40)]
    cells = torch.arange(NODES) % 4 - 1
    sums = activations.cell_sums(tiles, cells, 3)
    return sums, activations.moments(tiles, cells, 3)


def clustered(on: On, device: Any) -> Any:
    one, other = (
        activations.Clusters(on(drawn(6, 3, seed=seed).double()), on(torch.tensor([1, 2, 0, 3, 1, 1])))
        for seed in (0, 1)
    )
    return activations.clustered_mean(one), activations.clustered_difference(one, other)


def marks() -> tuple[Tensor, Tensor]:
    """Similarities (NODES,) in (0, 1), and classes -1 to 2."""
    return drawn(NODES).sigmoid(), torch.arange(NODES) % 4 - 1


def thresholds(on: On, device: Any) -> Any:
    """Pixels of `segment` are counted on the CPU for any device."""
    best, truth = marks()
    return iou.threshold_counts(best, truth.clamp_min(0), truth, 3, oracle.oracle_thresholds(5), 0)


def places(count: int = 60) -> np.ndarray:
    return drawn(count, 3).double().numpy()


def read_slot(on: On, device: Any) -> Any:
    """`segment` reads numpy arrays, on the CPU for any device."""
    shape = (2, 3, 3)
    slot = slot_scores.SlotGrid(drawn(*shape, COUNT).numpy(), np.arange(18).reshape(shape))
    labels = np.arange(36).reshape(6, 6) % 3 - 1
    shares = torch.cat([slot_scores.grid_weights(labels, slot.grid, 2, "area")] * 2)
    centres, _ = slot_scores.slot_centres(slot, [0, 1], shares)
    reading = slot_scores.OracleReading(slot, centres, 0.5, 0)
    steps = oracle.oracle_thresholds(4)
    kway = slot_scores.KwayReading(slot, np.arange(18) % 2, np.array([1, 0]))
    return (
        slot_scores.oracle_counts(reading, 0, labels, 2, steps, "bilinear"),
        slot_scores.kway_counts(kway, 0, labels, 2, "nearest"),
        torch.from_numpy(slot_scores.predict(reading, 0, (6, 6), "bilinear")),
    )


def shared(on: On, device: Any) -> Any:
    return sum(parallel_tiles.share_tiles(NODES, 40, device, lambda tiles: sum(stop - start for start, stop in tiles)))


def folded(on: On, device: Any) -> Any:
    total = on(torch.zeros(3))
    units = on(drawn(NODES, 3))
    parallel_tiles.fold_tiles(NODES, 40, device, lambda start, stop: units[start:stop].sum(0), total.add_)
    return total


def joint(on: On) -> affinities.Affinities:
    return affinities.affinities(on(drawn(40, 5)), 4.0, Threads())


def nearest(on: On) -> Any:
    return affinities.nearest_others(on(drawn(40, 5)), 6, Threads())[1].sort().values


def embedded(on: On, where: Any) -> Any:
    """t-SNE of a few iterations, alone and within `spectral_tsne`."""
    with mock.patch.object(tsne, "ITERATIONS", (3, 3)):
        made = colours.spectral_tsne(orthonormal().numpy(), nodes=40, device=where)
        alone = tsne.tsne(drawn(40, 5).numpy(), 3, perplexity=5, seed=0, repulsion="exact", device=where)
    return torch.from_numpy(made.coordinates), torch.from_numpy(alone[0])


def solver_errors(on: On, device: Any) -> Any:
    return list(choose_solver.sample_errors(readers(on)[1], NODES, 60, count=COUNT, neighbors=10).values())


def gathered(on: On, device: Any) -> Any:
    return ncut.gather(readers(on)[0], NODES, torch.arange(3, NODES, 7), 40)


def nystrom(on: On, device: Any) -> Any:
    read, take = readers(on)
    options: dict[str, Any] = {"nodes": 40, "neighbors": 10, "tile": 40}
    ours = ncut.ncut_nystrom(read, NODES, COUNT, take=take, **options)
    return ours, ncut.ncut_nystrom(read, NODES, COUNT, sampling="fps", **options)


def chosen_landmarks(on: On, device: Any) -> Any:
    take = readers(on)[1]
    return [sampling.choose_landmarks(choice, NODES, 20, 0, take) for choice in sampling.LANDMARK_CHOICES]


def pooled_fit(on: On) -> tuple[list[Tensor], list[Tensor], Tensor, Tensor]:
    pooled, _ = slots_of(on)
    return pooled, on([drawn(one.shape[1], 4, seed=5) for one in pooled]), on(drawn(4, 10)), on(drawn(10))


KERNELS: dict[str, Callable[[On, Any], Any]] = {
    "numerics.fix_signs": lambda on, _: numerics.fix_signs(on(orthonormal())),
    "numerics.fixing_signs": lambda on, _: numerics.fixing_signs(on(orthonormal())),
    "graph.affinity.affinity": lambda on, _: affinity.affinity(on(rows()), on(rows()[:9]), 1.0),
    "graph.affinity.affinity_product": lambda on, _: affinity.affinity_product(on(rows()), on(orthonormal()), 1.0, 40),
    "graph.affinity.tile_rows": lambda _, device: affinity.tile_rows(1 << 20, device),
    "graph.affinity.unit_rows": lambda on, _: affinity.unit_rows(on(drawn(9, 3))),
    "graph.attention.attention_product": lambda on, _: attention.attention_product(
        on(rows()), on(orthonormal(11)), 1.0, on(torch.ones(NODES, 1))
    ),
    "graph.attention.attention_serves": lambda on, _: attention.attention_serves(on(rows())),
    "graph.block_krylov.top_eigenpairs": eigenpairs,
    "graph.certificate.ExactRows": exact_rows,
    "graph.certificate.certify": certified,
    "graph.certificate.column_residuals": lambda on, _: certificate.column_residuals(
        on(drawn(9, 3)), on(drawn(9, 3, seed=1)), on(torch.ones(3)), NODES
    ),
    "graph.certificate.orthogonality_defect": lambda on, _: certificate.orthogonality_defect(on(drawn(4, 4))),
    "graph.certificate.part_of": lambda on, _: [
        certificate.part_of(one, 2, 9, on(rows())) for one in (None, weights(), on(weights()))
    ],
    "graph.certificate.subspace_residual": lambda on, _: certificate.subspace_residual(
        on(drawn(30, 3)), on(drawn(30, 3, seed=1)), NODES, 0.5
    ),
    "graph.certificate.weighted_gram": lambda on, _: [
        certificate.weighted_gram(on(orthonormal()), one) for one in (None, weights(), on(weights()))
    ],
    "graph.choose_solver.sample_errors": solver_errors,
    "graph.subspaces.cosines_of_moments": lambda on, _: subspaces.cosines_of_moments(on(moments()), 3),
    "graph.subspaces.moments_by_image": lambda on, _: subspaces.moments_by_image(
        on(drawn(30, 3)), on(drawn(30, 4)), on(torch.arange(30) // 10), 3
    ),
    "graph.subspaces.projector_error": lambda on, _: subspaces.projector_error(on(torch.linspace(0, 1, 4))),
    "graph.subspaces.subspace_error": lambda on, _: subspaces.subspace_error(
        on(orthonormal()), on(drawn(NODES, COUNT, seed=1))
    ),
    "graph.density.cell_weights": lambda on, _: density.cell_weights(on(torch.tensor([3, 0, 5]))),
    "graph.density.nearest_centres": lambda on, _: density.nearest_centres(
        readers(on)[0], 10, NODES, on(rows()[:12]), tile=40
    ),
    "graph.density.voronoi_weights": lambda on, _: density.voronoi_weights(
        readers(on)[0], NODES, on(rows()[:12]), tile=40
    ),
    "graph.landmarks.Extension": extended,
    "graph.landmarks.kernel_columns": lambda on, _: landmarks.kernel_columns(on(rows()), on(rows()[:9]), 1.0),
    "graph.landmarks.whitening": lambda on, _: landmarks.whitening(on(rows()[:20]), 1.0).abs(),
    "graph.bootstrap.bootstrap_cut": bootstrapped,
    "graph.lowrank.ncut_lowrank": lambda on, device: [
        low_rank(on, device),
        low_rank(on, device, weights=weights()),
        low_rank(on, device, pilot=50, precision="bfloat16"),
        low_rank(on, device, pilot=50, weights=weights(), sampling="fps"),
    ],
    "graph.lowrank.cut_of": passed,
    "graph.lowrank.pilot_lowrank": passed,
    "graph.one_pass.Projected": passed,
    "graph.one_pass.Rotation": passed,
    "graph.one_pass.Sums": passed,
    "graph.one_pass.add_up": passed,
    "graph.one_pass.degree_map": passed,
    "graph.one_pass.degrees_of": passed,
    "graph.one_pass.gram_of": passed,
    "graph.one_pass.project": passed,
    "graph.one_pass.rotate": passed,
    "graph.one_pass.rotation_of": passed,
    "graph.one_pass.top_rotation": passed,
    "graph.pilot.guide": passed,
    "graph.pilot.see": passed,
    "graph.ncut.gather": gathered,
    "graph.ncut.ncut_exact": exact_cut,
    "graph.ncut.ncut_nystrom": nystrom,
    "graph.ncut.propagate": lambda on, _: ncut.propagate(on(rows()), on(rows()[:20]), on(drawn(20, 3)), 5),
    "graph.ncut.start_block": lambda on, _: ncut.start_block(on(drawn(9, 1)), 3, 0),
    "graph.parallel_tiles.fold_tiles": folded,
    "graph.parallel_tiles.share_tiles": shared,
    "graph.quantised_cosines.blur": lambda on, _: quantised_cosines.blur(on(rows()), 1.0, "bfloat16"),
    "graph.quantised_cosines.columns_at": lambda on, _: [
        quantised_cosines.columns_at(on(rows()[:20]), 1.0, precision)(on(rows()))
        for precision in ("float32", "bfloat16")
    ],
    "graph.quantised_cosines.cosines_at": lambda on, _: [
        quantised_cosines.cosines_at(on(rows()[:20]), precision)(on(rows())) for precision in ("float32", "bfloat16")
    ],
    "graph.quantised_cosines.product_speed": lambda _, device: quantised_cosines.product_speed(device) > 0,
    "graph.quantised_cosines.quick_precisions": lambda _, device: quantised_cosines.quick_precisions(device)[:1],
    "graph.refine.refine": refined,
    "graph.sampling.choose_landmarks": chosen_landmarks,
    "graph.sampling.farthest_points": lambda on, _: sampling.farthest_points(on(rows()), 9, 0),
    "graph.sampling.nearest_means": lambda on, _: sampling.nearest_means(on(rows()), on(rows()[:9])),
    "align.any_threads.cholesky": lambda on, _: any_threads.cholesky(on(torch.eye(4) + 1)),
    "align.any_threads.cholesky_solve": lambda on, _: any_threads.cholesky_solve(on(drawn(4, 2)), on(torch.eye(4) + 1)),
    "align.any_threads.eigh": lambda on, _: any_threads.eigh(on(torch.diag(torch.arange(1.0, 5)).expand(2, 4, 4)))[0],
    "align.any_threads.mean_square": lambda on, _: any_threads.mean_square(on(drawn(9, 3))),
    "align.any_threads.norm_of_all": lambda on, _: any_threads.norm_of_all(on(drawn(9, 3))),
    "align.any_threads.qr": lambda on, _: any_threads.qr(on(drawn(9, 3)))[1].abs(),
    "align.any_threads.side_by_side": lambda on, device: any_threads.side_by_side(
        on(drawn(9, 3)).__getitem__, 9, device
    ),
    "align.any_threads.sum_of_all": lambda on, _: any_threads.sum_of_all(on(drawn(9, 3))),
    "align.scores.mean_r_squared": lambda on, _: scores.mean_r_squared(on(drawn(9, 3)), on(drawn(9, 3, seed=1))),
    "align.reduced_rank_ridge.spectra_of": lambda on, _: [
        one.values for one in reduced_rank_ridge.spectra_of(on([drawn(20, 4), drawn(20, 3)]))
    ],
    "align.units.rounding": lambda on, _: units.rounding(on(drawn(20, 4))),
    "align.units.slot_scales": lambda on, _: units.slot_scales(on([drawn(20, 4), drawn(20, 3)])),
    "align.consensus.Consensus": agreed,
    "align.consensus.agree_on_places": agreed,
    "align.loss.agreement_loss": lambda on, _: loss.agreement_loss(on(drawn(3, 9, 4))),
    "align.loss.align_pooled": lambda on, _: loss.align_pooled(*pooled_fit(on)[:2]),
    "align.loss.brain_loss": lambda on, _: loss.brain_loss(on(drawn(9, 3)), on(drawn(9, 3, seed=1))),
    "align.loss.covariance_loss": lambda on, _: loss.covariance_loss(on(drawn(9, 3))),
    "align.loss.eigen_loss": lambda on, _: loss.eigen_loss(on([drawn(12, 5), drawn(12, 6)]), on(drawn(2, 12, 4))),
    "align.loss.predict": lambda on, _: loss.predict(*pooled_fit(on)),
    "align.loss.total_loss": all_losses,
    "align.loss.zero_loss": lambda on, _: loss.zero_loss(on(drawn(9, 3))),
    "align.projector.normalised_affinity": lambda on, _: projector.normalised_affinity(on(rows())),
    "align.projector.top_projector": projected,
    "align.reduced_rank_ridge.Problem": ridge,
    "align.reduced_rank_ridge.best_rank": ridge,
    "align.reduced_rank_ridge.choose": ridge,
    "align.reduced_rank_ridge.mean_nodes": lambda on, _: reduced_rank_ridge.mean_nodes(*pooled_fit(on)[:2]),
    "align.reduced_rank_ridge.read_out": lambda on, _: reduced_rank_ridge.read_out(
        on(drawn(24, 4)), slots_of(on)[1], on(drawn(24, 4)), slots_of(on)[1]
    ),
    "align.reduced_rank_ridge.reduced_rank": ridge,
    "align.reduced_rank_ridge.smoother": ridge,
    "align.reduced_rank_ridge.spectrum": ridge,
    "align.reduced_rank_ridge.stacking_weights": lambda on, _: [
        reduced_rank_ridge.stacking_weights(on(sign * drawn(3, 9, 2).abs()), on(drawn(9, 2).abs())) for sign in (1, -1)
    ],
    "align.reduced_rank_ridge.weigh_slots": ridge,
    "align.ridge_start.selection": started,
    "align.ridge_start.slot_spectrum": started,
    "align.influence.roi_scores": lambda on, _: influence.roi_scores(
        lambda columns: on(drawn(9, 5, seed=1))[:, columns], on(drawn(9, 5)), on(torch.arange(10).reshape(2, 5) % 3 > 0)
    ),
    "align.scores.pearson": lambda on, _: scores.pearson(on(drawn(9, 3)), on(drawn(9, 3, seed=1))),
    "align.scores.permutation_p": lambda on, _: scores.permutation_p(on(drawn(9, 3)), on(drawn(9, 3, seed=1)), 9),
    "align.scores.r_squared": lambda on, _: scores.r_squared(on(drawn(9, 3)), on(drawn(9, 3, seed=1))),
    "align.scores.scores": lambda on, _: scores.scores(
        on(drawn(9, 4)), on(drawn(4, 10)), on(torch.zeros(10)), on(drawn(9, 10, seed=1))
    ),
    "align.spaces.brain_factor": lambda on, _: [
        spaces.brain_factor(on(drawn(4, 10)), one).abs() for one in (None, on(torch.arange(10) < 6))
    ],
    "align.spaces.node_transform": lambda on, _: spaces.node_transform(on(drawn(8, 4)), on(drawn(4, 3).double())),
    "align.spaces.roi_voxels": lambda on, _: spaces.roi_voxels(on(drawn(3, 9) > 0), [0, 2]),
    "align.train.choice_of": lambda on, _: train.choice_of(on(torch.tensor([0.1, 2.0, 0.5]))),
    "align.train.fit_alignment": lambda on, device: [aligned(on, device, init) for init in train.STARTS],
    "embed.affinities.affinities": lambda on, _: joint(on),
    "embed.affinities.conditionals": lambda on, _: affinities.conditionals(on(drawn(9, 6).square()), 3.0),
    "embed.affinities.nearest_others": lambda on, _: nearest(on),
    "embed.affinities.triton_kernels": lambda on, _: affinities.triton_kernels(on(drawn(2, 3))),
    "embed.colours.embed_sample": embedded,
    "embed.colours.spectral_tsne": embedded,
    "embed.device.pull_all": lambda on, _: device.pull_all(joint(on), on(drawn(40, 3))),
    "embed.device.push_all": lambda on, _: device.push_all(on(drawn(40, 3))),
    "embed.tsne.choose_repulsion": lambda _, device: tsne.choose_repulsion(100, device),
    "embed.tsne.tsne": embedded,
    "graph.sparse_graph.split_heads": lambda on, _: sparse_graph.split_heads(on(drawn(5, 6)), 3),
    "groups.activations.Clusters": clustered,
    "groups.activations.cell_sums": written_down,
    "groups.activations.clustered_difference": clustered,
    "groups.activations.clustered_mean": clustered,
    "groups.activations.correlation": lambda on, _: activations.correlation(on(drawn(9)), on(drawn(9, seed=1))),
    "groups.activations.moments": written_down,
    "groups.activations.readout_moments": lambda on, _: activations.readout_moments(
        on(drawn(4).double()), on(torch.eye(4).double()), on(drawn(4, 10))
    ),
    "groups.activations.roi_readout": lambda on, _: activations.roi_readout(on(drawn(4, 10)), on(torch.ones(2, 10))),
    "groups.iou.contingency": lambda on, _: iou.contingency(on(torch.arange(NODES) % 2), on(marks()[1]), 2, 3),
    "groups.iou.threshold_counts": thresholds,
    "groups.oracle.class_centres": lambda on, _: oracle.class_centres(on(orthonormal()), on(drawn(NODES, 3).abs())),
    "groups.oracle.class_similarities": lambda on, _: oracle.class_similarities(
        on(orthonormal()), on(drawn(3, COUNT).double())
    ),
    "groups.resize.area_shares": lambda on, _: resize.area_shares(
        on((torch.arange(35) % 3 - 1).reshape(5, 7)), (2, 3), 2
    ),
    "groups.resize.stretch_bands": lambda on, _: [
        band for how in resize.UPSCALES for _, band in resize.stretch_bands(on(drawn(2, 3, 3)), (7, 5), how)
    ],
    "groups.resize.stretch_matrix": lambda _, device: resize.stretch_matrix(7, 3, "bilinear", device),
    "groups.similarity.best_iou": lambda on, _: similarity.best_iou(on(marks()[0]), on(marks()[1] > 0)),
    "groups.similarity.cosines": lambda on, _: similarity.cosines(on(rows()), on(rows()[0])),
    "groups.similarity.ranking": lambda on, _: similarity.ranking(on(marks()[0]), on(marks()[1] > 0)),
    "groups.slot_scores.KwayReading": read_slot,
    "groups.slot_scores.OracleReading": read_slot,
    "groups.slot_scores.grid_weights": read_slot,
    "groups.slot_scores.kway_counts": read_slot,
    "groups.slot_scores.oracle_counts": read_slot,
    "groups.slot_scores.slot_centres": read_slot,
    **ENCODE_KERNELS,
    **MAP_KERNELS,
}
