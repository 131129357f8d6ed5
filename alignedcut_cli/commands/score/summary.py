"""Summaries of the rows of all layers: means over subjects, intervals, best layers, differences, ceilings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch

from alignedcut_cli.commands.score.plan import Plan
from alignedcut_cli.commands.score.sides import BrainSide
from alignedcut_cli.core.encode.ceilings import across_subjects, rdm_reliability
from alignedcut_cli.core.encode.resampling import rank_correlation
from alignedcut_cli.core.numerics import stream
from alignedcut_cli.core.resample.draws import mean_over_drawn
from alignedcut_cli.core.resample.intervals import percentile
from alignedcut_cli.core.resample.nulls import difference_p, holm, tail_p

__all__ = ["MEAN", "Target", "bounds", "model_pairs", "summary_tensors", "targets_of"]

MEAN = "mean"
"""The subject name of means over subjects."""
_FEWEST_TRIALS = 2


@dataclass(frozen=True)
class Target:
    """What a score refers to: a line, or (subject MEAN) the lines of one measure and region of several subjects."""

    metric: str
    region: str
    subject: str
    voxels: int
    lines: tuple[int, ...]


def targets_of(plan: Plan) -> list[Target]:
    """Means over subjects before each subject's own, in the order of measures and regions."""
    groups: dict[tuple[str, str], list[int]] = {}
    for number, line in enumerate(plan.lines):
        groups.setdefault((line.metric, plan.region(line)), []).append(number)
    found = []
    for (metric, region), lines in groups.items():
        sizes = [plan.size(plan.lines[line]) for line in lines]
        if len(lines) > 1:
            found.append(Target(metric, region, MEAN, sum(sizes), tuple(lines)))
        for line, size in zip(lines, sizes, strict=True):
            found.append(Target(metric, region, plan.cases[plan.lines[line].case].subject, size, (line,)))
    return found


class Stacked:
    """The rows of all layers by target: means over its lines, draws with subjects resampled."""

    def __init__(self, rows: Sequence[Mapping[str, np.ndarray]], seed: int) -> None:
        self._rows, self._seed = rows, stream(seed, "subjects")

    def scores(self, name: str, target: Target) -> np.ndarray:
        """train or test (S, F), explained (S, F), or every (S,), of all layers."""
        return np.stack([row[name][list(target.lines)].mean(0) for row in self._rows])

    def draws(self, target: Target, layers: Sequence[int]) -> np.ndarray:
        """Draws (T,) of the mean over folds of the test score, each fold with its own layer."""
        each = [self._rows[layer]["draws"][list(target.lines), fold] for fold, layer in enumerate(layers)]
        return self._over_subjects(np.mean(each, 0, dtype="f8"))

    def draws_every(self, target: Target, layer: int) -> np.ndarray:
        return self._over_subjects(self._rows[layer]["draws.every"][list(target.lines)].astype("f8"))

    def _over_subjects(self, draws: np.ndarray) -> np.ndarray:
        return draws[0] if len(draws) == 1 else mean_over_drawn(draws, self._seed)

    def null(self, target: Target, layers: Sequence[int]) -> np.ndarray:
        """The null scores (P,), likewise."""
        each = [self._rows[layer]["null"][list(target.lines), fold] for fold, layer in enumerate(layers)]
        return np.mean(each, (0, 1), dtype="f8")

    def null_every(self, target: Target, layer: int) -> np.ndarray:
        return self._rows[layer]["null.every"][list(target.lines)].mean(0, dtype="f8")


def model_pairs(models: int) -> list[tuple[int, int]]:
    """Pairs of models whose best layers are compared."""
    return list(combinations(range(models), 2))


