"""The scores of one layer on every line of a plan, with their bootstrap draws and permutation null."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from alignedcut_cli.commands.score.plan import FITTED, Layer, Plan
from alignedcut_cli.commands.score.sides import BrainSide, LayerSide, Predictions, Resampling, predict
from alignedcut_cli.core.encode.compare import compare, compare_draws
from alignedcut_cli.core.encode.dimension import effective_dimension, radius
from alignedcut_cli.core.encode.rdm import Gram, rdm
from alignedcut_cli.core.encode.resampling import (
    correlation_draws,
    permuted_cka,
    permuted_comparison,
    permuted_correlation,
)
from alignedcut_cli.core.encode.similarity import cka, cka_of, drawn_gram
from alignedcut_cli.core.numerics import NumericsError

__all__ = ["Rows", "empty_rows", "score_layer", "score_predictions"]

Rows = dict[str, np.ndarray]
"""Of one layer, over C lines, F folds, T draws and P permutations: train, test (C, F) and every (C,), the scores on train,
test and all images; draws (C, F, T), draws.every (C, T), null (C, F, P), null.every (C, P); explained (C,), the share of
explainable variance that is predicted; and stats (2,), effective dimensionality and radius. NaN where there is none."""


def empty_rows(plan: Plan) -> Rows:
    """Rows of NaN."""
    params, lines, folds = plan.recipe.params, len(plan.lines), plan.folds
    draws, orders = params["bootstrap"], params["permutations"]

    def unknown(*shape: int, kind: str = "f4") -> np.ndarray:
        return np.full(shape, np.nan, kind)

    return {
        "train": unknown(lines, folds, kind="f8"),
        "test": unknown(lines, folds, kind="f8"),
        "every": unknown(lines, kind="f8"),
        "draws": unknown(lines, folds, draws),
        "draws.every": unknown(lines, draws),
        "null": unknown(lines, folds, orders),
        "null.every": unknown(lines, orders),
        "explained": unknown(lines, folds, kind="f8"),
        "stats": unknown(2, kind="f8"),
    }


def score_layer(plan: Plan, layer: Layer, brain: BrainSide) -> Rows:
    """All rows of one layer. `voxel.K` (N,) float32, with --per-voxel, are the test scores of case K's voxels."""
    rows, side = empty_rows(plan), LayerSide(plan, layer, brain.device)
    centred = side.gram.centred()
    try:
        rows["stats"][:] = effective_dimension(centred), radius(centred, layer.map.units)
    except NumericsError:  # all images have the same features: nothing is predicted
        rows["stats"][:] = np.nan, 0.0
    for number, case in enumerate(plan.cases):
        whole = np.arange(len(case.images))
        for metric in ("crsa", "cka"):
            lines = _lines(plan, number, metric)
            if not lines:
                continue
            score = _compare_rdms if metric == "crsa" else _compare_grams
            for fold, part in enumerate(case.folds):
                own = side.own_gram(case, part.train)
                found = score(plan, brain, own, number, lines, part.train, None)
                _put(rows, lines, {"train": found["score"]}, fold)
                own = side.own_gram(case, part.test)
                found = score(plan, brain, own, number, lines, part.test, brain.resampling(case, fold))
                _put(rows, lines, {"test": found.pop("score"), **found}, fold)
            own = side.own_gram(case, whole)
            found = score(plan, brain, own, number, lines, whole, brain.resampling(case, None))
            for name, target in (("score", "every"), ("draws", "draws.every"), ("null", "null.every")):
                rows[target][lines] = found[name]
        if any(line.case == number and line.metric in FITTED for line in plan.lines):
            voxels = []
            for fold in range(len(case.folds)):
                predictions = predict(plan, side.basis(case, fold), case, fold)
                voxels.append(score_predictions(plan, brain, predictions, number, fold, rows))
            if plan.recipe.params["per_voxel"]:
                rows[f"voxel.{number}"] = np.mean(voxels, 0).astype("f4")
    return rows


def _lines(plan: Plan, case: int, metric: str) -> list[int]:
    """The numbers of the lines of a case and a measure."""
    return [number for number, line in enumerate(plan.lines) if line.case == case and line.metric == metric]


def _regions(plan: Plan, lines: Sequence[int]) -> list[int]:
    return [plan.lines[line].region for line in lines]


def _put(rows: Rows, lines: Sequence[int], found: Rows, fold: int) -> None:
    for name, values in found.items():
        rows[name][lines, fold] = values


def _empty(plan: Plan, lines: Sequence[int]) -> Rows:
    """Scores, draws and null of some lines, all NaN."""
    empty = empty_rows(plan)
    return {"score": empty["every"][lines], "draws": empty["draws.every"][lines], "null": empty["null.every"][lines]}


def _compare_rdms(
    plan: Plan,
    brain: BrainSide,
    own: Gram,
    case: int,
    lines: Sequence[int],
    places: np.ndarray,
    drawn: Resampling | None,
) -> Rows:
    """A layer's RDM over some images against those of the regions of some lines."""
    one = rdm(own, plan.recipe.params["rdm"])
    return _compare_rdm(plan, brain, one, case, lines, places, drawn)


