"""`score --bands`: banded ridge, responses predicted from the best layers of all feature sets, a penalty per set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from alignedcut_cli.commands.score.layer import Rows, empty_rows, score_predictions
from alignedcut_cli.commands.score.plan import Plan
from alignedcut_cli.commands.score.sides import BrainSide, LayerSide, Predictions
from alignedcut_cli.core.encode.bands import band_bases, band_weights, encode_bands
from alignedcut_cli.core.numerics import stream

__all__ = ["best_of_each_set", "score_bands"]

_DRAWN = 20
"""The number of random band weights, in addition to equal ones and each band alone."""


def best_of_each_set(plan: Plan, rows: Sequence[Rows]) -> list[int]:
    """The layer of each feature set with the best mean ereg on train images, over all lines and folds."""
    lines = [number for number, line in enumerate(plan.lines) if line.metric == "ereg"]
    means = np.array([np.nan_to_num(row["train"][lines].mean(), nan=-np.inf) for row in rows])
    found = []
    for number in range(len(plan.sets)):
        own = [place for place, layer in enumerate(plan.layers) if layer.source == number]
        found.append(own[int(means[own].argmax())])
    return found


def score_bands(plan: Plan, brain: BrainSide, best: Sequence[int]) -> Rows:
    """The rows of the joint prediction from the `best` layers. `shares` (C, M), for lines of ereg: the mean over voxels of
    the weight of each set's kernel, all scaled to the same trace."""
    rows = empty_rows(plan)
    rows["shares"] = np.full((len(plan.lines), len(best)), np.nan)
    sides = [LayerSide(plan, plan.layers[number], brain.device) for number in best]
    weights = band_weights(len(best), _DRAWN, stream(plan.recipe.params["seed"], "bands"))
    for number, case in enumerate(plan.cases):
        if case.responses is None or case.masks is None:
            continue
        shares = np.zeros((len(best), case.responses.shape[1]))
        voxels = []
        for fold, part in enumerate(case.folds):
            kernels, heldout = [], []
            for side in sides:
                kernel, new = side.kernels(case, fold)
                size = float(kernel.trace()) / len(kernel) or 1.0
                kernels.append(kernel / size)
                heldout.append(new / size)
            scale = float(np.mean([side.width for side in sides]))
            bases = band_bases([scale * one for one in kernels], [scale * one for one in heldout], weights)
            responses = torch.from_numpy(case.responses[part.train]).to(brain.device)
            predictions = Predictions(
                torch.empty(len(part.train), responses.shape[1]),
                torch.empty(len(part.test), responses.shape[1]),
                torch.empty(responses.shape[1], dtype=torch.float64),
            )
            for one in encode_bands(bases, responses, plan.recipe.params["alphas"]):
                columns = one.predicted.columns
                predictions.loo[:, columns] = one.predicted.loo.cpu()
                predictions.heldout[:, columns] = one.predicted.heldout.cpu()
                predictions.loo_r[columns] = one.predicted.loo_r.cpu()
                shares[:, columns] += weights[one.weights.cpu().numpy()].T / len(case.folds)
            voxels.append(score_predictions(plan, brain, predictions, number, fold, rows))
        if plan.recipe.params["per_voxel"]:
            rows[f"voxel.{number}"] = np.mean(voxels, 0).astype("f4")
        for line, about in enumerate(plan.lines):
            if about.case == number and about.metric == "ereg":
                rows["shares"][line] = shares[:, case.masks[about.region]].mean(1)
    return rows