def summary_tensors(
    plan: Plan, targets: Sequence[Target], rows: Sequence[Mapping[str, np.ndarray]], owners: Sequence[int], models: int
) -> dict[str, np.ndarray]:
    """The artifact's tensors except ceilings. `owners` (S,) is the model of each layer, 0 to `models` - 1."""
    params, folds = plan.recipe.params, plan.folds
    stacked, layers, count = Stacked(rows, params["seed"]), len(rows), len(targets)
    found = {
        "stats": np.stack([row["stats"] for row in rows]),
        "train": np.stack([stacked.scores("train", one) for one in targets], 1),  # (S, C, F)
        "test": np.stack([stacked.scores("test", one) for one in targets], 1),
        "every": np.stack([stacked.scores("every", one) for one in targets], 1),  # (S, C)
        "explained": np.stack([stacked.scores("explained", one).mean(1) for one in targets], 1),
        "interval": np.full((layers, count, 2, 2), np.nan),
        "p": np.full((layers, count, 2), np.nan),
        "dimension": np.full((models + 1, count, 3), np.nan),
    }
    dimensions, owned = found["stats"][:, 0], np.array(owners)
    for c, target in enumerate(targets):
        test, every = found["test"][:, c].mean(1), found["every"][:, c]
        for s in range(layers):
            if params["bootstrap"]:
                found["interval"][s, c, 0] = percentile(stacked.draws(target, [s] * folds))
                found["interval"][s, c, 1] = percentile(stacked.draws_every(target, s))
            if params["permutations"]:
                found["p"][s, c, 0] = _p(test[s], stacked.null(target, [s] * folds))
                found["p"][s, c, 1] = _p(every[s], stacked.null_every(target, s))
        for model in range(models + 1):
            chosen = np.isfinite(dimensions) & np.isfinite(test) & ((owned == model) | (model == models))
            seed = stream(params["seed"], "dimension", model)
            found["dimension"][model, c] = rank_correlation(dimensions[chosen], test[chosen], params["bootstrap"], seed)
    return found if params["best_layer"] == "none" else {**found, **_best(plan, targets, stacked, found, owned, models)}


def _p(score: float, null: np.ndarray) -> float:
    return tail_p(score, null) if np.isfinite(score) else np.nan


def _best(
    plan: Plan,
    targets: Sequence[Target],
    stacked: Stacked,
    known: Mapping[str, np.ndarray],
    owned: np.ndarray,
    models: int,
) -> dict[str, np.ndarray]:
    """The layer of each model that is best on train images of each fold, its test scores, and differences from it."""
    params, folds, count = plan.recipe.params, plan.folds, len(targets)
    pairs = model_pairs(models)
    found = {
        "best": np.full((models, count, folds), -1, np.int32),
        "best.score": np.full((models, count), np.nan),
        "best.interval": np.full((models, count, 2), np.nan),
        "best.p": np.full((models, count), np.nan),
        "difference.layers": np.full((len(owned), count, 5), np.nan),
        "difference.models": np.full((len(pairs), count, 5), np.nan),
    }
    for c, target in enumerate(targets):
        draws = {}
        for model in range(models):
            numbers = np.flatnonzero(owned == model)
            train = known["train"][numbers, c]  # (s, F)
            if not np.isfinite(train).any(0).all():
                continue
            best = numbers[np.where(np.isfinite(train), train, -np.inf).argmax(0)].tolist()
            found["best"][model, c] = best
            found["best.score"][model, c] = score = known["test"][best, c, np.arange(folds)].mean()
            draws[model] = stacked.draws(target, best)
            if params["bootstrap"]:
                found["best.interval"][model, c] = percentile(draws[model])
            if params["permutations"]:
                found["best.p"][model, c] = _p(score, stacked.null(target, best))
            others = [s for s in numbers.tolist() if set(best) != {s} and np.isfinite(known["test"][s, c]).all()]
            rows = [
                (score - known["test"][s, c].mean(), draws[model] - stacked.draws(target, [s] * folds)) for s in others
            ]
            found["difference.layers"][others, c] = _compared(rows)
        there = [number for number, pair in enumerate(pairs) if draws.keys() >= set(pair)]
        scores = found["best.score"][:, c]
        rows = [(scores[a] - scores[b], draws[a] - draws[b]) for a, b in (pairs[number] for number in there)]
        found["difference.models"][there, c] = _compared(rows)
    return found