def _compare_rdm(
    plan: Plan,
    brain: BrainSide,
    ones: Tensor | Callable[[int], Tensor],
    case: int,
    lines: Sequence[int],
    places: np.ndarray,
    drawn: Resampling | None,
) -> Rows:
    """One RDM for all lines, or (a function of a region) one for each, against that of its region; NaN where one has NaN."""
    by, found, images = plan.recipe.params["compare"], _empty(plan, lines), torch.from_numpy(places)
    regions = _regions(plan, lines)
    for part in brain.chunks(regions, len(places)):
        others = brain.rdms(case, regions[part], images)
        known = others.isfinite().all(2).all(1)
        there = known.nonzero()[:, 0].tolist()
        for group in [there] if isinstance(ones, Tensor) else [[place] for place in there]:
            at = [part.start + place for place in group]
            one = ones if isinstance(ones, Tensor) else ones(regions[at[0]])
            if not at or not bool(one.isfinite().all()):
                continue
            some = others[group]
            found["score"][at] = compare(one, some, by).cpu().numpy()
            if drawn is not None and len(drawn.weights):
                found["draws"][at] = compare_draws(one, some, drawn.weights, by).cpu().numpy()
            if drawn is not None and len(drawn.orders):
                found["null"][at] = permuted_comparison(one, some, drawn.orders, by).cpu().numpy()
    return found


def _compare_grams(
    plan: Plan,
    brain: BrainSide,
    own: Gram,
    case: int,
    lines: Sequence[int],
    places: np.ndarray,
    drawn: Resampling | None,
) -> Rows:
    """Unbiased CKA of a layer and of the responses in each line's region, over some images."""
    found, images = _empty(plan, lines), torch.from_numpy(places).to(brain.device)
    mine = None
    if drawn is not None and len(drawn.weights):
        mine = drawn_gram(own.products, drawn.weights.to(brain.device))
    for place, region in enumerate(_regions(plan, lines)):
        other = brain.gram(case, region).take(images).products
        found["score"][place] = cka(own.products, other)
        if mine is not None:
            found["draws"][place] = cka_of(mine, brain.drawn_gram(case, region, places, mine)).cpu().numpy()
        if drawn is not None and len(drawn.orders):
            found["null"][place] = permuted_cka(own.products, other, drawn.orders).cpu().numpy()
    return found


def score_predictions(
    plan: Plan, brain: BrainSide, predictions: Predictions, case: int, fold: int, rows: Rows
) -> np.ndarray:
    """Fill in the lines of ereg and ersa from predictions of a case's responses; the test r of each voxel, (N,) float64.

    ereg: the mean over a region's voxels of Pearson's r. ersa: the RDM of the predicted responses against the region's.
    """
    own = plan.cases[case]
    assert own.responses is not None and own.masks is not None
    part, drawn = own.folds[fold], brain.resampling(own, fold)
    masks, truth = torch.from_numpy(own.masks), torch.from_numpy(own.responses[part.test])
    scores, draws = _voxel_scores(brain, predictions.heldout, truth, masks, drawn.weights)
    lines = _lines(plan, case, "ereg")
    for line in lines:
        region = plan.lines[line].region
        chosen = masks[region]
        rows["train"][line, fold] = float(predictions.loo_r[chosen].mean())
        rows["test"][line, fold] = float(scores[chosen].mean())
        rows["draws"][line, fold] = draws[region]
        if len(drawn.orders):
            made, seen = (one[:, chosen].to(brain.device) for one in (predictions.heldout, truth))
            rows["null"][line, fold] = permuted_correlation(made, seen, drawn.orders).cpu().numpy()
        if own.ceiling is not None:
            known = chosen & torch.from_numpy(np.isfinite(own.ceiling))
            explainable = float(np.nansum(own.ceiling[known]))
            signed = float((scores[known] * scores[known].abs()).sum())
            rows["explained"][line, fold] = signed / explainable if explainable > 0 else np.nan
    _compare_predictions(plan, brain, predictions, case, fold, rows)
    return scores.numpy()


def _voxel_scores(
    brain: BrainSide, predicted: Tensor, truth: Tensor, masks: Tensor, weights: Tensor, batch: int = 1024
) -> tuple[Tensor, np.ndarray]:
    """Pearson's r of each voxel (N,) float64, and the regions' means of it in each draw (R, T)."""
    device = brain.device
    scores, total = [], torch.zeros(len(masks), len(weights), dtype=torch.float64)
    whole = torch.ones(1, len(truth), dtype=torch.float64)
    for start in range(0, truth.shape[1], batch):
        columns = slice(start, start + batch)
        made, seen = (one[:, columns].to(device) for one in (predicted, truth))
        scores.append(correlation_draws(made.double(), seen.double(), whole.to(device))[0].cpu())
        if len(weights):
            drawn = correlation_draws(made, seen, weights.to(device)).double().cpu()  # (T, b)
            total += masks[:, columns].double() @ drawn.T
    return torch.cat(scores), (total / masks.sum(1, keepdim=True)).numpy()


def _compare_predictions(
    plan: Plan, brain: BrainSide, predictions: Predictions, case: int, fold: int, rows: Rows
) -> None:
    own = plan.cases[case]
    lines = _lines(plan, case, "ersa")
    if not lines or own.masks is None:
        return
    part, distance = own.folds[fold], plan.recipe.params["rdm"]

    def rdm_of(predicted: Tensor) -> Callable[[int], Tensor]:
        masks = torch.from_numpy(own.masks)
        return lambda region: rdm(Gram.of([predicted[:, masks[region]].to(brain.device)]), distance)

    found = _compare_rdm(plan, brain, rdm_of(predictions.loo), case, lines, part.train, None)
    _put(rows, lines, {"train": found["score"]}, fold)
    drawn = brain.resampling(own, fold)
    found = _compare_rdm(plan, brain, rdm_of(predictions.heldout), case, lines, part.test, drawn)
    _put(rows, lines, {"test": found.pop("score"), **found}, fold)
