"""The content of an align artifact: transforms, read-out, scores per voxel and per ROI, losses, and the split."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from alignedcut_cli.core.align.any_threads import norm_of_all, sum_of_all
from alignedcut_cli.core.align.descent import LOGGED
from alignedcut_cli.core.align.influence import roi_scores
from alignedcut_cli.core.align.loss import align_pooled
from alignedcut_cli.core.align.scores import permutation_p, scores
from alignedcut_cli.core.numerics import stream
from alignedcut_cli.core.resample.intervals import clustered_error, from_error
from alignedcut_cli.core.resample.words import stated_error
from alignedcut_cli.frame.pairs import FIT, HELDOUT, TEST

if TYPE_CHECKING:
    from alignedcut_cli.commands.align.folds import Crossed
    from alignedcut_cli.commands.align.plan import Plan
    from alignedcut_cli.commands.align.run import Fitted
    from alignedcut_cli.store.header import Header

__all__ = ["axes", "channel_similarity", "influence_tensors", "roi_rows", "roi_table", "tensors"]

ALL = "all"
SHUFFLES = 1000


def tensors(plan: Plan, fitted: Fitted) -> tuple[dict[str, np.ndarray], dict[str, tuple[str, str]]]:
    """The arrays of the artifact, and their shape axes and meanings. Scores do not depend on the units of responses."""
    found, responses = fitted.alignment, plan.responses
    beta, eps = fitted.units.read_out(found.beta, found.eps)
    aligned = align_pooled(fitted.pooled, found.transforms)
    trained = torch.from_numpy(np.flatnonzero(plan.split != TEST))
    tested = torch.from_numpy(np.flatnonzero(plan.split == TEST))
    train = scores(aligned[trained], found.beta, found.eps, fitted.responses[trained])
    test = scores(aligned[tested], found.beta, found.eps, fitted.responses[tested])
    masks = [mask.astype(np.uint8) for mask in responses.rois.values()]
    voxels = len(responses.voxels)
    arrays = {f"transform.{number:03d}": matrix.numpy() for number, matrix in enumerate(found.transforms)}
    arrays |= {
        "beta": beta.numpy(),
        "eps": eps.numpy(),
        "scale": fitted.units.scale.float().numpy(),
        "r2.train": train[0].float().numpy(),
        "r2.test": test[0].float().numpy(),
        "pearson.train": train[1].float().numpy(),
        "pearson.test": test[1].float().numpy(),
        "voxels": responses.voxels,
        "dropped": responses.dropped,
        "rois": np.stack(masks) if masks else np.zeros((0, voxels), np.uint8),
        "losses": found.losses.numpy(),
        "heldout": found.heldout.numpy(),
        "split": plan.split,
        "similarity.before": channel_similarity(fitted.pooled).float().numpy(),
        "similarity.after": channel_similarity(
            [mean @ matrix for mean, matrix in zip(fitted.pooled, found.transforms, strict=True)]
        ).float().numpy(),
    }  # fmt: skip
    meanings = {f"transform.{number:03d}": ("D E", "W of one slot") for number in range(len(found.transforms))}
    meanings |= {
        "beta": ("E N", "read-out: responses = aligned beta + eps"),
        "eps": ("N", "read-out's bias"),
        "scale": ("N", "standard deviation over training images: the unit in which a voxel was fitted"),
        "r2.train": ("N", "share of variance explained, on training images (held-out ones among them)"),
        "r2.test": ("N", "share of variance explained, on test images"),
        "pearson.train": ("N", "Pearson r on training images"),
        "pearson.test": ("N", "Pearson r on test images"),
        "voxels": ("N", "column of each voxel in the brain data"),
        "dropped": ("n", "columns that were not finite or constant"),
        "rois": ("R N", "1 where a voxel belongs to an ROI"),
        "losses": ("T L", "the loss and its terms, step by step, responses in units of `scale`"),
        "heldout": ("H", "mean held-out R^2: of the start, then after each epoch"),
        "split": ("I", "0 fitted, 1 held out, 2 test"),
        "similarity.before": ("S S", "channel similarity of slots on the same images, own channels"),
        "similarity.after": ("S S", "channel similarity of slots on the same images, aligned channels"),
    }
    if responses.ceiling is not None:
        arrays["ceiling"] = np.nan_to_num(responses.ceiling, nan=-1.0).astype(np.float32)
        meanings["ceiling"] = ("N", "share of variance that can be explained; -1 where unknown")
    if responses.vertices is not None:
        arrays["vertices"] = responses.vertices
        meanings["vertices"] = ("N", "vertex of fsaverage of each voxel; those of the left hemisphere come first")
    return arrays, meanings


def channel_similarity(features: list[Tensor]) -> Tensor:
    """Similarity of channel k of slot i and channel k of slot j over the same images, from features (B, D_i): (n, n).

    sum_k <a_ik, a_jk> / (|a_i| |a_j|), activations centred over images; slots of different widths share the first
    min(D_i, D_j) channels (paper, Fig. 3).
    """
    centred = [block - block.mean(0) for block in features]
    found = torch.empty(len(centred), len(centred), dtype=torch.float64)
    for row, left in enumerate(centred):
        for column, right in enumerate(centred[: row + 1]):
            width = min(left.shape[1], right.shape[1])
            one, other = left[:, :width], right[:, :width]
            size = (norm_of_all(one) * norm_of_all(other)).clamp_min(torch.finfo(one.dtype).tiny)
            found[row, column] = found[column, row] = float(sum_of_all(one * other) / size)
    return found


def masks_of(plan: Plan) -> dict[str, np.ndarray]:
    """The voxels (N,) bool of each ROI, and of all."""
    return {**plan.responses.rois, ALL: np.ones(len(plan.responses.voxels), bool)}


def influence_tensors(
    plan: Plan, fitted: Fitted, crossed: Crossed | None
) -> tuple[dict[str, np.ndarray], dict[str, tuple[str, str]], dict[str, np.ndarray]]:
    """The influence of each image on the scores of ROIs, its meanings, and these scores (Q,): test, and cv with folds."""
    found = fitted.alignment
    masks = torch.from_numpy(np.stack(list(masks_of(plan).values())))
    tested = torch.from_numpy(np.flatnonzero(plan.split == TEST))
    aligned = align_pooled([mean[tested] for mean in fitted.pooled], found.transforms)
    score, influence = roi_scores(
        lambda part: torch.addmm(found.eps[part], aligned, found.beta[:, part]), fitted.responses[tested], masks
    )
    arrays, scores = {"tested": tested.numpy(), "test.influence": influence.numpy()}, {"test": score.numpy()}
    meanings = {
        "tested": ("b", "the test images"),
        "test.influence": ("Q b", "what each test image adds around an ROI's mean R^2; the last row is all voxels"),
    }
    if crossed:
        score, influence = roi_scores(crossed.predict, fitted.responses, masks)
        arrays["cv.influence"], scores["cv"] = influence.numpy(), score.numpy()
        meanings["cv.influence"] = ("Q I", "what each image adds around an ROI's cross-validated mean R^2")
    return arrays, meanings, scores


def roi_table(
    plan: Plan, fitted: Fitted, arrays: Mapping[str, np.ndarray], scores: Mapping[str, np.ndarray]
) -> list[dict[str, Any]]:
    """One object per ROI, and one for all voxels: size, mean scores, mean ceiling, share of the ceiling, permutation p.

    `share` is mean test R^2 over mean ceiling, of voxels whose ceiling is known. `p`: permutation p-value of the mean test
    R^2 of the ROI, shuffling test images. r2.KIND.low and .high: t intervals over images, of test and (with folds) cv,
    without refitting.
    """
    found = fitted.alignment
    tested = torch.from_numpy(np.flatnonzero(plan.split == TEST))
    aligned = align_pooled([mean[tested] for mean in fitted.pooled], found.transforms)
    responses = fitted.responses[tested]
    ends = {kind: _interval_ends(score, arrays[f"{kind}.influence"]) for kind, score in scores.items()}
    rows = []
    for number, (name, mask) in enumerate(masks_of(plan).items()):
        columns = torch.from_numpy(np.flatnonzero(mask))
        made = torch.addmm(found.eps[columns], aligned, found.beta[:, columns])
        p = permutation_p(made, responses[:, columns], SHUFFLES, stream(plan.settings.seed, "shuffle"))
        rows.append({"roi": name, "voxels": int(mask.sum()), **_means(arrays, mask), "p": p})
        for kind, (low, high) in ends.items():
            rows[-1] |= {f"r2.{kind}": float(scores[kind][number])} if kind != "test" else {}
            rows[-1] |= {f"r2.{kind}.low": float(low[number]), f"r2.{kind}.high": float(high[number])}
        rows[-1]["resampled"] = stated_error("images")
    return rows


def _interval_ends(scores: np.ndarray, influence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    images = influence.shape[1]
    return from_error(scores, clustered_error(influence.T, images), images)


def _means(arrays: Mapping[str, np.ndarray], mask: np.ndarray) -> dict[str, float | None]:
    means: dict[str, float | None] = {
        key: float(arrays[key][mask].mean(dtype=np.float64)) for key in ("r2.train", "r2.test", "pearson.test")
    }
    ceiling = arrays.get("ceiling")
    known = mask & (ceiling >= 0) if ceiling is not None else np.zeros_like(mask)
    top = float(ceiling[known].mean(dtype=np.float64)) if ceiling is not None and known.any() else None
    means["ceiling"] = top
    means["share"] = float(arrays["r2.test"][known].mean(dtype=np.float64)) / top if top else None
    return means


def axes(plan: Plan, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The header's axes. I are the images with features and responses, B of other artifacts being the images of a cut."""
    slots = [{**slot.about, "weights": slot.source.header.raw["external"].get("weights", "")} for slot in plan.slots]
    counts = {
        kind: int((plan.split == part).sum()) for kind, part in (("fit", FIT), ("heldout", HELDOUT), ("test", TEST))
    }
    rois, left = list(plan.responses.rois), plan.responses.left
    sides = {} if left is None else {"left": int((plan.responses.voxels < left).sum())}
    return {
        "S": {"size": len(slots), "slots": slots},
        "E": {"size": len(arrays["beta"])},
        "N": {"size": len(plan.responses.voxels), "source": plan.responses.source, **sides},
        "R": {"size": len(rois), "labels": rois},
        "I": {"size": len(plan.split), "images": [{"path": name} for name in plan.pairs.names], **counts},
        "T": {"size": len(arrays["losses"])},
        "L": {"size": len(LOGGED), "labels": list(LOGGED)},
        "H": {"size": len(arrays["heldout"])},
        "Q": {"size": len(rois) + 1, "labels": [*rois, ALL]},
        "b": {"size": len(arrays["tested"])},
        "n": {"size": len(arrays["dropped"])},
    }


def roi_rows(header: Header) -> list[dict[str, float | str | None]]:
    """The per-ROI table of an align artifact, one object per row."""
    return header.raw["rois"]
