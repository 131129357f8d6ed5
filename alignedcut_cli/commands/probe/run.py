"""Running a planned probe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from alignedcut_cli.core.encode.compare import compare
from alignedcut_cli.core.encode.rdm import Gram, rdm
from alignedcut_cli.core.encode.resampling import correlation_draws
from alignedcut_cli.core.encode.ridge import Predicted, Standard, coefficients, encode, ridge_basis
from alignedcut_cli.core.numerics import stream
from alignedcut_cli.core.resample.draws import bootstrap_weights
from alignedcut_cli.core.resample.intervals import percentile
from alignedcut_cli.frame.cases import FEWEST_VOXELS, Case, Fold
from alignedcut_cli.frame.run import Frame
from alignedcut_cli.store.artifact import write_artifact
from alignedcut_cli.store.header import Header

if TYPE_CHECKING:
    from alignedcut_cli.commands.probe.plan import Plan

__all__ = ["make"]

FEATURES = ("embedding", "queries")
MEASURES = ("crsa", "ereg", "ersa")
_MEANINGS = {
    "accuracy": ("E", "share of test images whose class is right, from the embedding and from the queries"),
    "accuracy.interval": ("E R", "its 95% bootstrap interval over images"),
    "coefficients": ("Q K", "of the ridge classifier on standardised query similarities"),
    "similarity": ("B Q", "cosine of each image's embedding and each query"),
    "score": ("E C M", "crsa, ereg and ersa on test images, from the embedding and from the queries; NaN: undefined"),
    "interval": ("E C R", "ereg: 95% bootstrap interval over images; NaN: none"),
    "importance": ("Q C", "mean over voxels of |coefficient| of each query"),
    "random": ("D C", "ereg of random sets of as many vectors; NaN: undefined"),
    "rank": ("C", "place of the queries among them, from 1"),
}


def make(frame: Frame, plan: Plan, device: torch.device, overwrite: bool) -> tuple[Header, bool]:
    """The header of a probe, made or up to date, and whether it was made."""

    def made() -> Header:
        tensors = _classify(plan, device) if plan.labels else _brain(frame, plan, device)
        return write_artifact(
            frame.project.path("probe", plan.recipe.name),
            plan.recipe,
            tensors,
            {name: _MEANINGS[name] for name in tensors},
            axes=_axes(plan, tensors),
            numerics={"torch": torch.__version__, "device": device.type, "computed": "float64, products float32"},
            parents=(plan.parent,),
        )

    return frame.make_once(plan.recipe, overwrite, made)


def _similarities(plan: Plan, places: np.ndarray, vectors: np.ndarray) -> Tensor:
    """Cosines of images' embeddings with vectors: (B, q)."""
    return torch.from_numpy(plan.embedding[places] @ vectors.T)


def _fit(features: Tensor, targets: Tensor, fold: Fold, plan: Plan, device: torch.device) -> tuple[Predicted, Tensor]:
    """All targets (B, N) predicted from features (B, d), and the features standardised over the training images."""
    known, new = (features[torch.from_numpy(part)].to(device) for part in (fold.train, fold.test))
    standard = Standard.of(known)
    known, new = standard(known), standard(new)
    own = targets[torch.from_numpy(fold.train)].to(device)
    parts = list(encode(ridge_basis(known, new), own, plan.recipe.params["alphas"]))

    def joined(name: str) -> Tensor:
        return torch.cat([getattr(part, name) for part in parts], -1)

    whole = Predicted(slice(0, own.shape[1]), joined("loo"), joined("heldout"), joined("alpha"), joined("loo_r"))
    return whole, known


def _classify(plan: Plan, device: torch.device) -> dict[str, np.ndarray]:
    labels, fold = plan.labels, plan.fold
    assert labels is not None and fold is not None
    signs = torch.full((len(labels.numbers), len(labels.classes)), -1.0)
    signs[torch.arange(len(signs)), torch.from_numpy(labels.numbers)] = 1.0
    truth = torch.from_numpy(labels.numbers[fold.test])
    similarity = _similarities(plan, labels.places, plan.queries.vectors)
    embedding = torch.from_numpy(plan.embedding[labels.places])
    params = plan.recipe.params
    weights = torch.from_numpy(bootstrap_weights(len(truth), params["bootstrap"], stream(params["seed"], "images")))
    found: dict[str, Any] = {"accuracy": [], "accuracy.interval": []}
    for features in (embedding, similarity):
        predicted, known = _fit(features, signs, fold, plan, device)
        right = (predicted.heldout.cpu().argmax(1) == truth).double()
        found["accuracy"].append(float(right.mean()))
        draws = (weights @ right / len(right)).numpy()
        found["accuracy.interval"].append(percentile(draws))
        if features is similarity:
            own = signs[torch.from_numpy(fold.train)].to(device)
            found["coefficients"] = coefficients(known, own, predicted.alpha).cpu().numpy()
    return {**{name: np.array(value, "f8") for name, value in found.items()}, "similarity": similarity.numpy()}