def _compared(rows: Sequence[tuple[float, np.ndarray]]) -> np.ndarray:
    """(difference, low, high, p, p by Holm over all of them) of each difference and its draws: (q, 5)."""
    found = np.full((len(rows), 5), np.nan)
    for number, (difference, draws) in enumerate(rows):
        found[number, 0] = difference
        if len(draws):
            found[number, 1:4] = *percentile(draws), difference_p(draws)
    if len(rows) and np.isfinite(found[:, 3]).all():
        found[:, 4] = holm(found[:, 3])
    return found


def bounds(plan: Plan, targets: Sequence[Target], brain: BrainSide) -> np.ndarray:
    """Noise ceilings (C, 2, 2): of the test and of all images, lower and upper; NaN where unknown.

    For RDMs: by leaving out subjects, where several saw the same images; else from single trials. For ereg: the mean over
    voxels of the square root of their ceilings, the r of a perfect prediction.
    """
    found = np.full((len(targets), 2, 2), np.nan)
    of_lines = _line_bounds(plan, brain)
    for number, target in enumerate(targets):
        found[number] = np.mean([of_lines[line] for line in target.lines], 0)
    return found


def _line_bounds(plan: Plan, brain: BrainSide) -> dict[int, np.ndarray]:
    """(2, 2) of each line."""
    found = {number: np.full((2, 2), np.nan) for number in range(len(plan.lines))}
    groups: dict[tuple[str, str, str], list[int]] = {}
    for number, line in enumerate(plan.lines):
        if line.metric == "ereg":
            found[number][0] = _root_ceiling(plan, number)
        elif line.metric in ("crsa", "ersa"):
            key = plan.cases[line.case].key
            groups.setdefault((key, plan.region(line), line.metric), []).append(number)
    known: dict[tuple[str, str], np.ndarray] = {}
    for (key, region, metric), lines in groups.items():
        if (key, region) not in known:
            known[key, region] = _rdm_bounds(plan, brain, lines)  # (s, 2, 2)
        for place, number in enumerate(lines):
            found[number] = known[key, region][place].copy()
            if metric == "ersa":
                found[number][1] = np.nan
    return found


def _root_ceiling(plan: Plan, number: int) -> float:
    line = plan.lines[number]
    case = plan.cases[line.case]
    if case.ceiling is None or case.masks is None:
        return float("nan")
    own = case.ceiling[case.masks[line.region]]
    own = own[np.isfinite(own)]
    return float(np.sqrt(own).mean()) if len(own) else float("nan")


def _rdm_bounds(plan: Plan, brain: BrainSide, lines: Sequence[int]) -> np.ndarray:
    """Ceilings of the same region in subjects who saw the same images: (s, 2, 2)."""
    found = np.full((len(lines), 2, 2), np.nan)
    case = plan.cases[plan.lines[lines[0]].case]
    parts = [[fold.test for fold in case.folds], [np.arange(len(case.images))]]
    for split, groups in enumerate(parts):
        each = np.array([_rdm_bounds_over(plan, brain, lines, places) for places in groups])  # (F, s, 2)
        found[:, split] = each.mean(0)
    return found


def _rdm_bounds_over(plan: Plan, brain: BrainSide, lines: Sequence[int], places: np.ndarray) -> np.ndarray:
    params = plan.recipe.params
    if len(lines) > 1:
        images = torch.from_numpy(places)
        rdms = torch.cat([brain.rdms(plan.lines[line].case, [plan.lines[line].region], images) for line in lines])
        if bool(rdms.isfinite().all()):
            return torch.stack(across_subjects(rdms, params["compare"]), 1).cpu().numpy()
    found = []
    for line in lines:
        case = plan.cases[plan.lines[line].case]
        value = np.nan
        if case.trials is not None and case.masks is not None:
            own = case.trials[places][:, :, case.masks[plan.lines[line].region]]
            own = own[np.isfinite(own).all(2).sum(1) >= _FEWEST_TRIALS]
            if len(own) > 2:
                value = rdm_reliability(own, params["rdm"], params["compare"], seed=params["seed"], device=brain.device)
        found.append((value, value))
    return np.array(found)