def _brain(frame: Frame, plan: Plan, device: torch.device) -> dict[str, np.ndarray]:
    regions = [(number, region) for number, case in enumerate(plan.cases) for region in range(len(case.regions))]
    params, count = plan.recipe.params, len(plan.queries.texts)
    found = {
        "score": np.full((2, len(regions), 3), np.nan),
        "interval": np.full((2, len(regions), 2), np.nan),
        "importance": np.zeros((count, len(regions))),
        "random": np.full((params["random"], len(regions)), np.nan),
        "rank": np.zeros(len(regions), np.int64),
    }
    draws = np.random.default_rng(stream(params["seed"], "random sets"))
    sets = [_random_set(plan, draws, count) for _ in range(params["random"])]
    with frame.output.progress("probing", len(plan.cases) * (2 + len(sets)), "fits") as advance:
        for number, case in enumerate(plan.cases):
            columns = [place for place, (owner, _) in enumerate(regions) if owner == number]
            similarity = _similarities(plan, case.places[0], plan.queries.vectors)
            for kind, features in enumerate((torch.from_numpy(plan.embedding[case.places[0]]), similarity)):
                scores, intervals, importance = _scoresheet(plan, case, features, device)
                found["score"][kind, columns], found["interval"][kind, columns] = scores, intervals
                if kind:
                    found["importance"][:, columns] = importance
                advance(1)
            for place, vectors in enumerate(sets):
                features = _similarities(plan, case.places[0], vectors)
                found["random"][place, columns] = _mean_r(plan, case, features, device)
                advance(1)
    found["rank"] = 1 + (found["random"] >= found["score"][1, :, 1]).sum(0)
    return found


def _random_set(plan: Plan, draws: np.random.Generator, count: int) -> np.ndarray:
    """`count` unit vectors: from the pool, or in random directions."""
    if plan.pool is not None:
        return plan.pool.vectors[np.sort(draws.choice(len(plan.pool.texts), count, replace=False))]
    vectors = draws.standard_normal((count, plan.embedding.shape[1]))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype("f4")


def _region_means(case: Case, values: Tensor) -> np.ndarray:
    """Means over each region's voxels of (..., N): (R, ...) float64."""
    assert case.masks is not None
    return np.stack([values[..., torch.from_numpy(mask)].double().mean(-1).cpu().numpy() for mask in case.masks])


def _mean_r(plan: Plan, case: Case, features: Tensor, device: torch.device) -> np.ndarray:
    """ereg of each region on test images: (R,)."""
    assert case.responses is not None
    (fold,) = case.folds
    predicted, _ = _fit(features, torch.from_numpy(case.responses), fold, plan, device)
    truth = torch.from_numpy(case.responses[fold.test]).to(device)
    return _region_means(case, correlation_draws(predicted.heldout, truth, torch.ones(1, len(truth)))[0])


def _scoresheet(
    plan: Plan, case: Case, features: Tensor, device: torch.device
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(crsa, ereg, ersa) of each region (R, 3) on test images, intervals of ereg (R, 2), importance of features (d, R)."""
    assert case.responses is not None and case.masks is not None
    (fold,) = case.folds
    predicted, known = _fit(features, torch.from_numpy(case.responses), fold, plan, device)
    own, truth = (torch.from_numpy(case.responses[part]).to(device) for part in (fold.train, fold.test))
    seed = stream(plan.recipe.params["seed"], case.key)
    weights = torch.from_numpy(bootstrap_weights(len(truth), plan.recipe.params["bootstrap"], seed)).float()
    means = _region_means(case, correlation_draws(predicted.heldout, truth, torch.ones(1, len(truth))))[:, 0]
    draws = _region_means(case, correlation_draws(predicted.heldout, truth, weights))  # (R, T)
    importance = _region_means(case, coefficients(known, own, predicted.alpha).abs()).T  # (d, R)
    one = rdm(Gram.of([features[torch.from_numpy(fold.test)].to(device)]))
    scores = np.full((len(case.regions), 3), np.nan)
    scores[:, 1] = means
    for region, mask in enumerate(case.masks):
        if mask.sum() >= FEWEST_VOXELS:
            chosen = torch.from_numpy(mask)
            here, made = (rdm(Gram.of([rows[:, chosen]])) for rows in (truth, predicted.heldout))
            scores[region, 0], scores[region, 2] = (float(compare(here, two[None], "pearson")) for two in (one, made))
    return scores, np.array([percentile(row) for row in draws]), importance


def _axes(plan: Plan, tensors: Mapping[str, np.ndarray]) -> dict[str, Any]:
    axes: dict[str, Any] = {
        "E": {"size": 2, "labels": list(FEATURES)},
        "Q": {"size": len(plan.queries.texts), "labels": list(plan.queries.texts)},
        "R": {"size": 2, "labels": ["low", "high"]},
    }
    if plan.labels:
        axes["K"] = {"size": len(plan.labels.classes), "labels": list(plan.labels.classes)}
        axes["B"] = {"size": len(plan.labels.images), "labels": list(plan.labels.images)}
        return axes
    targets = [
        {"region": region, "subject": case.subject, "voxels": size}
        for case in plan.cases
        for region, size in zip(case.regions, case.sizes(), strict=True)
    ]
    axes["C"] = {"size": len(targets), "targets": targets}
    axes["M"] = {"size": 3, "labels": list(MEASURES)}
    axes["D"] = {"size": len(tensors["random"])}
    return axes
